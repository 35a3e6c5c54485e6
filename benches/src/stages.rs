//! The stages that are timed, each over a whole log and from its beginning.
//!
//! ```text
//!   bare decode          JSON ─▶ a borrowed struct, dropped at once
//!   decode to Arrow      JSON ─▶ fingerprint, mask, late? ─▶ batches
//!   with GeoIP           JSON ─▶ fingerprint, mask, late? ─▶ places ─▶ batches
//!   with rules           JSON ─▶ … ─▶ places ─▶ batches ─▶ machine ─▶ alerts and proposals
//! ```

use std::collections::BTreeSet;
use std::hint::black_box;
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

use keyhawk::partition::{Partition, Processed};
use keyhawk::rule_set::{RuleSet, RuleTexts};
use keyhawk_events::{
    Counts, DEVELOPMENT_SECRET, Decoded, Decoder, EventsSchema, Fingerprinter, GeoConfig,
    GeoDatabases, TopicSettings,
};
use serde::Deserialize;

use crate::Result;
use crate::log::Log;
use crate::measure::{Stage, run};

/// Records that are decoded into one batch: the default of the Kafka source.
pub const BATCH_ROWS: usize = 8192;

/// The columns that GeoIP adds.
const GEO_COLUMNS: [&str; 11] = [
    "country",
    "subdivision",
    "city",
    "latitude",
    "longitude",
    "accuracy_radius_km",
    "asn",
    "as_org",
    "ip_kind",
    "is_anonymous",
    "is_hosting",
];

/// What the stages share: the secret, the databases and the rules.
pub struct Setup {
    pub(crate) fingerprinter: Arc<Fingerprinter>,
    pub(crate) geo: Arc<GeoDatabases>,
    /// The shipped rules.
    pub rules: Arc<RuleSet>,
}

impl Setup {
    /// Opens the demo's databases and compiles the shipped rules.
    ///
    /// # Errors
    /// A database that cannot be read; a rule that does not compile.
    pub fn new() -> Result<Self> {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../testdata/geoip");
        let config = GeoConfig {
            city: vec![folder.join("demo-city.mmdb")],
            asn: vec![folder.join("demo-asn.mmdb")],
            anonymous: vec![folder.join("demo-anonymous.mmdb")],
        };
        let prefixes = vec!["kh_live_".to_owned()];
        Ok(Setup {
            fingerprinter: Arc::new(Fingerprinter::new(DEVELOPMENT_SECRET, prefixes)?),
            geo: Arc::new(GeoDatabases::open(&config)?),
            rules: Arc::new(RuleTexts::shipped().compile()?),
        })
    }

    /// Decode of a log of this bound to the columns that the shipped rules read, with those of GeoIP or
    /// without.
    ///
    /// # Errors
    /// Settings that contradict each other.
    pub fn decode(&self, bound_ms: i64, geo: bool) -> Result<Decode<Nowhere>> {
        let is_read = |column: &&String| geo || !GEO_COLUMNS.contains(&column.as_str());
        let columns: BTreeSet<String> = self
            .rules
            .compiled
            .columns
            .iter()
            .filter(is_read)
            .cloned()
            .collect();
        let decoder = self.decoder(bound_ms, &self.rules.schema, &columns)?;
        Ok(Decode::new(decoder, Nowhere))
    }

    /// A decoder of a log of this bound, to these columns.
    ///
    /// # Errors
    /// A column that the table does not have.
    pub(crate) fn decoder(
        &self,
        bound_ms: i64,
        schema: &Arc<EventsSchema>,
        columns: &BTreeSet<String>,
    ) -> Result<Decoder> {
        Ok(Decoder::new(
            Arc::clone(schema),
            Some(columns),
            topic(bound_ms),
            0,
            Arc::clone(&self.fingerprinter),
            Arc::clone(&self.geo),
        )?)
    }

    /// The partition of a log, under these rules.
    ///
    /// # Errors
    /// Settings that contradict each other.
    pub fn partition(&self, bound_ms: i64, rules: &Arc<RuleSet>) -> Result<Partition> {
        let topic = topic(bound_ms);
        let (fingerprinter, geo) = (&self.fingerprinter, &self.geo);
        Ok(Partition::new(
            rules,
            "bench",
            topic,
            0,
            fingerprinter,
            geo,
        )?)
    }
}

/// The settings of the topic that all logs stand for.
pub(crate) fn topic(bound_ms: i64) -> TopicSettings {
    TopicSettings {
        bound_ms,
        ..TopicSettings::new("bench")
    }
}

/// Each shipped rule by itself, with its name.
///
/// # Errors
/// A rule that does not compile.
pub fn single_rules() -> Result<Vec<(String, Arc<RuleSet>)>> {
    let shipped = RuleTexts::shipped();
    let single = |rule: usize| -> Result<(String, Arc<RuleSet>)> {
        let mut texts = shipped.clone();
        texts.files.rules = vec![shipped.files.rules[rule].clone()];
        let set = texts.compile()?;
        Ok((set.compiled.rules[0].name.clone(), Arc::new(set)))
    };
    (0..shipped.files.rules.len()).map(single).collect()
}

/// The members of an event that the shipped rules read, borrowed from the payload: the least that any
/// decoder has to find. None of them has an escape in the benches' data, which `&str` would refuse.
#[derive(Deserialize)]
#[expect(dead_code, reason = "read by nobody: finding them is what is timed")]
pub(crate) struct Bare<'a> {
    event_time: &'a str,
    client_ip: &'a str,
    api_key: Option<&'a str>,
    key_id: Option<&'a str>,
    tenant: Option<&'a str>,
    auth_result: Option<&'a str>,
    status: Option<u16>,
    response_bytes: Option<u64>,
}

/// `serde_json` into a borrowed struct, and nothing else.
pub struct BareDecode;

impl Stage for BareDecode {
    fn take(&mut self, log: &Log, offsets: Range<usize>) -> Result<()> {
        for payload in log.slice(offsets).filter_map(|record| record.payload) {
            black_box(serde_json::from_slice::<Bare<'_>>(payload)?);
        }
        Ok(())
    }

    fn finish(&mut self, _log: &Log) -> Result<()> {
        Ok(())
    }
}

/// Decode to batches, and to whatever a sink makes of them.
pub struct Decode<S> {
    decoder: Decoder,
    events: u64,
    pub(crate) sink: S,
}

/// What takes the batches of a decoder.
pub trait Sink {
    /// Takes one in.
    ///
    /// # Errors
    /// The engine met a broken invariant.
    fn batch(&mut self, decoded: Decoded) -> Result<()>;

    /// Comes to the end of time.
    ///
    /// # Errors
    /// As [`batch`](Self::batch).
    fn end(&mut self) -> Result<()>;
}

/// Batches are dropped.
pub struct Nowhere;

impl Sink for Nowhere {
    fn batch(&mut self, decoded: Decoded) -> Result<()> {
        black_box(decoded);
        Ok(())
    }

    fn end(&mut self) -> Result<()> {
        Ok(())
    }
}

impl<S: Sink> Decode<S> {
    /// The batches of this decoder go to that sink.
    pub fn new(decoder: Decoder, sink: S) -> Self {
        Decode {
            decoder,
            events: 0,
            sink,
        }
    }

    fn hand_on(&mut self) -> Result<()> {
        let decoded = self.decoder.finish();
        self.events += check(decoded.counts)?;
        self.sink.batch(decoded)
    }
}

impl<S: Sink> Stage for Decode<S> {
    fn take(&mut self, log: &Log, offsets: Range<usize>) -> Result<()> {
        for record in log.slice(offsets) {
            self.decoder.push(record);
            if self.decoder.rows() == BATCH_ROWS {
                self.hand_on()?;
            }
        }
        Ok(())
    }

    fn finish(&mut self, log: &Log) -> Result<()> {
        self.hand_on()?;
        self.sink.end()?;
        all(self.events, log)
    }
}

/// The whole pipeline of a partition, to alerts and proposals, and to the end of time.
pub struct Pipeline {
    partition: Partition,
    totals: Totals,
}

impl Pipeline {
    /// For a log of this bound, under these rules.
    ///
    /// # Errors
    /// Settings that contradict each other.
    pub fn new(setup: &Setup, bound_ms: i64, rules: &Arc<RuleSet>) -> Result<Self> {
        Ok(Pipeline {
            partition: setup.partition(bound_ms, rules)?,
            totals: Totals::default(),
        })
    }
}

impl Stage for Pipeline {
    fn take(&mut self, log: &Log, offsets: Range<usize>) -> Result<()> {
        for record in log.slice(offsets) {
            self.partition.push(record);
            if self.partition.pending() == BATCH_ROWS {
                self.totals.add(&black_box(self.partition.process()?))?;
            }
        }
        Ok(())
    }

    fn finish(&mut self, log: &Log) -> Result<()> {
        self.totals.add(&black_box(self.partition.finish()?))?;
        all(self.totals.events, log)
    }
}

/// What the pipeline finds in a log.
///
/// # Errors
/// Some record was no event, or late; the engine met a broken invariant.
pub fn totals(setup: &Setup, log: &Log, rules: &Arc<RuleSet>) -> Result<Totals> {
    let mut pipeline = Pipeline::new(setup, log.bound_ms, rules)?;
    run(&mut pipeline, log)?;
    Ok(pipeline.totals)
}

/// What a pipeline found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    /// Events taken in.
    pub events: u64,
    /// Findings by rule.
    pub findings: Vec<u64>,
    /// Alerts and proposals that dedup let through.
    pub emitted: usize,
}

impl Totals {
    /// Adds what a batch came to.
    ///
    /// # Errors
    /// Some record of it was no event, or late.
    pub fn add(&mut self, processed: &Processed) -> Result<()> {
        self.events += check(processed.counts)?;
        self.emitted += processed.emitted.len();
        self.findings.resize(processed.findings.len(), 0);
        for (sum, more) in self.findings.iter_mut().zip(&processed.findings) {
            *sum += more;
        }
        Ok(())
    }
}

/// The events of a batch, all of whose records must be events in time.
pub(crate) fn check(counts: Counts) -> Result<u64> {
    if counts.events != counts.records {
        let Counts { late, dead, .. } = counts;
        return Err(format!("{late} late rows and {dead} dead letters in a bench's data").into());
    }
    Ok(counts.events)
}

/// Fails where not every record of the log became an event.
pub(crate) fn all(events: u64, log: &Log) -> Result<()> {
    if events != log.len() as u64 {
        return Err(format!("{events} events came out of {} records", log.len()).into());
    }
    Ok(())
}
