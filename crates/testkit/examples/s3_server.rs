//! Serves a folder as an S3 server until it is ended, and prints the variables for a client:
//! `cargo run -p keyhawk-testkit --features s3 --example s3_server -- FOLDER [ADDRESS]`.

#![allow(clippy::print_stdout, reason = "it is what it is for")]

use std::path::PathBuf;

use keyhawk_testkit::s3::S3Server;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let folder: PathBuf = arguments.next().ok_or("name a folder")?.into();
    let address = arguments.next();
    let address = address.as_deref().unwrap_or("127.0.0.1:0").parse()?;
    let server = S3Server::start(&folder, address)?;
    for (name, value) in server.variables() {
        println!("export {name}={value}");
    }
    loop {
        std::thread::park();
    }
}
