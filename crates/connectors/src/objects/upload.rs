//! A local file becomes an object: whole, or not at all.
//!
//! ```text
//!   up to 8 MiB    one put
//!   above          begin ─▶ parts of 8 MiB, two at a time ─▶ complete        or abort
//! ```
//!
//! Nobody sees the object before it is complete. An abort that fails too leaves parts, which cost money
//! and are not seen; a rule of the bucket's life cycle can take them away.
//!
//! State: two parts.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use bytes::Bytes;
use object_store::{ObjectStoreExt, PutPayload};

use super::{Bucket, Operation, Result};
use crate::Error;

/// S3 takes parts of 5 MiB at least and 10,000 of them, which is 80 GB in parts of this size.
const PART_BYTES: usize = 8 << 20;
const PARTS_AT_ONCE: usize = 2;

impl Bucket {
    /// Makes an object of a file, and says how many bytes it has. Replaces an object of that key.
    ///
    /// # Errors
    ///
    /// [`Error::File`] where the file cannot be read; [`Error::Store`].
    pub fn put_file(&self, key: &str, path: &Path) -> Result<u64> {
        let unreadable = |source: io::Error| Error::File {
            path: path.to_owned(),
            reason: source.to_string(),
        };
        let mut file = File::open(path).map_err(unreadable)?;
        let first = part(&mut file).map_err(unreadable)?;
        if first.len() < PART_BYTES {
            let bytes = first.len() as u64;
            self.put(key, first)?;
            return Ok(bytes);
        }
        let (url, location) = self.location(key)?;
        let run = |doing| super::Run {
            bucket: self,
            url: url.clone(),
            operation: Operation::Put,
            doing,
        };
        let store = self.store();
        let mut upload = run("beginning an upload")
            .start(async move { store.put_multipart(&location).await })
            .wait()?;
        let mut under_way = VecDeque::new();
        let mut send = || -> Result<u64> {
            let mut bytes = 0;
            let mut next = first.clone();
            while !next.is_empty() {
                bytes += next.len() as u64;
                under_way.push_back((
                    next.len() as u64,
                    run("uploading a part").start(upload.put_part(PutPayload::from(next))),
                ));
                if under_way.len() == PARTS_AT_ONCE
                    && let Some((len, part)) = under_way.pop_front()
                {
                    part.wait()?;
                    super::written(len);
                }
                next = part(&mut file).map_err(unreadable)?;
            }
            while let Some((len, part)) = under_way.pop_front() {
                part.wait()?;
                super::written(len);
            }
            Ok(bytes)
        };
        let sent = send();
        under_way.clear();
        match sent {
            Ok(bytes) => {
                run("completing an upload")
                    .start(async move { upload.complete().await })
                    .wait()?;
                Ok(bytes)
            }
            Err(error) => {
                let aborted = run("aborting an upload").start(async move { upload.abort().await });
                if let Err(error) = aborted.wait() {
                    tracing::warn!("parts of an upload are left behind: {error}");
                }
                Err(error)
            }
        }
    }
}

/// The next bytes: a whole part, or what is left.
fn part(file: &mut File) -> io::Result<Bytes> {
    let mut bytes = Vec::new();
    file.take(PART_BYTES as u64).read_to_end(&mut bytes)?;
    Ok(bytes.into())
}
