//! From the paths of a command line to rule directories and the rules chosen in them.
//!
//! ```text
//!   sql, sql/rules                        ─▶ sql: all rules
//!   sql/rules/a.sql, sql/rules/b.test.toml ─▶ sql: a and b
//! ```

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use super::{ENDING, Error};

/// A rule directory, and what of it.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Wanted {
    pub(super) dir: PathBuf,
    pub(super) chosen: Chosen,
}

/// Which rules of a directory.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Chosen {
    All,
    Rules(BTreeSet<String>),
}

/// The directories in the order in which the paths first name them, each once.
pub(super) fn wanted(paths: &[PathBuf]) -> Result<Vec<Wanted>, Error> {
    let mut all: Vec<(PathBuf, Wanted)> = Vec::new();
    for path in paths {
        let (dir, rule) = one(path)?;
        let real = canonical(&dir)?;
        let at = match all.iter().position(|(known, _)| *known == real) {
            Some(at) => at,
            None => {
                let chosen = Chosen::Rules(BTreeSet::new());
                all.push((real, Wanted { dir, chosen }));
                all.len() - 1
            }
        };
        match (&mut all[at].1.chosen, rule) {
            (Chosen::Rules(rules), Some(rule)) => drop(rules.insert(rule)),
            (chosen, None) => *chosen = Chosen::All,
            (Chosen::All, Some(_)) => {}
        }
    }
    Ok(all.into_iter().map(|(_, wanted)| wanted).collect())
}

/// The rule directory that a path means, and the rule where it means one.
fn one(path: &Path) -> Result<(PathBuf, Option<String>), Error> {
    let real = canonical(path)?;
    let none = || Error::NoTests {
        path: path.to_owned(),
    };
    if real.is_dir() {
        if path.join("rules").is_dir() {
            return Ok((path.to_owned(), None));
        }
        return match real.file_name() {
            Some(name) if name == "rules" => Ok((above(path), None)),
            _ => Err(none()),
        };
    }
    let name = path.file_name().and_then(|name| name.to_str());
    let rule = name.and_then(|name| name.strip_suffix(ENDING).or(name.strip_suffix(".sql")));
    let folder = real.parent().and_then(Path::file_name);
    match (rule, folder) {
        (Some(rule), Some(folder)) if folder == "rules" => {
            Ok((above(&above(path)), Some(rule.to_owned())))
        }
        _ => Err(none()),
    }
}

/// The folder that a path stands in, as a path that can be shown.
fn above(path: &Path) -> PathBuf {
    match path.parent().filter(|_| path.file_name().is_some()) {
        // A bare name stands in the working directory.
        Some(parent) if parent.as_os_str().is_empty() => PathBuf::from("."),
        Some(parent) => parent.to_owned(),
        None => path.join(".."),
    }
}

fn canonical(path: &Path) -> Result<PathBuf, Error> {
    fs::canonicalize(path).map_err(|source| Error::Unreadable {
        path: path.to_owned(),
        source,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_folder_above_a_path_is_a_path_too() {
        let cases = [
            ("sql/rules/a.sql", "sql/rules"),
            ("rules/a.sql", "rules"),
            ("a.sql", "."),
            ("rules", "."),
            (".", "./.."),
            ("..", "../.."),
            ("/", "/.."),
        ];
        for (path, folder) in cases {
            assert_eq!(above(Path::new(path)), Path::new(folder), "{path}");
        }
    }
}
