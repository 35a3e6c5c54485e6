//! Problems of a rule file, shown as rustc shows its own.
//!
//! ```text
//! error: `avg` is not computed incrementally
//!   --> sql/rules/slow.sql:9:8
//!    |
//!  9 | SELECT avg(latency_us) AS latency
//!    |        ^^^
//!    = help: write sum(latency_us) / count(latency_us)
//! ```

use std::collections::BTreeSet;
use std::fmt;
use std::path::Path;

use datafusion::sql::sqlparser::dialect::GenericDialect;
use datafusion::sql::sqlparser::tokenizer::{Span, Token, TokenWithSpan, Tokenizer};

/// A file of a rule directory, read by the caller.
#[derive(Debug, Clone)]
pub struct SourceFile {
    /// Its path, as problems name it.
    pub path: String,
    /// What it holds.
    pub text: String,
}

impl SourceFile {
    /// The rule's or view's name: the file's, without its ending.
    pub fn name(&self) -> &str {
        Path::new(&self.path)
            .file_stem()
            .and_then(|stem| stem.to_str())
            .unwrap_or(&self.path)
    }
}

/// Where in a file something stands: lines and columns count from 1, columns in characters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    /// The line.
    pub line: usize,
    /// The column.
    pub column: usize,
    /// How many characters, at least 1.
    pub length: usize,
}

impl Place {
    /// The place of a span of bytes.
    pub fn of_bytes(text: &str, span: std::ops::Range<usize>) -> Place {
        let start = text.floor_char_boundary(span.start);
        let before = &text[..start];
        let line_start = before.rfind('\n').map_or(0, |at| at + 1);
        let end = text.floor_char_boundary(span.end).max(start);
        let in_line = text[start..end].lines().next().unwrap_or_default();
        Place {
            line: before.matches('\n').count() + 1,
            column: text[line_start..start].chars().count() + 1,
            length: in_line.chars().count().max(1),
        }
    }

    pub(crate) fn of_span(span: Span) -> Option<Place> {
        (span.start.line > 0).then(|| Place {
            line: span.start.line as usize,
            column: span.start.column as usize,
            length: if span.end.line == span.start.line {
                (span.end.column.saturating_sub(span.start.column) as usize).max(1)
            } else {
                1
            },
        })
    }
}

/// How bad a problem is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Level {
    /// The rule set does not load.
    Error,
    /// It loads, and somebody should look.
    Warning,
}

/// What is wrong with a file, where, and what to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// How bad it is.
    pub level: Level,
    /// The file.
    pub path: String,
    /// Where in it.
    pub place: Place,
    /// The line of the file at that place.
    pub source_line: String,
    /// What is wrong.
    pub message: String,
    /// What to write instead.
    pub help: Option<String>,
}

impl Problem {
    /// An error at a place of a file.
    pub fn new(file: &SourceFile, place: Place, message: impl Into<String>) -> Problem {
        let source_line = file
            .text
            .lines()
            .nth(place.line.saturating_sub(1))
            .unwrap_or_default()
            .to_owned();
        Problem {
            level: Level::Error,
            path: file.path.clone(),
            place,
            source_line,
            message: message.into(),
            help: None,
        }
    }

    /// The same with what to write instead.
    pub fn help(mut self, help: impl Into<String>) -> Problem {
        self.help = Some(help.into());
        self
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Place {
            line,
            column,
            length,
        } = self.place;
        let level = match self.level {
            Level::Error => "error",
            Level::Warning => "warning",
        };
        let margin = " ".repeat(line.to_string().len());
        let indent: String = self
            .source_line
            .chars()
            .take(column.saturating_sub(1))
            .map(|c| if c == '\t' { '\t' } else { ' ' })
            .collect();
        writeln!(f, "{level}: {}", self.message)?;
        writeln!(f, " {margin}--> {}:{line}:{column}", self.path)?;
        writeln!(f, " {margin} |")?;
        writeln!(f, " {line} | {}", self.source_line)?;
        write!(f, " {margin} | {indent}{}", "^".repeat(length))?;
        match &self.help {
            Some(help) => write!(f, "\n {margin} = help: {help}"),
            None => Ok(()),
        }
    }
}

/// What in a rule cannot run; the place is found in the file's tokens.
#[derive(Debug, Clone)]
pub(crate) struct Refusal {
    pub(crate) message: String,
    pub(crate) help: String,
    /// The words to look for in the text, in order of preference; a phrase of several words stands
    /// for tokens in a row.
    pub(crate) near: Vec<String>,
}

impl Refusal {
    pub(crate) fn new(
        near: &[&str],
        message: impl Into<String>,
        help: impl Into<String>,
    ) -> Refusal {
        Refusal {
            message: message.into(),
            help: help.into(),
            near: near.iter().map(|&word| word.to_owned()).collect(),
        }
    }

    pub(crate) fn at(self, file: &SourceFile) -> Problem {
        let place = find(file, &self.near);
        Problem::new(file, place, self.message).help(self.help)
    }
}

/// The place of the first of `near` that stands in the file's SQL, else of the SQL's first word.
pub(crate) fn find(file: &SourceFile, near: &[String]) -> Place {
    let words = tokens(file);
    let is = |token: &Token, word: &str| match token {
        Token::Word(found) => found.value.eq_ignore_ascii_case(word),
        other => other.to_string() == word,
    };
    let phrase = near.iter().find_map(|phrase| {
        let parts: Vec<&str> = phrase.split_whitespace().collect();
        words.windows(parts.len().max(1)).find_map(|window| {
            let same = window.len() == parts.len()
                && window
                    .iter()
                    .zip(&parts)
                    .all(|(token, part)| is(&token.token, part));
            let (first, last) = (window.first()?, window.last()?);
            same.then(|| Place::of_span(Span::new(first.span.start, last.span.end)))?
        })
    });
    phrase
        .or_else(|| words.first().and_then(|first| Place::of_span(first.span)))
        .unwrap_or(Place {
            line: 1,
            column: 1,
            length: 1,
        })
}

/// The token that begins at a place, or else the last one: where a parser gave up at the end.
pub(crate) fn token_at(file: &SourceFile, line: usize, column: usize) -> Place {
    let begins = |token: &&TokenWithSpan| {
        token.span.start.line as usize == line && token.span.start.column as usize == column
    };
    let tokens = tokens(file);
    let token = tokens
        .iter()
        .find(begins)
        .or_else(|| tokens.last().filter(|_| line == 0));
    token
        .and_then(|token| Place::of_span(token.span))
        .unwrap_or(Place {
            line,
            column,
            length: 1,
        })
}

/// The words of a file's SQL, in lower case.
pub(crate) fn words(file: &SourceFile) -> BTreeSet<String> {
    let word = |token: TokenWithSpan| match token.token {
        Token::Word(word) => Some(word.value.to_lowercase()),
        _ => None,
    };
    tokens(file).into_iter().filter_map(word).collect()
}

/// The tokens of a file's SQL, without comments; none where it cannot be cut into tokens.
pub(crate) fn tokens(file: &SourceFile) -> Vec<TokenWithSpan> {
    let tokens = Tokenizer::new(&GenericDialect {}, &file.text)
        .tokenize_with_location()
        .unwrap_or_default();
    tokens
        .into_iter()
        .filter(|token| !matches!(token.token, Token::Whitespace(_) | Token::EOF))
        .collect()
}

/// The name among `known` that is most like `name`, if any is like it at all.
pub fn nearest<'a>(name: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    known
        .into_iter()
        .map(|candidate| {
            (
                strsim::jaro_winkler(&name.to_lowercase(), &candidate.to_lowercase()),
                candidate,
            )
        })
        .filter(|(likeness, _)| *likeness > 0.75)
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .map(|(_, candidate)| candidate)
}
