//! How many events a second one core takes from bytes to findings, bench by bench, B1 to B7.
//!
//! ```text
//!   cargo bench -p keyhawk-benches --bench rules                                  # 10,000 keys, minutes
//!   cargo bench -p keyhawk-benches --bench rules -- --keys 1000000 --events 3000000
//!   cargo bench -p keyhawk-benches --bench rules -- --only B3,B7 --files          # from a file of lines
//!   cargo bench -p keyhawk-benches --bench rules -- --quick                       # do they run? seconds
//! ```
//!
//! README.md says what is measured and gives the figures.

use std::env;
use std::io::{self, Write};
use std::process::ExitCode;

use keyhawk_benches::rules::{Arguments, run};

fn main() -> ExitCode {
    let arguments = Arguments::parse(env::args().skip(1));
    match arguments.and_then(|arguments| run(&arguments, &mut io::stdout().lock())) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // Where standard error is closed there is nobody to tell.
            let _ = writeln!(io::stderr(), "error: {error}");
            ExitCode::FAILURE
        }
    }
}
