//! The file as a tree of values that know their places, with every key checked against the list of
//! `keys.rs` and every default taken from it.

use std::ops::Range;
use std::path::{Path, PathBuf};

use toml::Spanned;
use toml::de::{DeString, DeTable, DeValue};

use super::error::{Error, Place};
use super::keys::{self, Default, SECTIONS, Section};
use super::setting::{Setting, Wrong};

/// A file that is TOML and holds no unknown key.
#[derive(Debug)]
pub(super) struct Document<'t> {
    path: PathBuf,
    text: &'t str,
    root: DeTable<'t>,
}

/// One table of the file, or its absence.
pub(super) struct Table<'d> {
    document: &'d Document<'d>,
    section: &'static Section,
    table: Option<&'d DeTable<'d>>,
}

impl<'t> Document<'t> {
    /// Parses `text`, whose file is called `path` in errors.
    pub(super) fn parse(path: &Path, text: &'t str) -> Result<Self, Error> {
        let root = match DeTable::parse(text) {
            Ok(root) => root.into_inner(),
            Err(error) => {
                let place = Place::new(path, text, error.span().unwrap_or(0..0));
                return Err(Error::Syntax {
                    place: Box::new(place),
                    message: error.message().to_owned(),
                });
            }
        };
        let document = Self {
            path: path.to_path_buf(),
            text,
            root,
        };
        document.check_tables()?;
        Ok(document)
    }

    /// The table of this section.
    pub(super) fn table(&self, name: &str) -> Table<'_> {
        let path: Vec<&str> = name.split('.').filter(|part| !part.is_empty()).collect();
        self.section_table(name, &path)
    }

    /// The table of this topic.
    pub(super) fn topic(&self, topic: &str) -> Table<'_> {
        self.section_table(keys::TOPIC, &["topics", topic])
    }

    fn section_table(&self, section: &str, path: &[&str]) -> Table<'_> {
        let section = keys::section(section).expect("callers name sections of the list");
        let mut table = Some(&self.root);
        for part in path {
            table = table.and_then(|table| table.get(*part)?.get_ref().as_table());
        }
        Table {
            document: self,
            section,
            table,
        }
    }

    /// The topics that the file names, in its order.
    pub(super) fn topics(&self) -> impl Iterator<Item = &str> {
        let topics = self
            .root
            .get("topics")
            .and_then(|topics| topics.get_ref().as_table());
        topics
            .into_iter()
            .flatten()
            .map(|(name, _)| &**name.get_ref())
    }

    /// The place of these bytes.
    pub(super) fn place(&self, span: Range<usize>) -> Box<Place> {
        Box::new(Place::new(&self.path, self.text, span))
    }

    /// The place of the value at this path, or of the nearest table around it that the file has.
    pub(super) fn place_of(&self, path: &[&str]) -> Box<Place> {
        self.place(self.span_of(path))
    }

    /// The bytes of the value at this path, or of the nearest table around it that the file has.
    pub(super) fn span_of(&self, path: &[&str]) -> Range<usize> {
        let mut span = 0..0;
        let mut table = Some(&self.root);
        for part in path {
            let Some(value) = table.and_then(|table| table.get(*part)) else {
                break;
            };
            span = value.span();
            table = value.get_ref().as_table();
        }
        span
    }

    /// Every table and key must be one of the list.
    fn check_tables(&self) -> Result<(), Error> {
        let top = keys::section("").expect("the list has the top of the file");
        for (name, value) in &self.root {
            let name_text = &**name.get_ref();
            if name_text == "topics" {
                for (topic, value) in self.as_table(name_text, value)? {
                    let shown = format!("topics.{}", topic.get_ref());
                    let section = keys::section(keys::TOPIC).expect("the list has topics");
                    self.check_keys(&shown, section, self.as_table(&shown, value)?)?;
                }
            } else if let Some(section) = keys::section(name_text).filter(|_| !name_text.is_empty())
            {
                self.check_keys(name_text, section, self.as_table(name_text, value)?)?;
            } else if top.key(name_text).is_none() {
                return Err(self.unknown(name, ""));
            }
        }
        Ok(())
    }

    fn check_keys(&self, shown: &str, section: &Section, table: &DeTable<'_>) -> Result<(), Error> {
        for (name, value) in table {
            let below = format!("{}.{}", section.name, name.get_ref());
            if keys::section(&below).is_some() {
                self.as_table(&below, value)?;
            } else if section.key(name.get_ref()).is_none() {
                let mut error = self.unknown(name, shown);
                if let (Error::UnknownKey { help, .. }, true, keys::TOPIC) =
                    (&mut error, value.get_ref().is_table(), section.name)
                {
                    *help = "a topic's name that holds a dot is written in quotes".to_owned();
                }
                return Err(error);
            }
        }
        Ok(())
    }

    fn as_table<'v>(
        &self,
        name: &str,
        value: &'v Spanned<DeValue<'v>>,
    ) -> Result<&'v DeTable<'v>, Error> {
        value.get_ref().as_table().ok_or_else(|| Error::WrongValue {
            place: self.place(value.span()),
            key: name.to_owned(),
            takes: "a table of keys",
            reason: format!("expected a table, [{name}]"),
        })
    }

    fn unknown(&self, key: &Spanned<DeString<'_>>, table: &str) -> Error {
        let name = &**key.get_ref();
        let help = if table.is_empty() {
            help_at_top(name)
        } else {
            help_in_table(name, table)
        };
        Error::UnknownKey {
            place: self.place(key.span()),
            key: name.to_owned(),
            table: table.to_owned(),
            help,
        }
    }
}

/// What may have been meant by an unknown name at the top of the file.
fn help_at_top(name: &str) -> String {
    if let Some(help) = elsewhere(name) {
        return help;
    }
    let tables = SECTIONS
        .iter()
        .map(|section| section.name.split('.').next().unwrap_or(""));
    let keys = keys::section("")
        .into_iter()
        .flat_map(|top| top.keys)
        .map(|key| key.name);
    match nearest(name, tables.chain(keys)) {
        Some(near) if keys::section("").is_some_and(|top| top.key(near).is_some()) => {
            format!("did you mean `{near}`?")
        }
        Some(near) => format!("did you mean [{near}]?"),
        None => "`keyhawk.sample.toml` shows all tables and keys".to_owned(),
    }
}

/// What may have been meant by an unknown name in a table.
fn help_in_table(name: &str, table: &str) -> String {
    let section = if table.starts_with("topics.") {
        keys::TOPIC
    } else {
        table
    };
    let keys = keys::section(section).map_or(&[][..], |section| section.keys);
    if let Some(near) = nearest(name, keys.iter().map(|key| key.name)) {
        return format!("did you mean `{near}`?");
    }
    if let Some(help) = elsewhere(name) {
        return help;
    }
    let all: Vec<String> = keys.iter().map(|key| format!("`{}`", key.name)).collect();
    format!("[{table}] has the keys {}", all.join(", "))
}

/// The name is a key of another table.
fn elsewhere(name: &str) -> Option<String> {
    let section = SECTIONS
        .iter()
        .find(|section| section.key(name).is_some())?;
    Some(match section.name {
        "" => format!("`{name}` belongs at the top of the file, before the first table"),
        table => format!("`{name}` belongs below [{table}]"),
    })
}

/// The name that differs in the fewest letters, if it differs in at most a third of them.
fn nearest<'n>(name: &str, known: impl Iterator<Item = &'n str>) -> Option<&'n str> {
    let most = (name.chars().count() / 3).max(1);
    known
        .filter(|known| !known.is_empty())
        .map(|known| (strsim::damerau_levenshtein(name, known), known))
        .filter(|(distance, _)| *distance <= most)
        .min()
        .map(|(_, known)| known)
}

impl<'d> Table<'d> {
    /// The value in force: that of the file, or else the default.
    pub(super) fn get<T: Setting>(&self, name: &str) -> Result<T, Error> {
        if let Some(value) = self.optional(name)? {
            return Ok(value);
        }
        let key = self
            .section
            .key(name)
            .expect("callers name keys of the list");
        let Default::Value(default) = key.default else {
            unreachable!("a key without a default is read by `optional`")
        };
        let value = DeValue::parse(default).expect("defaults are TOML; a test reads each");
        Ok(T::read(&value).expect("defaults fit their keys; a test reads each"))
    }

    /// The value of the file.
    pub(super) fn optional<T: Setting>(&self, name: &str) -> Result<Option<T>, Error> {
        let Some(value) = self.table.and_then(|table| table.get(name)) else {
            return Ok(None);
        };
        let takes = self.section.key(name).map_or("", |key| key.takes);
        T::read(value)
            .map(Some)
            .map_err(|wrong| self.document.wrong(name, takes, wrong))
    }

    /// The entries of a table whose keys the file chooses.
    pub(super) fn entries(
        &self,
    ) -> impl Iterator<Item = (&'d str, &'d Spanned<DeValue<'d>>)> + use<'d> {
        self.table
            .into_iter()
            .flatten()
            .map(|(name, value)| (&**name.get_ref(), value))
    }
}

impl Document<'_> {
    /// The error for a wrong value.
    pub(super) fn wrong(&self, key: &str, takes: &'static str, wrong: Wrong) -> Error {
        let key = key.to_owned();
        match wrong {
            Wrong::Value(span, reason) => Error::WrongValue {
                place: self.place(span),
                key,
                takes,
                reason,
            },
            Wrong::PlainSecret(span) => Error::PlainSecret {
                place: self.place(span),
                key,
            },
        }
    }
}
