//! Log lines: text or JSON on standard error, filtered by level.

use std::io::IsTerminal;

use tracing_subscriber::EnvFilter;
use tracing_subscriber::util::SubscriberInitExt;

use crate::config::LogFormat;

/// The environment variable whose filter goes before the configured one.
pub const LEVEL_VARIABLE: &str = "KEYHAWK_LOG";

/// Sets up logging for the process. `level` is a filter such as `info` or
/// `info,keyhawk_connectors=debug`; [`LEVEL_VARIABLE`], where set and not empty, replaces it. Text
/// is coloured only on a terminal.
///
/// # Errors
///
/// A sentence, if a filter is not valid or logging was set up before.
pub fn init(format: LogFormat, level: &str) -> Result<(), String> {
    let variable = std::env::var(LEVEL_VARIABLE)
        .ok()
        .filter(|level| !level.trim().is_empty());
    let filter = match &variable {
        Some(level) => filter(level).map_err(|problem| format!("{LEVEL_VARIABLE}: {problem}"))?,
        None => filter(level)?,
    };
    let colours = std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none();
    subscriber(format, filter, colours, std::io::stderr)
        .try_init()
        .map_err(|error| format!("logging cannot be set up: {error}"))
}

/// Whether this is a filter that [`init`] takes; the sentence says why not.
///
/// # Errors
///
/// A sentence naming the part that is not valid.
pub fn check_level(level: &str) -> Result<(), String> {
    filter(level).map(|_| ())
}

/// The filter's own grammar takes any lone word for a module's name, so that a misspelt level would
/// silence everything but a module that does not exist. A word without `=` must therefore be a
/// level.
fn filter(level: &str) -> Result<EnvFilter, String> {
    const LEVELS: [&str; 6] = ["error", "warn", "info", "debug", "trace", "off"];
    for directive in level.split(',').map(str::trim) {
        let is_level = LEVELS
            .iter()
            .any(|known| known.eq_ignore_ascii_case(directive));
        if !is_level && !directive.contains('=') {
            return Err(format!(
                "{directive:?} is no log level; the levels are {}",
                LEVELS.join(", ")
            ));
        }
    }
    EnvFilter::try_new(level).map_err(|error| format!("{level:?} is no log filter: {error}"))
}

/// What formats and writes; separate, so that a test can look at the lines.
fn subscriber<W>(
    format: LogFormat,
    filter: EnvFilter,
    colours: bool,
    writer: W,
) -> Box<dyn tracing::Subscriber + Send + Sync>
where
    W: for<'w> tracing_subscriber::fmt::MakeWriter<'w> + Send + Sync + 'static,
{
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(writer);
    match format {
        LogFormat::Text => Box::new(builder.with_ansi(colours).finish()),
        LogFormat::Json => Box::new(builder.json().flatten_event(true).finish()),
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::sync::{Arc, Mutex};

    use super::*;

    #[derive(Clone, Default)]
    struct Lines(Arc<Mutex<Vec<u8>>>);

    impl Write for Lines {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    fn logged(format: LogFormat, level: &str) -> String {
        let lines = Lines::default();
        let writer = lines.clone();
        let subscriber = subscriber(format, filter(level).unwrap(), false, move || {
            writer.clone()
        });
        tracing::subscriber::with_default(subscriber, || {
            tracing::info!(topic = "api-access", partition = 3, "partition assigned");
            tracing::debug!("a detail");
        });
        let bytes = lines.0.lock().unwrap().clone();
        String::from_utf8(bytes).unwrap()
    }

    #[test]
    fn json_lines_carry_message_and_fields() {
        let text = logged(LogFormat::Json, "info");
        assert_eq!(text.lines().count(), 1);
        let line: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert_eq!(line["message"], "partition assigned");
        assert_eq!(line["level"], "INFO");
        assert_eq!(line["topic"], "api-access");
        assert_eq!(line["partition"], 3);
    }

    #[test]
    fn text_lines_are_plain_off_a_terminal() {
        let text = logged(LogFormat::Text, "debug");
        assert_eq!(text.lines().count(), 2);
        assert!(
            text.contains("partition assigned topic=\"api-access\" partition=3"),
            "{text}"
        );
        assert!(!text.contains('\u{1b}'));
    }

    #[test]
    fn a_misspelt_level_is_refused() {
        assert!(check_level("info").is_ok());
        assert!(check_level("info,keyhawk_connectors=debug").is_ok());
        let problem = check_level("inof").unwrap_err();
        assert!(problem.contains("\"inof\" is no log level"), "{problem}");
        assert!(check_level("keyhawk=loud").is_err());
    }
}
