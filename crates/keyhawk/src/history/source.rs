//! A file of history, on this machine or in an object store.

use std::fmt;
use std::path::{Path, PathBuf};

use keyhawk_connectors::Object;

/// A file that was found. Clones are the same.
#[derive(Clone, Debug)]
pub struct Source {
    /// A path, or the object's URL.
    name: PathBuf,
    object: Option<Object>,
}

impl Source {
    /// The object, where it is one.
    pub(super) fn object(&self) -> Option<&Object> {
        self.object.as_ref()
    }

    /// The path on this machine, where it has one; `-` is standard input.
    pub fn path(&self) -> Option<&Path> {
        self.object.is_none().then_some(&self.name)
    }

    /// How many bytes it has; None where that is not known, as of standard input.
    pub fn bytes(&self) -> Option<u64> {
        match &self.object {
            Some(object) => Some(object.bytes()),
            None => Some(self.name.metadata().ok()?.len()),
        }
    }
}

impl From<PathBuf> for Source {
    fn from(path: PathBuf) -> Self {
        Source {
            name: path,
            object: None,
        }
    }
}

impl From<&Path> for Source {
    fn from(path: &Path) -> Self {
        path.to_owned().into()
    }
}

impl From<&PathBuf> for Source {
    fn from(path: &PathBuf) -> Self {
        path.clone().into()
    }
}

impl From<&Source> for Source {
    fn from(source: &Source) -> Self {
        source.clone()
    }
}

impl From<Object> for Source {
    fn from(object: Object) -> Self {
        Source {
            name: object.url().to_string().into(),
            object: Some(object),
        }
    }
}

/// As it is named in messages: a path, or a URL.
impl AsRef<Path> for Source {
    fn as_ref(&self) -> &Path {
        &self.name
    }
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.name.display().fmt(f)
    }
}
