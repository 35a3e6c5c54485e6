//! The sentence of an alert: text with columns of the row in braces.
//!
//! `"{api_key} made {requests} requests; {expected} expected"`; `{{` and `}}` are braces of the text.

use serde_json::{Map, Value};

use crate::error::{Error, Result};
use crate::readable;

/// A summary is read in a chat window; what is longer than this helps nobody.
const SUMMARY_CHARS_MAX: usize = 1000;

/// A parsed summary, ready to be filled in from rows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Template {
    parts: Vec<Part>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Part {
    Text(String),
    Column(String),
}

impl Template {
    /// Reads a template. Whether its columns exist is for the caller to check ([`Self::columns`]).
    ///
    /// # Errors
    ///
    /// An unbalanced brace, or braces around something that cannot be a column name.
    pub fn parse(template: &str) -> Result<Self> {
        let mut parts = Vec::new();
        let mut text = String::new();
        let mut at = 0;
        while let Some(found) = template[at..].find(['{', '}']) {
            let brace = at + found;
            text.push_str(&template[at..brace]);
            let rest = &template[brace + 1..];
            let doubled = rest.as_bytes().first() == template.as_bytes().get(brace);
            if doubled {
                text.push_str(&template[brace..=brace]);
                at = brace + 2;
            } else if template.as_bytes()[brace] == b'}' {
                return Err(Error::TemplateCloseBrace {
                    template: template.to_owned(),
                    at: brace,
                });
            } else {
                let open = || Error::TemplateOpenBrace {
                    template: template.to_owned(),
                    at: brace,
                };
                let len = rest.find('}').ok_or_else(open)?;
                let column = rest[..len].trim();
                if column.is_empty() || column.contains(['{', ' ', '\'', '[', ']']) {
                    return Err(Error::TemplateColumn {
                        template: template.to_owned(),
                        at: brace,
                        found: rest[..len].to_owned(),
                    });
                }
                if !text.is_empty() {
                    parts.push(Part::Text(std::mem::take(&mut text)));
                }
                parts.push(Part::Column(column.to_owned()));
                at = brace + 1 + len + 1;
            }
        }
        text.push_str(&template[at..]);
        if !text.is_empty() {
            parts.push(Part::Text(text));
        }
        Ok(Self { parts })
    }

    /// The sentence of a rule whose header gives none: its name and its entity.
    pub fn plain(rule: &str, entity: &str) -> Self {
        Self {
            parts: vec![
                Part::Text(format!("{rule}: {entity} ")),
                Part::Column(entity.to_owned()),
            ],
        }
    }

    /// The columns that it names, in order, with repeats.
    pub fn columns(&self) -> impl Iterator<Item = &str> {
        self.parts.iter().filter_map(|part| match part {
            Part::Text(_) => None,
            Part::Column(name) => Some(name.as_str()),
        })
    }

    /// The sentence for one row, at most 1,000 characters. Integers get thousands separators,
    /// floats one decimal; what is null or absent reads `unknown`.
    pub fn fill(&self, row: &Map<String, Value>) -> String {
        let mut summary = String::new();
        for part in &self.parts {
            match part {
                Part::Text(text) => summary.push_str(text),
                Part::Column(name) => {
                    let value = row.get(name).unwrap_or(&Value::Null);
                    summary.push_str(&readable::value(name, value));
                }
            }
        }
        readable::shorten(&summary, SUMMARY_CHARS_MAX)
    }
}
