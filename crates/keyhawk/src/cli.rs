//! The command line.

use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};

use crate::commands;
use crate::tables::history::AsOf;

/// Finds stolen API keys in access logs as they happen.
///
/// Keyhawk reads the access events of an API gateway, keeps a baseline for every key, evaluates
/// detection rules written in SQL, and says which key is being misused, why, and what to do.
#[derive(Parser)]
#[command(name = "keyhawk", version, max_term_width = 100)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Show Keyhawk at work: five days of made-up traffic with attacks in the last one.
    ///
    /// Needs no Kafka, no download and no account. Ends with a table of what was found; the exit
    /// status is 0 only if the table is the expected one.
    Demo(DemoArgs),
    /// Watch Kafka topics: events in; alerts, commands, late records and dead letters out.
    Run(RunArgs),
    /// Run rules over files with the streaming engine, as `run` would over a topic.
    Replay(FileArgs),
    /// Run rules over files with the batch engine; finds exactly what `replay` finds.
    ///
    /// Ends with a report: each rule's findings by day, its loudest entities, example rows.
    Backtest(BacktestArgs),
    /// Make history: decode files of events once, and keep all their columns as Parquet.
    ///
    /// Credentials are kept as fingerprints. A record that has any unreadable field is left out and
    /// counted; late rows are kept, marked. `replay` and `backtest` read what this writes.
    Archive(ArchiveArgs),
    /// Ask history in SQL, at a prompt: how a rule begins.
    ///
    /// The table `events` is the files; views and reference tables are those of --rules. Any SELECT
    /// that DataFusion runs is taken, ORDER BY and LIMIT too, with Keyhawk's functions and the window
    /// tables: FROM tumble(events, event_time, INTERVAL '10 minutes'). A question ends with `;` and
    /// may have several lines; `\d` lists tables and columns, `\?` helps, `\q` ends. Questions that are
    /// piped in are answered one after another.
    Sql(SqlArgs),
    /// Load rules and print each problem with its place and its cure.
    Check(CheckArgs),
    /// Show how a rule runs: its operators, what each keeps, and how long a finding takes.
    ///
    /// The operators are a tree, findings at its top and events at its bottom. Without a rule, all
    /// rules, a line each.
    Explain(ExplainArgs),
    /// Run the tests that stand beside rules, `NAME.test.toml`, each case on both engines.
    ///
    /// A failing case shows the rows expected (-) and found (+). The exit status is 0 if all cases
    /// pass, 1 if one fails, and 2 if a rule or test file does not load.
    Test(TestArgs),
    /// Print the fingerprint of each credential on standard input, one a line.
    Fingerprint(FingerprintArgs),
    /// Read a sample of a topic, print how disordered it is, and propose its lateness bound.
    Lag(LagArgs),
}

/// Arguments of `demo`.
#[derive(Args)]
pub struct DemoArgs {
    /// Write the traffic to a Kafka broker (host:port) instead, as fast as its clock runs.
    #[arg(long, value_name = "BROKERS", hide = true)]
    pub produce: Option<String>,
}

/// Arguments of `run`.
#[derive(Args)]
pub struct RunArgs {
    /// The configuration file; `keyhawk run --sample` prints a commented one.
    #[arg(long, value_name = "FILE", required_unless_present = "sample")]
    pub config: Option<PathBuf>,
    /// Print a commented configuration with every key and its default, and end.
    #[arg(long)]
    pub sample: bool,
}

/// Arguments of `replay`, and the first of `backtest`.
#[derive(Args)]
pub struct FileArgs {
    /// The directory with `rules/` and, where there are any, `views/` and `events.toml`.
    #[arg(long, value_name = "DIR")]
    pub rules: PathBuf,
    /// Files of events: one JSON object a line, or Parquet as `archive` writes it; a pattern in quotes
    /// ('history/*.parquet'), a folder of .parquet files, or `-` for standard input. Each file of lines
    /// is a partition. URLs of object stores are taken too, of an object, a pattern or a prefix
    /// ('s3://bucket/history/*.parquet'; gs://, az://, abfss://); their credentials, region and endpoint
    /// are in the environment. Can be given several times.
    #[arg(long, value_name = "FILE", required = true, num_args = 1..)]
    pub input: Vec<PathBuf>,
    /// Where findings go, one JSON object a line; as Parquet where the name ends in .parquet; `-` is
    /// standard output. Without it they are counted only.
    #[arg(long, value_name = "FILE")]
    pub output: Option<PathBuf>,
    /// A configuration, for the GeoIP databases, the secret and the topic's settings.
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// The topic that the files stand for: its settings in the configuration, and its name in
    /// findings' ids.
    #[arg(long, value_name = "NAME")]
    pub topic: Option<String>,
}

/// Arguments of `backtest`.
#[derive(Args)]
pub struct BacktestArgs {
    /// What `replay` takes too.
    #[command(flatten)]
    pub files: FileArgs,
    /// Read the reference tables as they were in force at this time (2026-03-02T10:00:00Z), or when the
    /// version with this digest came, as an alert names it in `tables`.
    #[arg(long, value_name = "TIME|DIGEST")]
    pub tables_as_of: Option<AsOf>,
    /// Where `run` kept the versions of tables; else where --config says.
    #[arg(long, value_name = "DIR", requires = "tables_as_of")]
    pub tables_history: Option<PathBuf>,
    /// How many threads read and evaluate; all cores by default. Findings do not depend on it.
    #[arg(long, value_name = "N")]
    pub threads: Option<NonZeroUsize>,
}

/// Arguments of `archive`.
#[derive(Args)]
pub struct ArchiveArgs {
    /// Files of events, one JSON object a line; a pattern in quotes, a URL of an object store
    /// ('s3://bucket/logs/*.ndjson'), or `-` for standard input. Each file is a partition. Can be given
    /// several times.
    #[arg(long, value_name = "FILE", required = true, num_args = 1..)]
    pub input: Vec<PathBuf>,
    /// The folder for the Parquet files, made where it does not exist; or a prefix in an object store
    /// (s3://bucket/history).
    #[arg(long, value_name = "DIR|URL")]
    pub output: PathBuf,
    /// A rule directory, for the columns of its `events.toml`.
    #[arg(long, value_name = "DIR")]
    pub rules: Option<PathBuf>,
    /// A configuration, for the GeoIP databases, the secret and the topic's settings.
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// The topic that the files stand for: its settings in the configuration, and its name in
    /// findings' ids.
    #[arg(long, value_name = "NAME")]
    pub topic: Option<String>,
}

/// Arguments of `sql`.
#[derive(Args)]
pub struct SqlArgs {
    /// Files of events: Parquet as `archive` and `run` write it, or one JSON object a line; a pattern
    /// in quotes ('history/*.parquet'), a folder of .parquet files, or a URL of an object store
    /// ('s3://bucket/history/*.parquet'). Can be given several times.
    #[arg(long, value_name = "FILE", required = true, num_args = 1..)]
    pub input: Vec<PathBuf>,
    /// A rule directory, for its views, its reference tables and the columns of its `events.toml`.
    #[arg(long, value_name = "DIR")]
    pub rules: Option<PathBuf>,
    /// Answer this, and end: no prompt.
    #[arg(short = 'c', long = "command", value_name = "QUERY")]
    pub query: Option<String>,
    /// A configuration, for the GeoIP databases, the secret and the topic's settings; for JSON lines.
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// The topic that files of JSON lines stand for.
    #[arg(long, value_name = "NAME")]
    pub topic: Option<String>,
}

/// Arguments of `check`.
#[derive(Args)]
pub struct CheckArgs {
    /// The directory with `rules/` and, where there are any, `views/` and `events.toml`.
    #[arg(value_name = "DIR")]
    pub dir: PathBuf,
}

/// Arguments of `explain`.
#[derive(Args)]
pub struct ExplainArgs {
    /// The rule: the name of its file, without the ending.
    #[arg(value_name = "RULE")]
    pub rule: Option<String>,
    /// The directory with `rules/` and, where there are any, `views/` and `events.toml`.
    #[arg(long, value_name = "DIR")]
    pub rules: PathBuf,
    /// A configuration, for the bound of the topic: how late events may come.
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// The topic of the configuration; the first one where it is not named.
    #[arg(long, value_name = "NAME", requires = "config")]
    pub topic: Option<String>,
}

/// Arguments of `test`.
#[derive(Args)]
pub struct TestArgs {
    /// Rule directories, rules (`DIR/rules/NAME.sql`) or test files (`DIR/rules/NAME.test.toml`).
    #[arg(value_name = "PATHS", default_value = "sql")]
    pub paths: Vec<PathBuf>,
    /// Write the results as JUnit XML too, a test suite a rule.
    #[arg(long, value_name = "FILE")]
    pub junit: Option<PathBuf>,
}

/// Arguments of `fingerprint`.
#[derive(Args)]
pub struct FingerprintArgs {
    /// The configuration with the secret and the prefixes.
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
}

/// Arguments of `lag`.
#[derive(Args)]
pub struct LagArgs {
    /// The configuration with the brokers and the topic's settings.
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// The brokers, where there is no configuration.
    #[arg(long, value_name = "HOST:PORT", required_unless_present = "config")]
    pub brokers: Option<String>,
    /// The topic.
    #[arg(long, value_name = "NAME")]
    pub topic: String,
    /// How many records to read, over all partitions.
    #[arg(long, value_name = "N", default_value_t = 100_000)]
    pub records: usize,
}

/// Runs the command line and says how it went.
pub fn main() -> ExitCode {
    let result = match Cli::parse().command {
        Command::Demo(args) => commands::demo::run(&args),
        Command::Run(args) => commands::run::run(&args),
        Command::Replay(args) => commands::replay::run(&args),
        Command::Backtest(args) => commands::backtest::run(&args),
        Command::Archive(args) => commands::archive::run(&args),
        Command::Sql(args) => commands::sql::run(&args),
        Command::Check(args) => commands::check::run(&args),
        Command::Explain(args) => commands::explain::run(&args),
        Command::Test(args) => commands::test::run(&args),
        Command::Fingerprint(args) => commands::fingerprint::run(&args),
        Command::Lag(args) => commands::lag::run(&args),
    };
    match result {
        Ok(code) => code,
        Err(error) => {
            anstream::eprintln!("{error}");
            ExitCode::from(2)
        }
    }
}
