//! Writing history: rows of `events`, partition by partition, to Parquet files.
//!
//! ```text
//!   TOPIC.PARTITION.HOUR.FIRST-LAST.parquet
//!   api-access.3.2026-03-02T10.00000000000000012000-00000000000000014999.parquet
//! ```
//!
//! `HOUR` is the hour, in UTC, of the greatest time before the file's end: time is min(event time, record
//! time), as in decode, so that one fast clock does not scatter a partition's rows. `FIRST` and `LAST` are
//! offsets of 20 digits, so that names sort as the log does. Bytes of a topic's name that Kafka does
//! not allow there (files may stand for any topic) are written as `%XX`.
//!
//! A file is cut when the hour changes, when it is large enough, and where offsets do not rise (rows that
//! are read again). It is written under a name that begins with a point and ends in `.tmp`, synced, and
//! renamed: who sees it under its own name sees all of it. What a crash leaves behind under such a name may
//! be deleted. The same rows written again have the same name, or lie beside their first copy and are
//! dropped by the reader.
//!
//! Memory: for each partition that is open, the rows of one row group, compressed.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use arrow::array::{Array, AsArray, RecordBatch, StringViewArray};
use arrow::compute::interleave_record_batch;
use arrow::datatypes::{Int32Type, Int64Type, SchemaRef, TimestampMillisecondType};
use arrow::error::ArrowError;
use keyhawk_events::{Decoded, EventsSchema};
use parquet::arrow::ArrowWriter;
use parquet::basic::{Compression, Encoding, ZstdLevel};
use parquet::file::properties::WriterProperties;
use parquet::schema::types::ColumnPath;

use super::locate::local;
use super::{Error, PartitionName};

const HOUR_MS: i64 = 3_600_000;
/// A row group is what a reader decompresses at least, and what the writer holds in memory.
const GROUP_ROWS: usize = 128 * 1024;
/// zstd's fastest standard level: history is written beside the stream, whose time is dearer than disk.
const ZSTD_LEVEL: i32 = 1;
/// Columns whose values rise, or nearly.
const RISING: [&str; 3] = ["event_time", "record_time", "_offset"];

/// How an archive is written.
#[derive(Debug, Clone)]
pub struct ArchiveSettings {
    /// The folder; made where it does not exist. A `file:` URL is taken too.
    pub folder: PathBuf,
    /// A file is cut once it has about this many bytes.
    pub file_bytes_max: usize,
}

impl ArchiveSettings {
    /// The defaults: files of at most about 256 MiB.
    pub fn new(folder: impl Into<PathBuf>) -> Self {
        ArchiveSettings {
            folder: folder.into(),
            file_bytes_max: 256 << 20,
        }
    }
}

/// What a writer has completed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Written {
    /// Files under their own names.
    pub files: u64,
    /// Their rows.
    pub rows: u64,
    /// Their bytes.
    pub bytes: u64,
}

/// Says whether bytes that the system did not take are to be written again; it may wait before it
/// answers.
pub type Retry = Arc<dyn Fn(&io::Error) -> bool + Send + Sync>;

/// Writes the rows of any number of partitions.
pub struct ArchiveWriter {
    folder: PathBuf,
    file_bytes_max: usize,
    schema: SchemaRef,
    properties: WriterProperties,
    /// Tells this writer's unfinished files from those of another process.
    mark: String,
    open: BTreeMap<PartitionName, OpenFile>,
    /// The greatest time of each partition, and its greatest offset.
    reached: BTreeMap<PartitionName, (i64, i64)>,
    written: Written,
    retry: Option<Retry>,
}

impl ArchiveWriter {
    /// A writer of rows that have all columns of `table`.
    ///
    /// # Errors
    /// A folder that cannot be made; a URL of an object store.
    pub fn new(settings: &ArchiveSettings, table: &EventsSchema) -> Result<Self, Error> {
        let folder = local(&settings.folder)?;
        fs::create_dir_all(&folder).map_err(|error| unwritable(&folder, error))?;
        let level = ZstdLevel::try_new(ZSTD_LEVEL).map_err(|error| unwritable(&folder, error))?;
        let mut properties = WriterProperties::builder()
            .set_created_by(concat!("keyhawk ", env!("CARGO_PKG_VERSION")).to_owned())
            .set_compression(Compression::ZSTD(level))
            .set_max_row_group_row_count(Some(GROUP_ROWS))
            // The reader takes the topic from them, which may be 249 bytes long.
            .set_statistics_truncate_length(None);
        for name in RISING {
            let column = ColumnPath::from(name);
            properties = properties
                .set_column_dictionary_enabled(column.clone(), false)
                .set_column_encoding(column, Encoding::DELTA_BINARY_PACKED);
        }
        let now = SystemTime::now().duration_since(UNIX_EPOCH);
        let nanos = now.map_or(0, |now| now.as_nanos());
        Ok(ArchiveWriter {
            folder,
            file_bytes_max: settings.file_bytes_max,
            schema: Arc::clone(table.arrow()),
            properties: properties.build(),
            mark: format!("{}-{nanos}", std::process::id()),
            open: BTreeMap::new(),
            reached: BTreeMap::new(),
            written: Written::default(),
            retry: None,
        })
    }

    /// Asks `retry` when the system does not take bytes of a file, on a full disk for example: they are
    /// written again as long as it says so, and nothing is lost. What it refuses costs the whole file.
    pub fn retry_with(mut self, retry: Retry) -> Self {
        self.retry = Some(retry);
        self
    }

    /// What is complete by now.
    pub fn written(&self) -> Written {
        self.written
    }

    /// Writes rows of one partition, late ones included, in the order of their offsets: see [`all_rows`].
    ///
    /// # Errors
    /// Rows of several partitions, of other columns, or out of order; a file that cannot be written, which
    /// is then not there, while this writer is of no more use: go on with another from what is
    /// [`written`](Self::written).
    pub fn push(&mut self, rows: &RecordBatch) -> Result<(), Error> {
        if rows.num_rows() == 0 {
            return Ok(());
        }
        if rows.schema_ref() != &self.schema {
            return Err(refused("their columns are not all of the table `events`"));
        }
        let name = partition_of(rows)?;
        let offsets = integers(rows, "_offset")?;
        if !offsets.is_sorted() {
            return Err(refused("they do not stand in the order of their offsets"));
        }
        let (mut time_ms, before) = *self.reached.get(&name).unwrap_or(&(i64::MIN, i64::MIN));
        if offsets[0] <= before {
            self.close_partition(&name)?;
        }
        let mut start = 0;
        for (row, at_ms) in times(rows)?.enumerate() {
            let hour = hour_of(time_ms.max(at_ms));
            if start < row && hour != hour_of(time_ms) {
                self.write(&name, &rows.slice(start, row - start), time_ms)?;
                start = row;
            }
            if hour != hour_of(time_ms) {
                self.close_partition(&name)?;
            }
            time_ms = time_ms.max(at_ms);
        }
        self.write(&name, &rows.slice(start, rows.num_rows() - start), time_ms)?;
        let last = offsets[offsets.len() - 1];
        self.reached.insert(name, (time_ms, last));
        Ok(())
    }

    /// Completes the files of all partitions: what was pushed is durable once this returns.
    ///
    /// # Errors
    /// A file that cannot be written.
    pub fn flush(&mut self) -> Result<(), Error> {
        while let Some((name, file)) = self.open.pop_first() {
            self.complete(&name, file)?;
        }
        Ok(())
    }

    /// Completes the file of one partition, if one is open: for a partition that goes to another instance.
    ///
    /// # Errors
    /// A file that cannot be written.
    pub fn close_partition(&mut self, name: &PartitionName) -> Result<(), Error> {
        match self.open.remove(name) {
            Some(file) => self.complete(name, file),
            None => Ok(()),
        }
    }

    /// Completes all files and says how many there are by now.
    ///
    /// # Errors
    /// A file that cannot be written.
    pub fn close(mut self) -> Result<u64, Error> {
        self.flush()?;
        Ok(self.written.files)
    }

    /// Appends rows, one at least, whose greatest time is of the hour of `time_ms`.
    fn write(
        &mut self,
        name: &PartitionName,
        rows: &RecordBatch,
        time_ms: i64,
    ) -> Result<(), Error> {
        let offsets = integers(rows, "_offset")?;
        let (first, last) = (offsets[0], offsets[offsets.len() - 1]);
        if !self.open.contains_key(name) {
            let unfinished = format!(
                ".{}.{}.{first:020}.{}.tmp",
                escaped(&name.topic),
                name.partition,
                self.mark
            );
            let path = self.folder.join(unfinished);
            let retry = self.retry.clone();
            let file = OpenFile::create(path, &self.schema, &self.properties, first, retry)?;
            self.open.insert(name.clone(), file);
        }
        let file = self.open.get_mut(name).expect("it was opened above");
        file.hour_ms = hour_of(time_ms);
        file.last = last;
        file.rows += rows.num_rows() as u64;
        let written = file.writer.write(rows);
        written.map_err(|error| unwritable(&file.path.0, error))?;
        if file.writer.bytes_written() + file.writer.in_progress_size() >= self.file_bytes_max {
            self.close_partition(name)?;
        }
        Ok(())
    }

    fn complete(&mut self, name: &PartitionName, file: OpenFile) -> Result<(), Error> {
        let path = self.folder.join(format!(
            "{}.{}.{}.{:020}-{:020}.parquet",
            escaped(&name.topic),
            name.partition,
            hour_text(file.hour_ms),
            file.first,
            file.last
        ));
        let OpenFile {
            writer,
            path: unfinished,
            rows,
            ..
        } = file;
        let durable = || -> Result<u64, Box<dyn std::error::Error>> {
            let buffered = writer.into_inner()?.into_inner();
            let file = buffered.map_err(io::IntoInnerError::into_error)?.file;
            file.sync_all()?;
            let bytes = file.metadata()?.len();
            fs::rename(&unfinished.0, &path)?;
            // The name itself is durable once the folder is.
            File::open(&self.folder)?.sync_all()?;
            Ok(bytes)
        };
        let bytes = durable().map_err(|error| unwritable(&path, error))?;
        self.written.files += 1;
        self.written.rows += rows;
        self.written.bytes += bytes;
        Ok(())
    }
}

/// A file under its first name.
struct OpenFile {
    path: Unfinished,
    writer: ArrowWriter<BufWriter<Persistent>>,
    first: i64,
    last: i64,
    hour_ms: i64,
    rows: u64,
}

impl OpenFile {
    fn create(
        path: PathBuf,
        schema: &SchemaRef,
        properties: &WriterProperties,
        first: i64,
        retry: Option<Retry>,
    ) -> Result<Self, Error> {
        let file = File::create_new(&path).map_err(|error| unwritable(&path, error))?;
        let path = Unfinished(path);
        let writer = ArrowWriter::try_new(
            BufWriter::new(Persistent { file, retry }),
            Arc::clone(schema),
            Some(properties.clone()),
        )
        .map_err(|error| unwritable(&path.0, error))?;
        Ok(OpenFile {
            path,
            writer,
            first,
            last: first,
            hour_ms: 0,
            rows: 0,
        })
    }
}

/// A file that tries again. A write that failed has taken none of its bytes, so that the same may be
/// written again; that a sync failed says nothing of the sort.
struct Persistent {
    file: File,
    retry: Option<Retry>,
}

impl Write for Persistent {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        loop {
            match (self.file.write(bytes), &self.retry) {
                (Err(error), Some(retry)) if retry(&error) => {}
                (result, _) => return result,
            }
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

/// A file that goes when it is given up; once renamed, there is nothing under this name.
struct Unfinished(PathBuf);

impl Drop for Unfinished {
    fn drop(&mut self) {
        drop(fs::remove_file(&self.0));
    }
}

/// Events and late rows of one `finish` in the order of their offsets, as the archive takes them. The
/// decoder must read all columns.
///
/// # Errors
/// Rows without offsets.
pub fn all_rows(decoded: &Decoded) -> Result<RecordBatch, Error> {
    let Some(late) = &decoded.late_rows else {
        return Ok(decoded.events.clone());
    };
    let batches = [&decoded.events, late];
    let mut places = Vec::new();
    for (batch, rows) in batches.iter().enumerate() {
        let offsets = integers(rows, "_offset")?;
        places.extend(
            offsets
                .iter()
                .zip(0..)
                .map(|(&offset, row)| (offset, batch, row)),
        );
    }
    places.sort_unstable();
    let places: Vec<(usize, usize)> = places.iter().map(|&(_, batch, row)| (batch, row)).collect();
    interleave_record_batch(&batches, &places).map_err(|error: ArrowError| refused(error))
}

fn partition_of(rows: &RecordBatch) -> Result<PartitionName, Error> {
    let topics: &StringViewArray = rows
        .column_by_name("_topic")
        .and_then(|topics| topics.as_string_view_opt())
        .ok_or_else(|| refused("they have no `_topic`"))?;
    let partitions = rows
        .column_by_name("_partition")
        .and_then(|partitions| partitions.as_primitive_opt::<Int32Type>())
        .ok_or_else(|| refused("they have no `_partition`"))?;
    let (topic, partition) = (topics.value(0), partitions.value(0));
    let same = partitions.values().iter().all(|other| *other == partition)
        && topics.iter().all(|other| other == Some(topic));
    if !same {
        return Err(refused("they are of several partitions"));
    }
    Ok(PartitionName {
        topic: topic.to_owned(),
        partition,
    })
}

/// min(event time, record time) of each row.
fn times(rows: &RecordBatch) -> Result<impl Iterator<Item = i64>, Error> {
    let column = |name: &str| {
        rows.column_by_name(name)
            .and_then(|times| times.as_primitive_opt::<TimestampMillisecondType>())
            .ok_or_else(|| refused(format!("they have no `{name}`")))
    };
    let (events, records) = (column("event_time")?, column("record_time")?);
    Ok((0..rows.num_rows()).map(|row| {
        let event_ms = events.value(row);
        match records.is_valid(row) {
            true => event_ms.min(records.value(row)),
            false => event_ms,
        }
    }))
}

fn integers<'a>(rows: &'a RecordBatch, name: &str) -> Result<&'a [i64], Error> {
    rows.column_by_name(name)
        .and_then(|column| column.as_primitive_opt::<Int64Type>())
        .map(|column| column.values().as_ref())
        .ok_or_else(|| refused(format!("they have no `{name}`")))
}

fn hour_of(time_ms: i64) -> i64 {
    time_ms.div_euclid(HOUR_MS).saturating_mul(HOUR_MS)
}

/// `2026-03-02T10`.
fn hour_text(hour_ms: i64) -> String {
    let time = u64::try_from(hour_ms).map(|ms| UNIX_EPOCH + std::time::Duration::from_millis(ms));
    let text = time.map(|time| humantime::format_rfc3339_seconds(time).to_string());
    text.map_or_else(|_| "1970-01-01T00".to_owned(), |text| text[..13].to_owned())
}

fn escaped(topic: &str) -> String {
    let mut name = String::new();
    for byte in topic.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'_' | b'-' | b'.' => {
                name.push(char::from(byte))
            }
            _ => name.push_str(&format!("%{byte:02X}")),
        }
    }
    name
}

fn refused(problem: impl std::fmt::Display) -> Error {
    Error::Rows {
        problem: problem.to_string(),
    }
}

fn unwritable(path: &Path, error: impl std::fmt::Display) -> Error {
    Error::Unwritable {
        path: path.to_owned(),
        problem: error.to_string(),
    }
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use std::fs::OpenOptions;
    use std::sync::atomic::{AtomicU32, Ordering};

    use super::*;

    #[test]
    fn bytes_that_find_no_room_are_written_again_as_long_as_is_asked_for() {
        let asked = Arc::new(AtomicU32::new(0));
        let count = Arc::clone(&asked);
        let retry: Retry = Arc::new(move |error: &io::Error| {
            assert_eq!(error.kind(), io::ErrorKind::StorageFull);
            count.fetch_add(1, Ordering::Relaxed) < 3
        });
        let file = OpenOptions::new().write(true).open("/dev/full").unwrap();
        let retry = Some(retry);
        let written = Persistent { file, retry }.write(b"rows");
        assert_eq!(written.unwrap_err().kind(), io::ErrorKind::StorageFull);
        assert_eq!(asked.load(Ordering::Relaxed), 4);
    }
}
