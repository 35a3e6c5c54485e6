//! The line that is edited: history of questions, lines until `;`, completion of names.

use std::collections::BTreeSet;
use std::path::PathBuf;

use rustyline::completion::Completer;
use rustyline::error::ReadlineError;
use rustyline::highlight::Highlighter;
use rustyline::hint::Hinter;
use rustyline::history::DefaultHistory;
use rustyline::validate::{ValidationContext, ValidationResult, Validator};
use rustyline::{Context, Helper};

use super::Session;

/// The file of earlier questions, in the home folder; only its owner can read it.
const HISTORY: &str = ".keyhawk_sql_history";

/// Reads questions from a terminal.
pub(crate) struct Editor {
    inner: rustyline::Editor<Names, DefaultHistory>,
    history: Option<PathBuf>,
}

/// What was typed.
pub(crate) enum Line {
    /// A command, or questions, whole.
    Text(String),
    /// Ctrl-C: what was typed is dropped.
    Dropped,
    /// Ctrl-D.
    End,
}

impl Editor {
    /// An editor that completes `names`. Without a home folder questions are forgotten at the end.
    ///
    /// # Errors
    /// A terminal that does not behave as one.
    pub(crate) fn new(names: BTreeSet<String>) -> Result<Self, ReadlineError> {
        let mut inner = rustyline::Editor::new()?;
        inner.set_helper(Some(Names(names)));
        let home = std::env::var_os("HOME").filter(|home| !home.is_empty());
        let history = home.map(|home| PathBuf::from(home).join(HISTORY));
        if let Some(path) = &history {
            // There is none the first time.
            drop(inner.load_history(path));
        }
        Ok(Editor { inner, history })
    }

    /// Waits for a command or question.
    ///
    /// # Errors
    /// The terminal is gone.
    pub(crate) fn line(&mut self) -> Result<Line, ReadlineError> {
        let text = match self.inner.readline("keyhawk> ") {
            Ok(text) => text,
            Err(ReadlineError::Interrupted) => return Ok(Line::Dropped),
            Err(ReadlineError::Eof) => return Ok(Line::End),
            Err(error) => return Err(error),
        };
        if !text.trim().is_empty() {
            // What cannot be kept is no reason not to answer.
            drop(self.inner.add_history_entry(text.trim()));
            if let Some(path) = &self.history {
                drop(self.inner.append_history(path));
            }
        }
        Ok(Line::Text(text))
    }
}

/// How many columns the terminal has, if standard output is one.
pub(crate) fn width() -> Option<usize> {
    let mut editor = rustyline::DefaultEditor::new().ok()?;
    let (columns, _) = editor.dimensions()?;
    Some(usize::from(columns)).filter(|columns| *columns > 0)
}

/// Knows names, and when a text is whole.
struct Names(BTreeSet<String>);

impl Helper for Names {}

impl Highlighter for Names {}

impl Hinter for Names {
    type Hint = String;
}

impl Validator for Names {
    fn validate(&self, context: &mut ValidationContext<'_>) -> rustyline::Result<ValidationResult> {
        Ok(match Session::is_whole(context.input()) {
            true => ValidationResult::Valid(None),
            false => ValidationResult::Incomplete,
        })
    }
}

impl Completer for Names {
    type Candidate = String;

    fn complete(
        &self,
        line: &str,
        at: usize,
        _: &Context<'_>,
    ) -> rustyline::Result<(usize, Vec<String>)> {
        Ok(self.candidates(&line[..at]))
    }
}

impl Names {
    /// Where the last word of a text begins, and the names that begin with it.
    fn candidates(&self, text: &str) -> (usize, Vec<String>) {
        let is_word = |c: char| c.is_alphanumeric() || c == '_';
        let start = text.rfind(|c| !is_word(c)).map_or(0, |at| {
            at + text[at..].chars().next().map_or(1, char::len_utf8)
        });
        let word = text[start..].to_lowercase();
        if word.is_empty() {
            return (start, Vec::new());
        }
        let begins = self.0.iter().filter(|name| name.starts_with(&word));
        (start, begins.cloned().collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_word_is_completed() {
        let names = ["api_key", "api_version", "events"].map(str::to_owned);
        let names = Names(names.into());
        assert_eq!(
            names.candidates("SELECT API"),
            (7, vec!["api_key".to_owned(), "api_version".to_owned()])
        );
        assert_eq!(
            names.candidates("SELECT 'ß'+ev"),
            (12, vec!["events".to_owned()])
        );
        assert_eq!(names.candidates("ev"), (0, vec!["events".to_owned()]));
        assert_eq!(names.candidates("SELECT "), (7, vec![]));
    }
}
