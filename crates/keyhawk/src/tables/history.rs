//! The versions of reference tables that were in force, kept so that a backtest can read them again.
//!
//! ```text
//!   FOLDER/networks.1f0a77c2d9e4.csv     a copy of the file, under the first twelve digits of its SHA-256
//!   FOLDER/index.ndjson                  a line for each change, in the order of time:
//!     {"table":"networks","from":"2026-03-02T10:00:00.000Z","digest":"1f0a…","file":"networks.1f0a77c2d9e4.csv"}
//!     {"table":"networks","from":"2026-03-09T08:30:00.000Z","digest":null,"file":null}      no more there
//! ```
//!
//! A copy is there before its line, and lines are only added. Several instances may write one folder:
//! a line that two of them write is harmless.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use keyhawk_alerts::TimeMs;
use serde::{Deserialize, Serialize};

use super::Error;
use crate::rule_set::TableVersion;

const INDEX: &str = "index.ndjson";
/// Digits of a digest in a file's name.
const DIGITS: usize = 12;

/// A line of the index.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Entry {
    table: String,
    from: TimeMs,
    digest: Option<String>,
    file: Option<String>,
}

/// Which versions are asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AsOf {
    /// Those in force at a time.
    Time(TimeMs),
    /// Those in force when the version with this digest, or a beginning of it, came into force.
    Digest(String),
}

impl std::str::FromStr for AsOf {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let is_digest =
            (6..=64).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_hexdigit());
        if is_digest {
            return Ok(AsOf::Digest(text.to_ascii_lowercase()));
        }
        text.parse().map(AsOf::Time).map_err(|_| {
            "write a time as 2026-03-02T10:00:00Z, or a digest as an alert's `tables` has it, six digits \
             or more"
                .to_owned()
        })
    }
}

/// Keeps the versions that are in force from `now` on, where they are not those of the last call.
///
/// # Errors
/// A folder that cannot be read or written to.
pub fn keep(folder: &Path, versions: &[TableVersion], now: TimeMs) -> Result<(), Error> {
    let unwritable = |path: &Path| {
        let path = path.to_owned();
        move |error: io::Error| Error::name(&path, format!("cannot be written: {error}"))
    };
    if versions.is_empty() && !folder.join(INDEX).exists() {
        return Ok(());
    }
    fs::create_dir_all(folder).map_err(unwritable(folder))?;
    let mut last: BTreeMap<String, Option<String>> = BTreeMap::new();
    for entry in entries(folder)? {
        last.insert(entry.table, entry.digest);
    }
    let mut lines = Vec::new();
    for version in versions {
        if last
            .get(&version.name)
            .is_some_and(|digest| digest.as_ref() == Some(&version.digest))
        {
            continue;
        }
        let file = file_name(version);
        let copy = folder.join(&file);
        if !copy.exists() {
            // A file of that name is whole, also after a crash.
            let unfinished = folder.join(format!(".{file}.{}.tmp", std::process::id()));
            fs::copy(&version.path, &unfinished).map_err(unwritable(&unfinished))?;
            fs::rename(&unfinished, &copy).map_err(unwritable(&copy))?;
        }
        lines.push(Entry {
            table: version.name.clone(),
            from: now,
            digest: Some(version.digest.clone()),
            file: Some(file),
        });
    }
    let present: BTreeSet<&str> = versions
        .iter()
        .map(|version| version.name.as_str())
        .collect();
    let gone = last
        .into_iter()
        .filter(|(table, digest)| digest.is_some() && !present.contains(table.as_str()));
    lines.extend(gone.map(|(table, _)| Entry {
        table,
        from: now,
        digest: None,
        file: None,
    }));
    if lines.is_empty() {
        return Ok(());
    }
    let path = folder.join(INDEX);
    let text: String = lines
        .iter()
        .map(|line| serde_json::to_string(line).expect("plain data") + "\n")
        .collect();
    let mut index = OpenOptions::new()
        .create(true)
        .append(true)
        .open(&path)
        .map_err(unwritable(&path))?;
    index
        .write_all(text.as_bytes())
        .and_then(|()| index.sync_all())
        .map_err(unwritable(&path))
}

/// The files of the tables that were in force, by name.
///
/// # Errors
/// No index, a line that is none, a digest of no version, and a time before the first.
pub fn as_of(folder: &Path, wanted: &AsOf) -> Result<Vec<(String, PathBuf)>, Error> {
    let index = folder.join(INDEX);
    let entries = entries(folder)?;
    let time = match wanted {
        AsOf::Time(time) => *time,
        AsOf::Digest(wanted) => {
            let mut found = entries.iter().filter(|entry| {
                let digest = entry.digest.as_deref();
                digest.is_some_and(|digest| digest.starts_with(wanted.as_str()))
            });
            let digests: BTreeSet<&Option<String>> =
                found.clone().map(|entry| &entry.digest).collect();
            match (found.next(), digests.len()) {
                (Some(first), 1) => first.from,
                (Some(_), _) => {
                    let problem = format!("several versions begin with {wanted}; give more digits");
                    return Err(Error::name(&index, problem));
                }
                (None, _) => {
                    let problem = format!(
                        "no version of a table has the digest {wanted}; alerts name the digests in `tables`"
                    );
                    return Err(Error::name(&index, problem));
                }
            }
        }
    };
    let mut in_force: BTreeMap<&str, &Entry> = BTreeMap::new();
    for entry in entries.iter().filter(|entry| entry.from <= time) {
        in_force.insert(&entry.table, entry);
    }
    if in_force.is_empty() {
        let problem = match entries.first() {
            Some(first) => format!(
                "the first version is from {}; name a later time",
                first.from
            ),
            None => "no version was kept yet: `run` keeps them".to_owned(),
        };
        return Err(Error::name(&index, problem));
    }
    let files = in_force.into_iter().filter_map(|(table, entry)| {
        let file = entry.file.as_ref()?;
        Some((table.to_owned(), folder.join(file)))
    });
    Ok(files.collect())
}

fn file_name(version: &TableVersion) -> String {
    let ending = super::ending(&version.path);
    let digits = &version.digest[..DIGITS.min(version.digest.len())];
    format!("{}.{digits}.{ending}", version.name)
}

/// The lines of the index; none where there is no index yet.
fn entries(folder: &Path) -> Result<Vec<Entry>, Error> {
    let path = folder.join(INDEX);
    let text = match fs::read_to_string(&path) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(source) => return Err(Error::Unreadable { path, source }),
    };
    let lines = (1..)
        .zip(text.lines())
        .filter(|(_, line)| !line.trim().is_empty());
    lines
        .map(|(number, line)| {
            serde_json::from_str(line).map_err(|error| {
                Error::line(&path, number, format!("is no entry of the index: {error}"))
            })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rule_set::RuleTexts;

    /// A rule directory with one table, and its versions.
    fn versions(dir: &Path, table: Option<&str>) -> Vec<TableVersion> {
        let folder = |name: &str| {
            let folder = dir.join(name);
            fs::create_dir_all(&folder).unwrap();
            folder
        };
        fs::write(folder("rules").join("r.sql"), "").unwrap();
        let file = folder("tables").join("owners.csv");
        match table {
            Some(text) => fs::write(file, text).unwrap(),
            None => fs::remove_file(file).unwrap(),
        }
        RuleTexts::read(dir).unwrap().tables
    }

    #[test]
    fn the_version_in_force_at_a_time_is_read_again() {
        let (dir, kept) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let history = kept.path().join("tables");
        let at = |text: &str| as_of(&history, &text.parse().unwrap());
        let text = |files: Vec<(String, PathBuf)>| -> Vec<(String, String)> {
            let read = |path: PathBuf| fs::read_to_string(path).unwrap();
            files
                .into_iter()
                .map(|(name, path)| (name, read(path)))
                .collect()
        };
        let owners = |text: &str| vec![("owners".to_owned(), text.to_owned())];
        let hour = |n: i64| TimeMs(n * 3_600_000);
        keep(&history, &[], hour(0)).unwrap();
        assert!(!history.exists(), "nothing to keep, nothing made");

        let first = versions(dir.path(), Some("key,owner\nk,ann\n"));
        keep(&history, &first, hour(1)).unwrap();
        keep(&history, &first, hour(2)).unwrap();
        let second = versions(dir.path(), Some("key,owner\nk,ben\n"));
        keep(&history, &second, hour(3)).unwrap();
        keep(&history, &versions(dir.path(), None), hour(4)).unwrap();
        keep(
            &history,
            &versions(dir.path(), Some("key,owner\nk,ann\n")),
            hour(5),
        )
        .unwrap();

        let lines = fs::read_to_string(history.join(INDEX)).unwrap();
        assert_eq!(lines.lines().count(), 4, "{lines}");
        assert_eq!(
            text(at("1970-01-01T01:00:00Z").unwrap()),
            owners("key,owner\nk,ann\n")
        );
        assert_eq!(
            text(at("1970-01-01T02:59:59Z").unwrap()),
            owners("key,owner\nk,ann\n")
        );
        assert_eq!(
            text(at("1970-01-01T03:00:00Z").unwrap()),
            owners("key,owner\nk,ben\n")
        );
        assert!(at("1970-01-01T04:30:00Z").unwrap().is_empty());
        assert_eq!(
            text(at("1970-01-02T00:00:00Z").unwrap()),
            owners("key,owner\nk,ann\n")
        );
        assert_eq!(
            text(at(&second[0].digest).unwrap()),
            owners("key,owner\nk,ben\n")
        );
        assert_eq!(
            text(at(&first[0].digest[..8]).unwrap()),
            owners("key,owner\nk,ann\n")
        );
        let early = at("1970-01-01T00:30:00Z").unwrap_err().to_string();
        assert!(
            early.contains("the first version is from 1970-01-01T01:00"),
            "{early}"
        );
        let unknown = at("ffffffffffff").unwrap_err().to_string();
        assert!(
            unknown.contains("no version of a table has the digest"),
            "{unknown}"
        );
        assert!("yesterday".parse::<AsOf>().is_err());
        fs::write(history.join(INDEX), "{\"table\":\"owners\"}\n").unwrap();
        let damaged = at("1970-01-01T01:00:00Z").unwrap_err().to_string();
        assert!(damaged.contains("index.ndjson:1: is no entry"), "{damaged}");
    }
}
