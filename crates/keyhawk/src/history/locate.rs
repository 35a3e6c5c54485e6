//! From what a person names to files: paths, `file:` URLs, folders and patterns.

use std::fs::{self, File};
use std::io::Read;
use std::path::{Path, PathBuf};

use super::Error;

/// The first bytes of every Parquet file.
const MAGIC: &[u8; 4] = b"PAR1";

/// The files that `input` stands for, sorted where it is a pattern or a folder.
///
/// | input | files |
/// |---|---|
/// | `-` | itself: standard input |
/// | `file:///a/b.parquet` | as the path |
/// | a file that exists, whatever is in its name | itself |
/// | a folder | the `.parquet` files in it |
/// | a name with `*`, `?` or `[` | the files that match |
/// | any other name | itself; opening it says what is wrong |
///
/// # Errors
/// A pattern or folder without a file, and a URL of another scheme.
pub fn locate(input: &Path) -> Result<Vec<PathBuf>, Error> {
    let path = local(input)?;
    if path.is_dir() {
        let entries = fs::read_dir(&path).map_err(|source| unreadable(&path, source))?;
        let mut files = Vec::new();
        for entry in entries {
            let file = entry.map_err(|source| unreadable(&path, source))?.path();
            if has_ending(&file) && file.is_file() {
                files.push(file);
            }
        }
        return some(files, input);
    }
    let Some(pattern) = path.to_str() else {
        return Ok(vec![path]);
    };
    if pattern == "-" || path.exists() || !pattern.contains(['*', '?', '[']) {
        return Ok(vec![path]);
    }
    let matches = glob::glob(pattern).map_err(|error| Error::BadPattern {
        pattern: input.to_owned(),
        problem: error.to_string(),
    })?;
    let mut files = Vec::new();
    for found in matches {
        let file = found.map_err(|error| Error::Unreadable {
            path: error.path().to_owned(),
            source: error.into(),
        })?;
        if !file.is_dir() {
            files.push(file);
        }
    }
    some(files, input)
}

/// A path, or the path of a `file:` URL.
///
/// # Errors
/// A URL of another scheme.
pub(crate) fn local(input: &Path) -> Result<PathBuf, Error> {
    let Some((scheme, rest)) = input.to_str().and_then(|text| text.split_once("://")) else {
        return Ok(input.to_owned());
    };
    let is_scheme = !scheme.is_empty() && scheme.bytes().all(|byte| byte.is_ascii_alphanumeric());
    match rest.strip_prefix("localhost").unwrap_or(rest) {
        path if scheme == "file" && path.starts_with('/') => Ok(PathBuf::from(path)),
        _ if is_scheme => Err(Error::Scheme {
            url: input.display().to_string(),
        }),
        _ => Ok(input.to_owned()),
    }
}

fn some(mut files: Vec<PathBuf>, pattern: &Path) -> Result<Vec<PathBuf>, Error> {
    if files.is_empty() {
        return Err(Error::NoMatch {
            pattern: pattern.to_owned(),
        });
    }
    files.sort();
    Ok(files)
}

fn has_ending(path: &Path) -> bool {
    path.extension().is_some_and(|ending| ending == "parquet")
}

/// Whether a file is Parquet, by its name or its first bytes; what is no regular file is not looked
/// into, since that would eat the bytes.
///
/// # Errors
/// A file that cannot be opened or read.
pub fn is_history(path: &Path) -> Result<bool, Error> {
    if has_ending(path) {
        return Ok(true);
    }
    if !path.is_file() {
        return Ok(false);
    }
    let mut start = Vec::new();
    File::open(path)
        .and_then(|file| file.take(MAGIC.len() as u64).read_to_end(&mut start))
        .map_err(|source| unreadable(path, source))?;
    Ok(start == MAGIC)
}

fn unreadable(path: &Path, source: std::io::Error) -> Error {
    Error::Unreadable {
        path: path.to_owned(),
        source,
    }
}
