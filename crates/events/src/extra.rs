//! `events.toml`: the columns of `events` that an installation adds.
//!
//! ```toml
//! [[column]]
//! name = "plan"
//! pointer = "/account/plan"     # a JSON pointer (RFC 6901) into the event
//! type = "text"                 # text, integer, decimal, boolean, text_list
//! sensitivity = "plain"         # plain (the default), hash, drop
//! ```

use std::ops::Range;

use serde::Deserialize;
use toml::Spanned;

use crate::schema::is_native;
use crate::{Error, Result};

/// One column of `events.toml`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExtraColumn {
    /// The column's name: lower-case letters, digits and `_`, a letter first.
    pub name: String,
    /// The JSON pointer (RFC 6901) to its value; never empty.
    pub pointer: String,
    /// Its type.
    pub kind: ExtraKind,
    /// What is kept of its value.
    pub sensitivity: Sensitivity,
}

/// The type of an added column.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ExtraKind {
    /// Utf8View.
    Text,
    /// Int64.
    Integer,
    /// Decimal128(38, 18).
    Decimal,
    /// Boolean.
    Boolean,
    /// List of Utf8View.
    TextList,
}

/// What is kept of an added column's value.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Default)]
#[serde(rename_all = "snake_case")]
pub enum Sensitivity {
    /// The value, credentials masked as everywhere.
    #[default]
    Plain,
    /// `…` and 20 hex digits under the deployment's secret, so that equal values stay equal. Texts
    /// and lists of text only: the hash of a small number is soon guessed by trying all of them.
    Hash,
    /// Nothing: the column is null in every row, and the value is not read. Rules that name it still
    /// load.
    Drop,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    #[serde(default)]
    column: Vec<Entry>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    name: Spanned<String>,
    pointer: Spanned<String>,
    r#type: ExtraKind,
    #[serde(default)]
    sensitivity: Option<Spanned<Sensitivity>>,
}

/// Reads the text of `events.toml`; `file` is how messages name it.
///
/// # Errors
/// TOML that cannot be read, an unknown key or type, a name that is no plain SQL name, that `events`
/// has already or that stands twice, a pointer that is none, a hash of what is no text.
pub fn parse_events_toml(text: &str, file: &str) -> Result<Vec<ExtraColumn>> {
    let fault = |span: Option<Range<usize>>, problem: String| Error::BadColumn {
        file: file.to_string(),
        line: span.map(|span| text[..span.start.min(text.len())].matches('\n').count() + 1),
        problem,
    };
    let parsed: File = toml::from_str(text)
        .map_err(|error| fault(error.span(), error.message().trim_end().to_string()))?;
    let mut columns: Vec<ExtraColumn> = Vec::with_capacity(parsed.column.len());
    for entry in parsed.column {
        let kind = entry.r#type;
        if let Err(problem) = check_name(entry.name.get_ref(), &columns) {
            return Err(fault(Some(entry.name.span()), problem));
        }
        if let Err(problem) = check_pointer(entry.pointer.get_ref()) {
            return Err(fault(Some(entry.pointer.span()), problem));
        }
        let sensitivity = entry
            .sensitivity
            .as_ref()
            .map(|s| *s.get_ref())
            .unwrap_or_default();
        if let Err(problem) = check_sensitivity(kind, sensitivity) {
            return Err(fault(entry.sensitivity.map(|s| s.span()), problem));
        }
        columns.push(ExtraColumn {
            name: entry.name.into_inner(),
            pointer: entry.pointer.into_inner(),
            kind,
            sensitivity,
        });
    }
    Ok(columns)
}

/// The same checks for columns that were not read from a file.
pub(crate) fn check(columns: &[ExtraColumn]) -> Result<()> {
    for (place, column) in columns.iter().enumerate() {
        check_name(&column.name, &columns[..place])
            .and_then(|()| check_pointer(&column.pointer))
            .and_then(|()| check_sensitivity(column.kind, column.sensitivity))
            .map_err(|problem| Error::BadColumn {
                file: "events.toml".into(),
                line: None,
                problem,
            })?;
    }
    Ok(())
}

fn check_name(name: &str, before: &[ExtraColumn]) -> std::result::Result<(), String> {
    let plain = name.starts_with(|first: char| first.is_ascii_lowercase())
        && name
            .bytes()
            .all(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'_'));
    if !plain {
        return Err(format!(
            "`{name}` is no column name; use lower-case letters, digits and _, a letter first"
        ));
    }
    if is_native(name) {
        return Err(format!(
            "`events` already has a column `{name}`; choose another name"
        ));
    }
    if before.iter().any(|column| column.name == name) {
        return Err(format!(
            "the column `{name}` is declared twice; remove one or rename it"
        ));
    }
    Ok(())
}

fn check_pointer(pointer: &str) -> std::result::Result<(), String> {
    let escapes_are_sound = pointer
        .split('~')
        .skip(1)
        .all(|rest| rest.starts_with('0') || rest.starts_with('1'));
    if pointer.starts_with('/') && escapes_are_sound {
        return Ok(());
    }
    Err(format!(
        "`{pointer}` is no JSON pointer; write `/name` or `/outer/inner`, with ~1 for a slash in a \
         name and ~0 for a tilde"
    ))
}

fn check_sensitivity(kind: ExtraKind, sensitivity: Sensitivity) -> std::result::Result<(), String> {
    let hashable = matches!(kind, ExtraKind::Text | ExtraKind::TextList);
    if sensitivity == Sensitivity::Hash && !hashable {
        return Err(
            "`hash` is for `text` and `text_list`, since the hash of a number is soon \
                    guessed; declare the column as text, or drop it"
                .into(),
        );
    }
    Ok(())
}

/// The unescaped tokens of a pointer that was checked; at least one.
pub(crate) fn pointer_tokens(pointer: &str) -> Vec<String> {
    pointer
        .split('/')
        .skip(1)
        .map(|token| token.replace("~1", "/").replace("~0", "~"))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(text: &str) -> String {
        parse_events_toml(text, "sql/events.toml")
            .unwrap_err()
            .to_string()
    }

    #[test]
    fn columns_are_read() {
        let text = "[[column]]\nname = \"plan\"\npointer = \"/a~1b/c~0d/0\"\ntype = \"text_list\"\nsensitivity = \"hash\"\n";
        let columns = parse_events_toml(text, "events.toml").unwrap();
        assert_eq!(columns.len(), 1);
        assert_eq!(columns[0].kind, ExtraKind::TextList);
        assert_eq!(columns[0].sensitivity, Sensitivity::Hash);
        assert_eq!(pointer_tokens(&columns[0].pointer), ["a/b", "c~d", "0"]);
        assert!(parse_events_toml("", "events.toml").unwrap().is_empty());
    }

    #[test]
    fn faults_name_the_line() {
        let column = |name: &str, rest: &str| format!("[[column]]\n\nname = \"{name}\"\n{rest}");
        let good = "pointer = \"/a\"\ntype = \"text\"\n";
        assert!(
            message(&column("status", good)).starts_with("sql/events.toml:3: `events` already has")
        );
        assert!(message(&column("Plan", good)).contains("`Plan` is no column name"));
        let twice = column("a", good) + &column("a", good);
        assert!(message(&twice).starts_with("sql/events.toml:8: the column `a` is declared twice"));
        let pointer = column("a", "pointer = \"a.b\"\ntype = \"text\"\n");
        assert!(message(&pointer).starts_with("sql/events.toml:4: `a.b` is no JSON pointer"));
        let hash = column(
            "a",
            "pointer = \"/a\"\ntype = \"integer\"\nsensitivity = \"hash\"\n",
        );
        assert!(message(&hash).starts_with("sql/events.toml:6: `hash` is for"));
        assert!(
            message(&column("a", "pointer = \"/a\"\ntype = \"number\"\n"))
                .starts_with("sql/events.toml:5:")
        );
        assert!(message(&column("a", &format!("{good}colour = 1\n"))).contains("colour"));
        assert!(message("[[column]\n").starts_with("sql/events.toml:1:"));
    }
}
