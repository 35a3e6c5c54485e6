//! How fast `keyhawk backtest` goes through Parquet, beside DuckDB on the same file and question: B8.
//!
//! ```text
//!   python3 -m venv /tmp/duckdb && /tmp/duckdb/bin/pip install duckdb
//!   cargo bench -p keyhawk-benches --bench backtest -- --python /tmp/duckdb/bin/python
//!   cargo bench -p keyhawk-benches --bench backtest -- --quick       # does it run? seconds
//! ```
//!
//! README.md says what is measured and gives the figures.

use std::env;
use std::io::{self, Write};
use std::process::ExitCode;

use keyhawk_benches::backtest::{Arguments, CHILD, child, run};

fn main() -> ExitCode {
    if env::args().nth(1).as_deref() == Some(CHILD) {
        return child(keyhawk::main);
    }
    let arguments = Arguments::parse(env::args().skip(1));
    let result = arguments.and_then(|arguments| {
        let program = env::current_exe()?;
        run(&arguments, &program, &mut io::stdout().lock())
    });
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // Where standard error is closed there is nobody to tell.
            let _ = writeln!(io::stderr(), "error: {error}");
            ExitCode::FAILURE
        }
    }
}
