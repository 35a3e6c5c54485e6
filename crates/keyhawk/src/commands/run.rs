//! `run`: watches Kafka topics.

use std::process::ExitCode;

use crate::cli::RunArgs;
use crate::commands::{CommandResult, Failure};
use crate::stream::{self, Ended};
use crate::{config, logging};

pub(crate) fn run(args: &RunArgs) -> CommandResult {
    if args.sample {
        anstream::print!("{}", config::sample());
        return Ok(ExitCode::SUCCESS);
    }
    let Some(path) = &args.config else {
        return Err(Failure::of(
            "name a configuration: keyhawk run --config keyhawk.toml",
        ));
    };
    let config = config::load(path).map_err(Failure::of)?;
    logging::init(config.log.format, &config.log.level).map_err(Failure::of)?;
    match stream::run(&config).map_err(Failure::of)? {
        Ended::Stopped => Ok(ExitCode::SUCCESS),
        Ended::Failed => Ok(ExitCode::FAILURE),
    }
}
