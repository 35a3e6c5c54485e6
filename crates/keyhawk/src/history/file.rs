//! One Parquet file of history: whose rows are in it, and the rows of one partition in their order.

use std::collections::BTreeMap;
use std::fmt;
use std::fs::File;
use std::path::Path;
use std::sync::Arc;

use arrow::array::{Array, AsArray, BooleanArray, RecordBatch};
use arrow::compute::filter_record_batch;
use arrow::datatypes::{Int32Type, Int64Type};
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::{
    ArrowReaderMetadata, ArrowReaderOptions, ParquetRecordBatchReader,
    ParquetRecordBatchReaderBuilder,
};
use parquet::file::reader::Length;
use parquet::file::statistics::Statistics;

use super::ahead::Ahead;
use super::chunks::{Chunks, Failed, ObjectChunks};
use super::columns::{OFFSET, PARTITION, TOPIC};
use super::{BATCH_ROWS, Columns, Error, Source, guarded};

/// Row groups of an object that are fetched at once, at least.
const OBJECT_THREADS_AHEAD: usize = 2;

/// A partition of a topic.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PartitionName {
    /// The topic.
    pub topic: String,
    /// The number.
    pub partition: i32,
}

impl fmt::Display for PartitionName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.topic, self.partition)
    }
}

/// A Parquet file whose footer was read.
pub struct HistoryFile {
    source: Source,
    metadata: ArrowReaderMetadata,
    bytes: u64,
    /// What the store said last, of an object.
    failed: Failed,
}

impl HistoryFile {
    /// Reads the footer.
    ///
    /// # Errors
    /// A file that cannot be read, or is no Parquet file.
    pub fn open(source: impl Into<Source>) -> Result<Self, Error> {
        let (source, failed) = (source.into(), Failed::default());
        let chunks = match source.object() {
            Some(object) => Chunks::Object(ObjectChunks::footer(object, &failed)),
            None => Chunks::File(opened(source.as_ref())?),
        };
        let bytes = chunks.len();
        let metadata = guarded(|| ArrowReaderMetadata::load(&chunks, ArrowReaderOptions::new()))
            .map_err(|problem| unsound(&source, &failed, problem))?;
        Ok(HistoryFile {
            source,
            metadata,
            bytes,
            failed,
        })
    }

    /// Where it is: a path, or a URL.
    pub fn path(&self) -> &Path {
        self.source.as_ref()
    }

    fn unsound(&self, problem: impl fmt::Display) -> Error {
        unsound(&self.source, &self.failed, problem)
    }

    /// The partitions whose rows are in the file, each with its least offset. Read from the footer where
    /// the file is of one partition, as ours are; from three columns otherwise.
    ///
    /// # Errors
    /// A damaged file, or one without these columns.
    pub fn partitions(&self) -> Result<BTreeMap<PartitionName, i64>, Error> {
        if let Some((name, first)) = self.only_partition() {
            return Ok(BTreeMap::from([(name, first)]));
        }
        let mut partitions = BTreeMap::new();
        let mut reader = self.reader(&[TOPIC, PARTITION, OFFSET], None)?;
        while let Some(batch) = self.next(&mut reader)? {
            let places = Places::of(&batch, self.path())?;
            let offsets = self.integers(&batch, OFFSET)?;
            for (row, &offset) in offsets.iter().enumerate() {
                let first = partitions.entry(places.name(row)).or_insert(offset);
                *first = offset.min(*first);
            }
        }
        Ok(partitions)
    }

    /// What the statistics say, where they say it exactly and of one partition.
    fn only_partition(&self) -> Option<(PartitionName, i64)> {
        let metadata = self.metadata.metadata();
        let schema = metadata.file_metadata().schema_descr();
        let column = |name: &str| {
            (0..schema.num_columns()).find(|&at| schema.column(at).path().string() == name)
        };
        let [topic, partition, offset] = [TOPIC, PARTITION, OFFSET].map(column);
        let (topic, partition, offset) = (topic?, partition?, offset?);
        let mut found: Option<(PartitionName, i64)> = None;
        for group in metadata.row_groups() {
            let statistics = |at: usize| {
                let statistics = group.column(at).statistics()?;
                let exact = statistics.min_is_exact() && statistics.max_is_exact();
                let whole = statistics.null_count_opt() == Some(0);
                (exact && whole).then_some(statistics)
            };
            let topic = match statistics(topic)? {
                Statistics::ByteArray(topic) if topic.min_opt()? == topic.max_opt()? => {
                    topic.min_opt()?.as_utf8().ok()?.to_owned()
                }
                _ => return None,
            };
            let partition = match statistics(partition)? {
                Statistics::Int32(number) if number.min_opt()? == number.max_opt()? => {
                    *number.min_opt()?
                }
                _ => return None,
            };
            let Statistics::Int64(offsets) = statistics(offset)? else {
                return None;
            };
            let (name, first) = (PartitionName { topic, partition }, *offsets.min_opt()?);
            match &mut found {
                Some((known, least)) if *known == name => *least = first.min(*least),
                Some(_) => return None,
                None => found = Some((name, first)),
            }
        }
        found
    }

    fn integers<'a>(&self, batch: &'a RecordBatch, name: &str) -> Result<&'a [i64], Error> {
        let column = batch.column_by_name(name);
        let integers = column.and_then(|column| column.as_primitive_opt::<Int64Type>());
        integers
            .filter(|integers| integers.null_count() == 0)
            .map(|integers| integers.values().as_ref())
            .ok_or_else(|| Error::Column {
                path: self.path().to_owned(),
                column: name.to_owned(),
                problem: "is not there, has nulls, or is no 64-bit integer".to_owned(),
            })
    }

    /// How many row groups there are.
    pub(super) fn groups(&self) -> usize {
        self.metadata.metadata().num_row_groups()
    }

    /// Reads the named columns, of one row group or of all.
    pub(super) fn reader(
        &self,
        names: &[&str],
        group: Option<usize>,
    ) -> Result<ParquetRecordBatchReader, Error> {
        let fields = self.metadata.schema().fields();
        let roots = (0..fields.len()).filter(|&at| names.contains(&fields[at].name().as_str()));
        let mask = ProjectionMask::roots(self.metadata.parquet_schema(), roots);
        let chunks = match self.source.object() {
            Some(object) => {
                let metadata = self.metadata.metadata();
                let columns =
                    || ObjectChunks::columns(object, metadata, &mask, group, &self.failed);
                let columns = guarded(|| Ok::<_, String>(columns()));
                Chunks::Object(columns.map_err(|problem| self.unsound(problem))?)
            }
            None => Chunks::File(opened(self.path())?),
        };
        let read = || {
            let metadata = self.metadata.clone();
            let mut builder = ParquetRecordBatchReaderBuilder::new_with_metadata(chunks, metadata)
                .with_projection(mask)
                .with_batch_size(BATCH_ROWS);
            if let Some(group) = group {
                builder = builder.with_row_groups(vec![group]);
            }
            builder.build()
        };
        guarded(read).map_err(|error| self.unsound(error))
    }

    /// The next rows of a reader of this file.
    pub(super) fn next(
        &self,
        reader: &mut ParquetRecordBatchReader,
    ) -> Result<Option<RecordBatch>, Error> {
        guarded(|| reader.next().transpose()).map_err(|error| self.unsound(error))
    }

    /// The rows of `only`, or all of them where the file is of one partition; decoded ahead on so many
    /// threads, or where they are read if that is none.
    pub(super) fn rows(
        self: &Arc<Self>,
        columns: &Arc<Columns>,
        only: Option<PartitionName>,
        threads_ahead: usize,
    ) -> Result<Rows, Error> {
        let mut names: Vec<&str> = columns.names().collect();
        if only.is_some() {
            names.extend([TOPIC, PARTITION]);
        }
        // A row group of an object is fetched while the one before it is decoded.
        let threads_ahead = match self.source.object() {
            Some(_) => threads_ahead.max(OBJECT_THREADS_AHEAD),
            None => threads_ahead,
        };
        let reader = match threads_ahead {
            0 => Reader::Here(Box::new(self.reader(&names, None)?)),
            threads => Reader::Ahead(Ahead::new(Arc::clone(self), &names, threads)),
        };
        Ok(Rows {
            reader,
            file: Arc::clone(self),
            columns: Arc::clone(columns),
            only,
            last_offset: None,
        })
    }

    /// How many bytes of the file a row stands for, on average.
    pub(super) fn bytes_a_row(&self) -> f64 {
        let rows = self.metadata.metadata().file_metadata().num_rows();
        self.bytes as f64 / rows.max(1) as f64
    }
}

fn opened(path: &Path) -> Result<File, Error> {
    File::open(path).map_err(|source| Error::Unreadable {
        path: path.to_owned(),
        source,
    })
}

/// A store that does not answer is no fault of the file.
fn unsound(source: &Source, failed: &Failed, problem: impl fmt::Display) -> Error {
    match failed.take() {
        Some(error) => Error::Store(error),
        None => Error::damaged(source.as_ref(), problem),
    }
}

/// The columns that say which partition a row is of.
struct Places<'a> {
    topics: &'a arrow::array::ArrayRef,
    partitions: &'a [i32],
}

impl<'a> Places<'a> {
    fn of(batch: &'a RecordBatch, path: &Path) -> Result<Self, Error> {
        let wrong = |column: &str, problem: &str| Error::Column {
            path: path.to_owned(),
            column: column.to_owned(),
            problem: problem.to_owned(),
        };
        let topics = batch
            .column_by_name(TOPIC)
            .filter(|topics| topics.data_type().is_string() && topics.null_count() == 0)
            .ok_or_else(|| wrong(TOPIC, "is not there, has nulls, or is no text"))?;
        let partitions = batch
            .column_by_name(PARTITION)
            .and_then(|partitions| partitions.as_primitive_opt::<Int32Type>())
            .filter(|partitions| partitions.null_count() == 0)
            .ok_or_else(|| {
                wrong(
                    PARTITION,
                    "is not there, has nulls, or is no 32-bit integer",
                )
            })?;
        Ok(Places {
            topics,
            partitions: partitions.values(),
        })
    }

    fn topic(&self, row: usize) -> &'a str {
        use arrow::datatypes::DataType;
        match self.topics.data_type() {
            DataType::Utf8 => self.topics.as_string::<i32>().value(row),
            DataType::LargeUtf8 => self.topics.as_string::<i64>().value(row),
            _ => self.topics.as_string_view().value(row),
        }
    }

    fn name(&self, row: usize) -> PartitionName {
        PartitionName {
            topic: self.topic(row).to_owned(),
            partition: self.partitions[row],
        }
    }
}

/// The rows of one partition in one file, in the order of their offsets.
pub(super) struct Rows {
    reader: Reader,
    file: Arc<HistoryFile>,
    columns: Arc<Columns>,
    only: Option<PartitionName>,
    last_offset: Option<i64>,
}

enum Reader {
    Here(Box<ParquetRecordBatchReader>),
    Ahead(Ahead),
}

impl Rows {
    /// The next rows, one at least.
    pub(super) fn next(&mut self) -> Result<Option<RecordBatch>, Error> {
        loop {
            let read = match &mut self.reader {
                Reader::Here(reader) => self.file.next(reader)?,
                Reader::Ahead(ahead) => ahead.next()?,
            };
            let Some(mut batch) = read else {
                return Ok(None);
            };
            if let Some(only) = &self.only {
                let places = Places::of(&batch, self.file.path())?;
                let ours: BooleanArray = (0..batch.num_rows())
                    .map(|row| {
                        places.partitions[row] == only.partition && places.topic(row) == only.topic
                    })
                    .collect::<Vec<bool>>()
                    .into();
                batch = filter_record_batch(&batch, &ours)
                    .map_err(|error| Error::damaged(self.file.path(), error))?;
            }
            if batch.num_rows() == 0 {
                continue;
            }
            let rows = self
                .columns
                .fit(&batch)
                .map_err(|(column, problem)| Error::Column {
                    path: self.file.path().to_owned(),
                    column,
                    problem,
                })?;
            self.check_order(offsets(&rows, &self.columns))?;
            return Ok(Some(rows));
        }
    }

    fn check_order(&mut self, offsets: &[i64]) -> Result<(), Error> {
        let before = self.last_offset.into_iter().chain(offsets.iter().copied());
        let skip = usize::from(self.last_offset.is_none());
        let wrong = before
            .zip(&offsets[skip.min(offsets.len())..])
            .find(|&(before, &offset)| offset < before);
        if let Some((_, &offset)) = wrong {
            return Err(Error::Disorder {
                path: self.file.path().to_owned(),
                offset,
            });
        }
        self.last_offset = offsets.last().copied();
        Ok(())
    }

    pub(super) fn file(&self) -> &HistoryFile {
        &self.file
    }
}

/// The offsets of rows that were fitted.
pub(super) fn offsets<'a>(rows: &'a RecordBatch, columns: &Columns) -> &'a [i64] {
    rows.column(columns.offset)
        .as_primitive::<Int64Type>()
        .values()
}
