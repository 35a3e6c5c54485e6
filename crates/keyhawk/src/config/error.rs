//! Why a configuration was refused: always the file, line and column, and what to write instead.
//!
//!   error: [kafka] has no key `grup_id`
//!     --> keyhawk.toml:3:1
//!      |
//!    3 | grup_id = "hawks"
//!      | ^^^^^^^
//!      = help: did you mean `group_id`?
//!
//! People paste secrets into configuration files, and errors end up in logs. So a source line is
//! shown whole only where its key is known to take no secret; of all others the value is cut.

use std::fmt;
use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};

use super::keys::{SECTIONS, TAKES_SECRET};

/// A refused configuration. All but the last two variants are for the author of the file.
#[derive(Debug)]
#[non_exhaustive]
pub enum Error {
    /// Not TOML.
    Syntax {
        /// Where.
        place: Box<Place>,
        /// What the parser expected.
        message: String,
    },
    /// A table or key that does not exist.
    UnknownKey {
        /// Where.
        place: Box<Place>,
        /// The key as it stands there.
        key: String,
        /// The table it stands in, as written in a file; empty at the top.
        table: String,
        /// What may have been meant, as a sentence.
        help: String,
    },
    /// A value of the wrong type, or one that cannot be read or is out of its bounds.
    WrongValue {
        /// Where.
        place: Box<Place>,
        /// The key.
        key: String,
        /// What the key takes.
        takes: &'static str,
        /// What is wrong with the value. Never the value of a secret.
        reason: String,
    },
    /// A secret that stands in the file itself.
    PlainSecret {
        /// Where.
        place: Box<Place>,
        /// The key.
        key: String,
    },
    /// A property that the delivery protocol owns, or that librdkafka does not take.
    Property {
        /// Where.
        place: Box<Place>,
        /// Which and why, without its value.
        problem: keyhawk_connectors::Error,
    },
    /// Two values that cannot both hold.
    Contradiction {
        /// Where one of them stands.
        place: Box<Place>,
        /// What contradicts what.
        problem: String,
        /// The way out.
        help: &'static str,
    },
    /// A secret that is not where the file says, or cannot be one.
    Secret {
        /// Where the file says so.
        place: Box<Place>,
        /// What is wrong, without the secret.
        problem: String,
    },
    /// `run` without a secret for fingerprints.
    NoFingerprintSecret,
    /// The file cannot be read.
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What the system says.
        cause: io::Error,
    },
}

/// A place in a configuration file, with the source line as far as it may be shown.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// The file, as it was named.
    pub path: PathBuf,
    /// From 1.
    pub line: usize,
    /// From 1, in characters.
    pub column: usize,
    shown: String,
    carets: usize,
}

impl Place {
    /// The place of the byte range `span` in `text`. A range over several lines is marked in its
    /// first.
    pub(super) fn new(path: &Path, text: &str, span: Range<usize>) -> Self {
        let mut start = span.start.min(text.len());
        while !text.is_char_boundary(start) {
            start -= 1;
        }
        let before = &text[..start];
        let line_start = before.rfind('\n').map_or(0, |at| at + 1);
        let line_text = text[line_start..].lines().next().unwrap_or("");
        let column = text[line_start..start].chars().count();
        let shown = presentable(line_text);
        let marked = text.get(start..span.end).unwrap_or("");
        let marked = marked.lines().next().unwrap_or("").chars().count();
        let room = shown.chars().count().saturating_sub(column);
        Self {
            path: path.to_path_buf(),
            line: before.matches('\n').count() + 1,
            column: column + 1,
            carets: marked.min(room).max(1),
            shown,
        }
    }

    /// The second half of an error: where it is, the source line, the carets, the help.
    fn write(&self, f: &mut fmt::Formatter<'_>, help: &str) -> fmt::Result {
        let number = self.line.to_string();
        let gutter = " ".repeat(number.len());
        writeln!(
            f,
            "{gutter}--> {}:{}:{}",
            self.path.display(),
            self.line,
            self.column
        )?;
        writeln!(f, "{gutter} |")?;
        writeln!(f, "{number} | {}", self.shown)?;
        write!(
            f,
            "{gutter} | {}{}",
            " ".repeat(self.column - 1),
            "^".repeat(self.carets)
        )?;
        if !help.is_empty() {
            write!(f, "\n{gutter} = help: {help}")?;
        }
        Ok(())
    }
}

/// The source line, cut behind its first `=` unless the key is one of ours that takes no secret. An
/// inline table may hold anything, so it is cut too, and of a line without a key only a table's
/// header is shown. What looks like a URL with a name before its host may have a password there.
fn presentable(line: &str) -> String {
    let line: String = line
        .chars()
        .map(|c| if c.is_control() { ' ' } else { c })
        .collect();
    let Some((key, value)) = line.split_once('=') else {
        let header = line.trim_start().starts_with('[') && !line.contains(['"', '\'', ',']);
        return if header { line } else { "…".to_owned() };
    };
    let known = SECTIONS.iter().flat_map(|section| section.keys);
    let open = known
        .filter(|known| known.takes != TAKES_SECRET)
        .any(|known| known.name == key.trim());
    let has_user = value.contains("://") && value.contains('@');
    if open && !value.contains('{') && !has_user {
        line
    } else {
        format!("{key}= …")
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Syntax { place, message } => {
                writeln!(f, "not TOML: {}", message.replace('\n', ", "))?;
                place.write(f, "")
            }
            Self::UnknownKey {
                place,
                key,
                table,
                help,
            } => {
                if table.is_empty() {
                    writeln!(f, "there is no table and no key `{key}`")?;
                } else {
                    writeln!(f, "[{table}] has no key `{key}`")?;
                }
                place.write(f, help)
            }
            Self::WrongValue {
                place,
                key,
                takes,
                reason,
            } => {
                writeln!(f, "`{key}`: {reason}")?;
                place.write(f, &format!("`{key}` takes {takes}"))
            }
            Self::PlainSecret { place, key } => {
                writeln!(
                    f,
                    "`{key}` is a secret and must not stand in the configuration file"
                )?;
                let help = format!(
                    "write `{key} = {TAKES_SECRET}`, and change the secret if this file was shared"
                );
                place.write(f, &help)
            }
            Self::Property { place, problem } => {
                writeln!(f, "{problem}")?;
                place.write(f, "")
            }
            Self::Contradiction {
                place,
                problem,
                help,
            } => {
                writeln!(f, "{problem}")?;
                place.write(f, help)
            }
            Self::Secret { place, problem } => {
                writeln!(f, "{problem}")?;
                place.write(f, "")
            }
            Self::NoFingerprintSecret => f.write_str(
                "no secret for the fingerprints of credentials: write `secret = { file = \"path\" \
                 }` or `secret = { env = \"NAME\" }` below [identity]; `openssl rand -hex 32` \
                 makes one",
            ),
            Self::Unreadable { path, cause } => {
                write!(
                    f,
                    "cannot read the configuration {}: {cause}",
                    path.display()
                )
            }
        }
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Unreadable { cause, .. } => Some(cause),
            Self::Property { problem, .. } => Some(problem),
            _ => None,
        }
    }
}
