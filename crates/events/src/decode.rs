//! The decoder of one partition: records in, batches of `events`, late rows and dead letters out.
//!
//! ```text
//!   running maximum  12:00:10 ──────────────▶ 12:00:25 ─────────▶   takes min(event time, record time)
//!   bound 10 s       late below 12:00:00      late below 12:00:15
//!   watermark        12:00:00                 12:00:15              never falls
//! ```
//!
//! A row is late if its time is below the running maximum of the rows before it minus the bound. A late
//! row or a dead letter moves nothing. `finish` may be called anywhere: the rows, their order and
//! everything said of them do not depend on it.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;

use arrow::array::{RecordBatch, UInt32Array};
use arrow::datatypes::SchemaRef;

use crate::builder::{self, Builder};
use crate::clients::Clients;
use crate::credentials::Credentials;
use crate::dead::{self, DeadLetter, DeadReason};
use crate::fingerprint::Fingerprinter;
use crate::geoip::GeoDatabases;
use crate::json::{Fault, Kind, Span};
use crate::mask::{Masker, OWN_LENGTH_MIN, Own};
use crate::plan::{Plan, Planned, Source};
use crate::row::{self, Pending, Refusal, Row, Surroundings, Texts};
use crate::schema::EventsSchema;
use crate::settings::TopicSettings;
use crate::{Result, late};

/// One record of a partition.
#[derive(Clone, Copy)]
pub struct Record<'a> {
    /// The value; None for a tombstone.
    pub payload: Option<&'a [u8]>,
    /// The record's offset.
    pub offset: i64,
    /// The record's time in Kafka, in ms since 1970; None where it has none. Negative is none.
    pub record_time_ms: Option<i64>,
}

impl fmt::Debug for Record<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The payload holds a raw credential.
        f.debug_struct("Record")
            .field("offset", &self.offset)
            .field("record_time_ms", &self.record_time_ms)
            .finish_non_exhaustive()
    }
}

/// What a decoder made of the records since the last call.
#[derive(Debug)]
pub struct Decoded {
    /// The rows that are not late, in the order of their records.
    pub events: RecordBatch,
    /// For each row of `events`, the partition's watermark after it, in ms since 1970. Never falls.
    pub watermarks: Vec<i64>,
    /// The greatest offset of all records, late and dead ones included.
    pub last_offset: Option<i64>,
    /// The late rows, in the order of their records.
    pub late: Vec<LateRow>,
    /// The late rows again as a batch like `events`, marked in `late`; None where there is none.
    pub late_rows: Option<RecordBatch>,
    /// The records that are no events, in their order.
    pub dead: Vec<DeadLetter>,
    /// How many of what.
    pub counts: Counts,
}

/// A row that came too late.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LateRow {
    /// Its record's offset.
    pub offset: i64,
    /// The decoded columns as one JSON object, nulls left out.
    pub json: String,
}

/// Counts of one `finish`; dead letters by reason are those of `Decoded::dead`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counts {
    /// Records pushed: the sum of the three below.
    pub records: u64,
    /// Rows in `events`.
    pub events: u64,
    /// Late rows.
    pub late: u64,
    /// Dead letters.
    pub dead: u64,
    /// Bytes of all payloads.
    pub bytes: u64,
}

/// Decodes the records of one partition, in the order of their offsets.
pub struct Decoder {
    settings: TopicSettings,
    topic: Arc<str>,
    partition: i32,
    plan: Plan,
    masker: Masker,
    fingerprinter: Arc<Fingerprinter>,
    credentials: Credentials,
    clients: Clients,
    /// Maximum over the rows that were not late.
    running_ms: Option<i64>,
    spans: Vec<Span>,
    pending: Vec<Pending>,
    texts: Texts,
    events: OpenRows,
    late: OpenRows,
    late_offsets: Vec<i64>,
    watermarks: Vec<i64>,
    dead: Vec<DeadLetter>,
    last_offset: Option<i64>,
    counts: Counts,
}

/// The rows of a batch that is not finished.
struct OpenRows {
    builders: Vec<Builder>,
    /// The number of each row's GeoIP record; empty where no column of it is read.
    geo: Vec<u32>,
}

impl OpenRows {
    fn new(plan: &Plan) -> Self {
        let builder = |column: &Planned| match column.source {
            Source::Geo(_) => Builder::Whole(None),
            _ => Builder::new(column.ty),
        };
        Self {
            builders: plan.columns.iter().map(builder).collect(),
            geo: Vec::new(),
        }
    }
}

impl Decoder {
    /// A decoder for one partition of a topic. `columns` names the columns of `events` that are read;
    /// None reads all. Members of unread columns are not looked at, so a fault in one makes no dead
    /// letter.
    ///
    /// # Errors
    /// A column that `events` does not have; a setting outside its range.
    pub fn new(
        schema: Arc<EventsSchema>,
        columns: Option<&BTreeSet<String>>,
        topic: TopicSettings,
        partition: i32,
        fingerprinter: Arc<Fingerprinter>,
        geo: Arc<GeoDatabases>,
    ) -> Result<Self> {
        topic.check()?;
        let plan = Plan::new(&schema, columns, &topic)?;
        Ok(Self {
            topic: topic.topic.as_str().into(),
            settings: topic,
            partition,
            masker: Masker::new(Arc::clone(&fingerprinter)),
            fingerprinter,
            credentials: Credentials::new(),
            clients: Clients::new(geo, &plan.geo),
            running_ms: None,
            spans: vec![Span::default(); plan.members.len()],
            pending: vec![Pending::default(); plan.columns.len()],
            texts: Texts::default(),
            events: OpenRows::new(&plan),
            late: OpenRows::new(&plan),
            late_offsets: Vec::new(),
            watermarks: Vec::new(),
            dead: Vec::new(),
            last_offset: None,
            counts: Counts::default(),
            plan,
        })
    }

    /// The schema of the batches: the read columns in the table's order.
    pub fn schema(&self) -> &SchemaRef {
        &self.plan.schema
    }

    /// Decodes one record. Offsets only rise.
    pub fn push(&mut self, record: Record<'_>) {
        self.counts.records += 1;
        self.last_offset = self.last_offset.max(Some(record.offset));
        let Some(payload) = record.payload else {
            return self.bury(&record, &[], Refusal::of(DeadReason::NoPayload), None);
        };
        self.counts.bytes += payload.len() as u64;
        if u32::try_from(payload.len()).is_err() {
            return self.bury(&record, payload, Refusal::of(DeadReason::TooLarge), None);
        }
        let Ok(text) = simdutf8::basic::from_utf8(payload) else {
            return self.bury(&record, payload, Refusal::of(DeadReason::NotUtf8), None);
        };
        let mut spans = std::mem::take(&mut self.spans);
        match self.plan.members.scan(text, &mut spans) {
            Ok(()) => {
                if let Err(refusal) = self.add(&record, text, &spans) {
                    self.bury(&record, payload, refusal, spans.get(self.plan.api_key));
                }
            }
            Err(fault) => self.bury(&record, payload, Refusal::of(reason_of(fault)), None),
        }
        self.spans = spans;
    }

    /// Records pushed since the last `finish`, late and dead ones included.
    pub fn rows(&self) -> usize {
        self.counts.records as usize
    }

    /// Bytes of payload pushed since the last `finish`.
    pub fn bytes(&self) -> usize {
        self.counts.bytes as usize
    }

    /// Takes what the records since the last call have become. The running maximum stays.
    pub fn finish(&mut self) -> Decoded {
        let counts = std::mem::take(&mut self.counts);
        let events = self.batch(false, counts.events as usize);
        let late_rows = (counts.late > 0).then(|| self.batch(true, counts.late as usize));
        self.clients.batch_is_finished();
        let late = late_rows.as_ref().map(late::rows_json).unwrap_or_default();
        let offsets = std::mem::take(&mut self.late_offsets);
        let late = offsets
            .into_iter()
            .zip(late)
            .map(|(offset, json)| LateRow { offset, json });
        Decoded {
            events,
            watermarks: std::mem::take(&mut self.watermarks),
            last_offset: self.last_offset.take(),
            late: late.collect(),
            late_rows,
            dead: std::mem::take(&mut self.dead),
            counts,
        }
    }

    /// The partition's watermark in ms since 1970: rows below it are late from now on. `i64::MIN`
    /// before the first row.
    pub fn watermark(&self) -> i64 {
        self.running_ms
            .map_or(i64::MIN, |running_ms| running_ms - self.settings.bound_ms)
    }

    /// Uses other databases from the next record on.
    pub fn set_geo(&mut self, geo: Arc<GeoDatabases>) {
        self.clients.set_databases(geo);
    }

    /// Decodes other columns, or another table, from the next record on; `columns` as in
    /// [`new`](Self::new). What the decoder knows of the partition's time stays. Only between
    /// [`finish`](Self::finish) and the next record: rows of an open batch would be lost.
    ///
    /// # Errors
    /// A column that the table does not have; the decoder is then as it was.
    pub fn set_columns(
        &mut self,
        schema: &EventsSchema,
        columns: Option<&BTreeSet<String>>,
    ) -> Result<()> {
        debug_assert!(self.rows() == 0);
        let plan = Plan::new(schema, columns, &self.settings)?;
        self.clients.set_columns(&plan.geo);
        self.events = OpenRows::new(&plan);
        self.late = OpenRows::new(&plan);
        self.spans = vec![Span::default(); plan.members.len()];
        self.pending = vec![Pending::default(); plan.columns.len()];
        self.plan = plan;
        Ok(())
    }

    /// Adds the row of a record to the events or the late rows, or says why it has none.
    fn add(
        &mut self,
        record: &Record<'_>,
        text: &str,
        spans: &[Span],
    ) -> std::result::Result<(), Refusal> {
        let plan = &self.plan;
        let (client_ip, api_key) = (spans[plan.client_ip], spans[plan.api_key]);
        let sought = (client_ip.kind == Kind::Text).then(|| self.clients.seek(client_ip.of(text)));
        let known = (api_key.kind == Kind::Text).then(|| {
            let credential = api_key.of(text);
            self.credentials.seek(credential, &self.fingerprinter)
        });
        let mut row = Row::read(plan, self.settings.time, text, spans, &mut self.pending)?;
        let record_time = record.record_time_ms.filter(|time_ms| *time_ms >= 0);
        let trusted = if self.settings.step_ms_max.is_none() {
            record_time
        } else {
            None
        };
        let future_ms = trusted.map_or(0, |record_ms| row.event_time.saturating_sub(record_ms));
        if future_ms > self.settings.future_ms_max {
            return Err(Refusal::at(DeadReason::FutureTime, "event_time"));
        }
        row.suspect = is_suspect(&self.masker, &row, api_key);
        let client = match sought {
            Some(sought) => self.clients.find(client_ip.of(text), sought),
            None => row::client(text, client_ip, &mut self.clients)?,
        };
        let client = client.ok_or_else(|| Refusal::at(DeadReason::BadField, "client_ip"))?;
        let is_late = row.event_time < self.watermark();

        if let Some(credential) = &row.credential {
            let sought =
                known.unwrap_or_else(|| self.credentials.seek(credential, &self.fingerprinter));
            let fingerprint = &mut self.texts.fingerprint;
            (self.credentials).write(credential, sought, &self.fingerprinter, fingerprint);
        }
        let around = Surroundings {
            plan,
            masker: &self.masker,
            fingerprinter: &self.fingerprinter,
            client: self.clients.get(client),
            record_time,
            offset: record.offset,
        };
        let rows = if is_late {
            &mut self.late
        } else {
            &mut self.events
        };
        if !plan.geo.is_empty() {
            rows.geo.push(around.client.geo);
        }
        let builders = &mut rows.builders;
        row::append(&row, &self.pending, &around, &mut self.texts, builders);
        if is_late {
            self.counts.late += 1;
            self.late_offsets.push(record.offset);
        } else {
            self.counts.events += 1;
            let event_time = row.event_time;
            self.advance(event_time, trusted);
            let watermark = self.watermark();
            self.watermarks.push(watermark);
        }
        Ok(())
    }

    fn advance(&mut self, event_time: i64, trusted_record_time: Option<i64>) {
        let time_ms = trusted_record_time.map_or(event_time, |record_ms| record_ms.min(event_time));
        self.running_ms = Some(match (self.running_ms, self.settings.step_ms_max) {
            (None, _) => time_ms,
            (Some(running_ms), None) => running_ms.max(time_ms),
            (Some(running_ms), Some(step_ms_max)) => {
                running_ms.max(time_ms.min(running_ms.saturating_add(step_ms_max)))
            }
        });
    }

    /// The rows of one set of builders, the columns added that are the same in all of them.
    fn batch(&mut self, late: bool, rows: usize) -> RecordBatch {
        let open = if late {
            &mut self.late
        } else {
            &mut self.events
        };
        let geo = UInt32Array::from(std::mem::take(&mut open.geo));
        let columns = self.plan.columns.iter().zip(&mut open.builders);
        for (Planned { source, .. }, builder) in columns {
            match source {
                Source::Geo(field) => builder.give(self.clients.gather(*field, &geo)),
                Source::Topic => builder.text_repeated(&self.topic, rows),
                Source::Partition => builder.int32_repeated(self.partition, rows),
                Source::Late => builder.boolean_repeated(late, rows),
                _ => {}
            }
        }
        let types = self.plan.columns.iter().map(|column| column.ty);
        builder::finish(&self.plan.schema, types, &mut open.builders, rows)
    }

    #[cold]
    fn bury(
        &mut self,
        record: &Record<'_>,
        payload: &[u8],
        refusal: Refusal,
        api_key: Option<&Span>,
    ) {
        self.counts.dead += 1;
        let redacted = self.settings.dead_letter_payload && record.payload.is_some();
        let redacted = redacted.then(|| {
            let text = std::str::from_utf8(payload).unwrap_or("");
            let credential = api_key.and_then(|span| span.text(text)).unwrap_or_default();
            let fingerprint = self.fingerprinter.fingerprint(&credential);
            let own = Own {
                credential: &credential,
                fingerprint: &fingerprint,
            };
            dead::redact(payload, &self.masker, Some(own))
        });
        self.dead.push(DeadLetter {
            reason: refusal.reason,
            field: refusal.field,
            topic: Arc::clone(&self.topic),
            partition: self.partition,
            offset: record.offset,
            length: payload.len(),
            digest: dead::digest(payload),
            payload: redacted,
        });
    }
}

impl fmt::Debug for Decoder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Decoder")
            .field("topic", &self.topic)
            .field("partition", &self.partition)
            .field("watermark", &self.watermark())
            .field("counts", &self.counts)
            .field("geo", self.clients.databases())
            .finish_non_exhaustive()
    }
}

/// Whether the row's texts must be searched for credentials one by one.
fn is_suspect(masker: &Masker, row: &Row<'_>, api_key: Span) -> bool {
    let own = match api_key.kind {
        Kind::Absent => None,
        // A short credential is not searched for, but may be another member's whole value.
        _ if api_key.end - api_key.begin < OWN_LENGTH_MIN as u32 => {
            return row.credential.is_some();
        }
        _ => Some(api_key.begin as usize..api_key.end as usize),
    };
    masker.is_suspect(row.text.as_bytes(), own)
}

fn reason_of(fault: Fault) -> DeadReason {
    match fault {
        Fault::Syntax => DeadReason::NotJson,
        Fault::NotAnObject => DeadReason::NotAnObject,
        Fault::TooDeep => DeadReason::TooDeep,
    }
}
