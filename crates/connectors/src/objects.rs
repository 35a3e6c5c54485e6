//! Object stores: S3, Google Cloud Storage and Azure Blob Storage, by URL, for callers that wait.
//!
//! ```text
//!   s3://bucket/prefix/ ──▶ Stores ──▶ Bucket ──▶ list, head ──▶ Object ──▶ ranges, a stream
//!                             │           └─────▶ put, put_file, delete
//!                       one thread, kh-objects, on which all requests run
//! ```
//!
//! Which of them a build has is a matter of features (`s3`, `gcs`, `azure`): each brings an HTTP client and a
//! TLS library. What is here is built and tested without them, over a store in memory.
//!
//! Credentials and endpoints come from the environment, never from a URL or a file of Keyhawk's. A
//! request that fails in passing is tried again by crate `object_store`, for seconds; whoever wants more
//! patience asks again. An object is read as it was found: where another took its place since, that is an
//! error and no mixture.

mod failure;
mod open;
mod reader;
mod runtime;
mod upload;
mod url;

use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::future::Future;
use std::ops::Range;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use futures_util::TryStreamExt;
use object_store::memory::InMemory;
use object_store::path::Path as Location;
use object_store::{GetOptions, GetRange, ObjectMeta, ObjectStore, ObjectStoreExt, PutPayload};

pub use failure::StoreFailure;
pub use reader::ObjectReader;
use runtime::{Pending, Runtime};
pub use url::StoreUrl;

use crate::Result;

/// Ranges that are this close are read as one: what lies between costs less than another request.
const GAP_BYTES: u64 = 1 << 20;
/// What one request reads at most, so that it ends in time on a slow line; longer ranges are several.
const REQUEST_BYTES: u64 = 8 << 20;

/// Requests for one object that are under way at once.
const REQUESTS_AT_ONCE: usize = 8;

/// Buckets by their URL, each opened when it is first asked for. Clones are the same.
#[derive(Clone, Default)]
pub struct Stores(Arc<Shared>);

#[derive(Default)]
struct Shared {
    variables: Vec<(String, String)>,
    open: Mutex<Open>,
}

#[derive(Default)]
struct Open {
    runtime: Option<Arc<Runtime>>,
    buckets: BTreeMap<String, Bucket>,
}

impl Stores {
    /// Stores with these variables in place of the environment's; nothing is opened yet.
    pub fn new(variables: impl IntoIterator<Item = (String, String)>) -> Stores {
        Stores(Arc::new(Shared {
            variables: variables.into_iter().collect(),
            open: Mutex::default(),
        }))
    }

    /// Stores with the variables of the environment; those that are no UTF-8 are left out.
    pub fn from_environment() -> Stores {
        let text = |text: std::ffi::OsString| text.into_string().ok();
        Stores::new(
            std::env::vars_os().filter_map(|(name, value)| Some((text(name)?, text(value)?))),
        )
    }

    /// The bucket of a URL. No request is made: that it is there, the first one says.
    ///
    /// # Errors
    ///
    /// [`Error::StoreNotBuilt`](crate::Error::StoreNotBuilt); [`Error::Store`](crate::Error::Store) where
    /// the variables do not fit together.
    pub fn bucket(&self, url: &StoreUrl) -> Result<Bucket> {
        let mut open = self.0.open.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(bucket) = open.buckets.get(url.root()) {
            return Ok(bucket.clone());
        }
        let client = open::client(url, &self.0.variables)?;
        let runtime = match &open.runtime {
            Some(runtime) => Arc::clone(runtime),
            None => Arc::clone(open.runtime.insert(Arc::new(Runtime::start()?))),
        };
        let bucket = Bucket(Arc::new(Inner {
            root: url.with_key(""),
            client,
            runtime,
            secrets: open::secrets(&self.0.variables),
        }));
        open.buckets.insert(url.root().to_owned(), bucket.clone());
        Ok(bucket)
    }

    /// Takes this bucket for the URLs of its root from now on.
    pub fn insert(&self, bucket: Bucket) {
        let mut open = self.0.open.lock().unwrap_or_else(PoisonError::into_inner);
        open.buckets.insert(bucket.0.root.root().to_owned(), bucket);
    }
}

/// A bucket, or a container. Clones are the same.
#[derive(Clone)]
pub struct Bucket(Arc<Inner>);

struct Inner {
    root: StoreUrl,
    client: Arc<dyn ObjectStore>,
    runtime: Arc<Runtime>,
    /// What no error may hold.
    secrets: Vec<String>,
}

/// What a request does, for the metric.
#[derive(Clone, Copy)]
enum Operation {
    List,
    Head,
    Get,
    Put,
    Delete,
}

impl Bucket {
    /// An empty bucket in memory, under the root of a URL.
    ///
    /// # Errors
    ///
    /// [`Error::Client`](crate::Error::Client): no thread.
    pub fn in_memory(url: &StoreUrl) -> Result<Bucket> {
        Ok(Bucket(Arc::new(Inner {
            root: url.with_key(""),
            client: Arc::new(InMemory::new()),
            runtime: Arc::new(Runtime::start()?),
            secrets: Vec::new(),
        })))
    }

    /// The object of a key.
    ///
    /// # Errors
    ///
    /// [`Error::Store`](crate::Error::Store), also where there is none.
    pub fn object(&self, key: &str) -> Result<Object> {
        let (url, location) = self.location(key)?;
        let client = self.store();
        let found = self
            .run(url, Operation::Head, "looking it up")
            .start(async move { client.head(&location).await })
            .wait()?;
        Ok(self.found(found))
    }

    /// The objects whose keys begin with a prefix and a slash, by their keys: those directly below it, or
    /// all. An empty prefix is the whole bucket.
    ///
    /// # Errors
    ///
    /// [`Error::Store`](crate::Error::Store).
    pub fn list(&self, prefix: &str, recursive: bool) -> Result<Vec<Object>> {
        let (url, location) = self.location(prefix)?;
        let client = self.store();
        let listing = async move {
            let prefix = (!location.as_ref().is_empty()).then_some(&location);
            match recursive {
                true => client.list(prefix).try_collect().await,
                false => Ok(client.list_with_delimiter(prefix).await?.objects),
            }
        };
        let found: Vec<ObjectMeta> = self
            .run(url, Operation::List, "listing it")
            .start(listing)
            .wait()?;
        let mut objects: Vec<Object> = found.into_iter().map(|found| self.found(found)).collect();
        objects.sort_by(|one, other| one.location.cmp(&other.location));
        Ok(objects)
    }

    /// Makes an object of some bytes; replaces one of that key. For much, see
    /// [`put_file`](Self::put_file).
    ///
    /// # Errors
    ///
    /// [`Error::Store`](crate::Error::Store).
    pub fn put(&self, key: &str, bytes: impl Into<Bytes>) -> Result<()> {
        let (url, location) = self.location(key)?;
        let (client, bytes) = (self.store(), bytes.into());
        let len = bytes.len() as u64;
        self.run(url, Operation::Put, "writing it")
            .start(async move { client.put(&location, PutPayload::from(bytes)).await })
            .wait()?;
        written(len);
        Ok(())
    }

    /// Removes an object; one that is not there may be an error, as the store likes.
    ///
    /// # Errors
    ///
    /// [`Error::Store`](crate::Error::Store).
    pub fn delete(&self, key: &str) -> Result<()> {
        let (url, location) = self.location(key)?;
        let client = self.store();
        self.run(url, Operation::Delete, "removing it")
            .start(async move { client.delete(&location).await })
            .wait()
    }

    fn store(&self) -> Arc<dyn ObjectStore> {
        Arc::clone(&self.0.client)
    }

    /// The key as the store has it; one slash at its end is none of the key.
    fn location(&self, key: &str) -> Result<(StoreUrl, Location)> {
        let url = self.0.root.with_key(key);
        match Location::parse(key) {
            Ok(location) => Ok((url, location)),
            Err(_) => Err(failure::other(
                &url,
                "reading the URL",
                "a part of the key is empty, `.`, `..`, or has control characters",
            )),
        }
    }

    fn found(&self, found: ObjectMeta) -> Object {
        Object {
            bucket: self.clone(),
            location: found.location,
            bytes: found.size,
            version: found.e_tag,
        }
    }

    fn run(&self, url: StoreUrl, operation: Operation, doing: &'static str) -> Run<'_> {
        Run {
            bucket: self,
            url,
            operation,
            doing,
        }
    }
}

impl fmt::Debug for Bucket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Bucket({})", self.0.root.root())
    }
}

/// A request that is about to be made.
struct Run<'a> {
    bucket: &'a Bucket,
    url: StoreUrl,
    operation: Operation,
    doing: &'static str,
}

impl Run<'_> {
    fn start<T: Send + 'static>(
        self,
        request: impl Future<Output = object_store::Result<T>> + Send + 'static,
    ) -> Started<T> {
        Started {
            pending: self.bucket.0.runtime.start_request(request),
            bucket: self.bucket.clone(),
            url: self.url,
            operation: self.operation,
            doing: self.doing,
        }
    }
}

/// A request that is under way.
struct Started<T> {
    pending: Pending<object_store::Result<T>>,
    bucket: Bucket,
    url: StoreUrl,
    operation: Operation,
    doing: &'static str,
}

impl<T> Started<T> {
    /// Blocks until the answer is there.
    fn wait(self) -> Result<T> {
        let answer = match self.pending.wait() {
            Some(answer) => answer.map_err(|error| {
                failure::of_request(&self.url, self.doing, &error, &self.bucket.0.secrets)
            }),
            None => Err(failure::other(
                &self.url,
                self.doing,
                "the request panicked",
            )),
        };
        let operation = match self.operation {
            Operation::List => "list",
            Operation::Head => "head",
            Operation::Get => "get",
            Operation::Put => "put",
            Operation::Delete => "delete",
        };
        let result = if answer.is_ok() { "ok" } else { "failed" };
        metrics::counter!("keyhawk_store_requests_total", "operation" => operation, "result" => result)
            .increment(1);
        answer
    }
}

fn written(bytes: u64) {
    metrics::counter!("keyhawk_store_written_bytes_total").increment(bytes);
}

/// An object that was found: its key, its size, and which version of it. Clones are the same.
#[derive(Clone, Debug)]
pub struct Object {
    bucket: Bucket,
    location: Location,
    bytes: u64,
    version: Option<String>,
}

impl Object {
    /// Where it is.
    pub fn url(&self) -> StoreUrl {
        self.bucket.0.root.with_key(self.location.as_ref())
    }

    /// Its key in the bucket.
    pub fn key(&self) -> &str {
        self.location.as_ref()
    }

    /// How many bytes it has.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Reads a range of it, which is not beyond its end.
    ///
    /// # Errors
    ///
    /// [`Error::Store`](crate::Error::Store), also where another object took its place.
    pub fn read(&self, range: Range<u64>) -> Result<Bytes> {
        self.read_all(std::slice::from_ref(&range))
            .map(|mut bytes| bytes.pop().unwrap_or_default())
    }

    /// Reads ranges of it, in any order, in as few requests as make sense, several at once.
    ///
    /// # Errors
    ///
    /// As [`read`](Self::read).
    pub fn read_all(&self, ranges: &[Range<u64>]) -> Result<Vec<Bytes>> {
        let spans = spans(ranges);
        let mut later = spans.iter().flat_map(pieces);
        let mut under_way: VecDeque<Fetch> = VecDeque::new();
        let mut next = || -> Result<Bytes> {
            while under_way.len() < REQUESTS_AT_ONCE
                && let Some(piece) = later.next()
            {
                under_way.push_back(self.fetch(piece));
            }
            under_way.pop_front().map_or(Ok(Bytes::new()), Fetch::wait)
        };
        let mut read = Vec::with_capacity(spans.len());
        for span in &spans {
            let parts = pieces(span).map(|_| next());
            let mut parts = parts.collect::<Result<Vec<Bytes>>>()?;
            read.push(match parts.len() {
                1 => parts.remove(0),
                _ => parts.concat().into(),
            });
        }
        Ok(ranges
            .iter()
            .map(|range| {
                if range.is_empty() {
                    return Bytes::new();
                }
                let at = spans.partition_point(|span| span.start <= range.start) - 1;
                let start = (range.start - spans[at].start) as usize;
                read[at].slice(start..start + (range.end - range.start) as usize)
            })
            .collect())
    }

    /// Reads it from its begin, a block ahead.
    pub fn reader(&self) -> ObjectReader {
        ObjectReader::new(self.clone())
    }

    fn fetch(&self, range: Range<u64>) -> Fetch {
        let (client, location) = (self.bucket.store(), self.location.clone());
        let options = GetOptions {
            range: Some(GetRange::Bounded(range.clone())),
            if_match: self.version.clone(),
            ..GetOptions::default()
        };
        let run = self.bucket.run(self.url(), Operation::Get, "reading it");
        let started =
            run.start(async move { client.get_opts(&location, options).await?.bytes().await });
        Fetch { started, range }
    }
}

/// Bytes that are on their way.
struct Fetch {
    started: Started<Bytes>,
    range: Range<u64>,
}

impl Fetch {
    fn wait(self) -> Result<Bytes> {
        let url = self.started.url.clone();
        let bytes = self.started.wait()?;
        metrics::counter!("keyhawk_store_read_bytes_total").increment(bytes.len() as u64);
        if bytes.len() as u64 != self.range.end - self.range.start {
            let reason = "the store sent fewer bytes than were asked for";
            return Err(failure::other(&url, "reading it", reason));
        }
        Ok(bytes)
    }
}

/// What is read for the ranges: in order, disjoint, small gaps included.
fn spans(ranges: &[Range<u64>]) -> Vec<Range<u64>> {
    let mut sorted: Vec<Range<u64>> = ranges
        .iter()
        .filter(|range| !range.is_empty())
        .cloned()
        .collect();
    sorted.sort_by_key(|range| range.start);
    let mut spans: Vec<Range<u64>> = Vec::new();
    for range in sorted {
        match spans.last_mut() {
            Some(last) if range.start <= last.end.saturating_add(GAP_BYTES) => {
                last.end = last.end.max(range.end);
            }
            _ => spans.push(range),
        }
    }
    spans
}

/// A span as requests.
fn pieces(span: &Range<u64>) -> impl Iterator<Item = Range<u64>> {
    let (start, end) = (span.start, span.end);
    (0..(end - start).div_ceil(REQUEST_BYTES)).map(move |piece| {
        let start = start + piece * REQUEST_BYTES;
        start..end.min(start + REQUEST_BYTES)
    })
}

#[cfg(test)]
mod tests;
