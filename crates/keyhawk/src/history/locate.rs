//! From what a person names to files: paths, `file:` URLs, URLs of object stores, folders and patterns.

use std::fs::{self, File};
use std::io::Read;
use std::path::{Path, PathBuf};

use glob::{MatchOptions, Pattern};
use keyhawk_connectors::{Bucket, Error as StoreError, Object, StoreFailure, StoreUrl, Stores};

use super::{Error, Source};

/// The first bytes of every Parquet file.
const MAGIC: &[u8; 4] = b"PAR1";
const WILD: [char; 3] = ['*', '?', '['];
/// As the pattern of a path: a slash is matched by a slash, or by `**`.
const AS_PATHS: MatchOptions = MatchOptions {
    case_sensitive: true,
    require_literal_separator: true,
    require_literal_leading_dot: false,
};

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
/// | `s3://bucket/a/b.parquet`, and the other stores | the object |
/// | `s3://bucket/a/`, or where there is no such object | the `.parquet` objects directly below it |
/// | `s3://bucket/a/*.parquet` | the objects that match |
///
/// # Errors
/// A pattern or folder without a file, a URL of another scheme, and what a store says.
pub fn locate(input: &Path) -> Result<Vec<Source>, Error> {
    locate_in(input, &Stores::from_environment())
}

/// The same, with these stores.
///
/// # Errors
/// As [`locate`].
pub fn locate_in(input: &Path, stores: &Stores) -> Result<Vec<Source>, Error> {
    match input.to_str().filter(|text| StoreUrl::is_one(text)) {
        Some(url) => {
            let url = StoreUrl::parse(url).map_err(Error::Store)?;
            let bucket = stores.bucket(&url).map_err(Error::Store)?;
            let objects = objects(&url, &bucket)?;
            some(objects.into_iter().map(Source::from).collect(), input)
        }
        None => {
            let files = files(input)?;
            Ok(files.into_iter().map(Source::from).collect())
        }
    }
}

fn files(input: &Path) -> Result<Vec<PathBuf>, Error> {
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
        files.sort();
        return some(files, input);
    }
    let Some(pattern) = path.to_str() else {
        return Ok(vec![path]);
    };
    if pattern == "-" || path.exists() || !pattern.contains(WILD) {
        return Ok(vec![path]);
    }
    let matches = glob::glob(pattern).map_err(|error| bad(input, &error))?;
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
    files.sort();
    some(files, input)
}

/// The objects of a URL, by their keys.
fn objects(url: &StoreUrl, bucket: &Bucket) -> Result<Vec<Object>, Error> {
    let key = url.key();
    let folder = |key: &str| -> Result<Vec<Object>, Error> {
        let mut objects = bucket.list(key, false).map_err(Error::Store)?;
        objects.retain(|object| has_ending(Path::new(object.key())));
        Ok(objects)
    };
    if key.is_empty() || key.ends_with('/') {
        return folder(key);
    }
    let Some(wild) = key.find(WILD) else {
        let found = bucket.object(key);
        if let Err(StoreError::Store {
            failure: StoreFailure::NotFound,
            ..
        }) = &found
        {
            // A folder is named without a slash too. What the store says to that is of no interest.
            let below = folder(key).unwrap_or_default();
            if !below.is_empty() {
                return Ok(below);
            }
        }
        return found.map(|object| vec![object]).map_err(Error::Store);
    };
    let pattern = Pattern::new(key).map_err(|error| bad(Path::new(&url.to_string()), &error))?;
    let prefix = key[..wild].rfind('/').map_or("", |slash| &key[..slash]);
    let recursive = key[wild..].contains('/') || key.contains("**");
    let mut objects = bucket.list(prefix, recursive).map_err(Error::Store)?;
    objects.retain(|object| pattern.matches_with(object.key(), AS_PATHS));
    Ok(objects)
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

fn some<T>(files: Vec<T>, pattern: &Path) -> Result<Vec<T>, Error> {
    if files.is_empty() {
        return Err(Error::NoMatch {
            pattern: pattern.to_owned(),
        });
    }
    Ok(files)
}

pub(super) fn has_ending(path: &Path) -> bool {
    path.extension().is_some_and(|ending| ending == "parquet")
}

/// Whether a file is Parquet, by its name or its first bytes; what is no regular file is not looked
/// into, since that would eat the bytes.
///
/// # Errors
/// A file that cannot be opened or read.
pub fn is_history(file: &Source) -> Result<bool, Error> {
    if has_ending(file.as_ref()) {
        return Ok(true);
    }
    let len = MAGIC.len() as u64;
    if let Some(object) = file.object() {
        let start = object.read(0..len.min(object.bytes()));
        return Ok(start.map_err(Error::Store)? == MAGIC[..]);
    }
    let path: &Path = file.as_ref();
    if !path.is_file() {
        return Ok(false);
    }
    let mut start = Vec::new();
    File::open(path)
        .and_then(|file| file.take(len).read_to_end(&mut start))
        .map_err(|source| unreadable(path, source))?;
    Ok(start == MAGIC)
}

fn bad(pattern: &Path, error: &glob::PatternError) -> Error {
    Error::BadPattern {
        pattern: pattern.to_owned(),
        problem: error.to_string(),
    }
}

fn unreadable(path: &Path, source: std::io::Error) -> Error {
    Error::Unreadable {
        path: path.to_owned(),
        source,
    }
}
