//! The operator alone, with as many sessions as its cohorts are made for.

use std::collections::{BTreeMap, HashMap};

use arrow::array::StringViewArray;
use arrow::datatypes::{DataType, Field, Int64Type, TimeUnit};
use datafusion_physical_expr::expressions::{col, lit};

use super::*;
use crate::program::AggregateKind;

const COMPLETE: i64 = 3;

fn time() -> DataType {
    DataType::Timestamp(TimeUnit::Millisecond, Some("UTC".into()))
}

fn input() -> SchemaRef {
    Arc::new(Schema::new(vec![
        Field::new("key", DataType::Utf8View, true),
        Field::new("time", time(), true),
        Field::new("value", DataType::Int64, true),
    ]))
}

fn operator(limits: SessionLimits, by_topic: bool) -> Session {
    let column = |name: &str| col(name, &input()).unwrap();
    let columns = [
        ("key", DataType::Utf8View),
        ("start", time()),
        ("end", time()),
        ("rows", DataType::Int64),
        ("total", DataType::Int64),
        ("values", DataType::Int64),
    ];
    let fields = columns.map(|(name, kind)| Field::new(name, kind, true));
    let aggregate = |kind, argument| Aggregate {
        kind,
        argument,
        filter: None,
        order: Vec::new(),
        ignore_nulls: false,
    };
    Session::new(
        column("time"),
        limits,
        COMPLETE,
        match by_topic {
            true => KeyBy::Topic,
            false => KeyBy::Columns(vec![column("key")]),
        },
        vec![
            GroupColumn::Key(column("key")),
            GroupColumn::Window(WindowPart::Start),
            GroupColumn::Window(WindowPart::End),
        ],
        vec![
            aggregate(AggregateKind::Count, lit(1_i64)),
            aggregate(AggregateKind::Sum, column("value")),
            aggregate(AggregateKind::CountDistinct, column("value")),
        ],
        None,
        &input(),
        Arc::new(Schema::new(fields.to_vec())),
    )
    .unwrap()
}

type Event = (i64, String, i64);
/// Key, start, end, rows, total, distinct values.
type Line = (String, i64, i64, i64, i64, i64);

fn rows(events: &[Event], keys: &mut TopicKeys) -> Rows {
    let texts: StringViewArray = events.iter().map(|(_, key, _)| Some(key)).collect();
    let times = TimestampMillisecondArray::from_iter_values(events.iter().map(|event| event.0));
    let values = Int64Array::from_iter_values(events.iter().map(|event| event.2));
    let keys = keys.intern_column(&texts);
    let columns: Vec<ArrayRef> = vec![
        Arc::new(texts),
        Arc::new(times.with_timezone("UTC")),
        Arc::new(values),
    ];
    Rows {
        batch: RecordBatch::try_new(input(), columns).unwrap(),
        keys,
        release: Release::Watermark(Int64Array::from(vec![0; events.len()])),
    }
}

fn lines(out: &[Rows]) -> Vec<Line> {
    let mut lines = Vec::new();
    for rows in out {
        let batch = &rows.batch;
        let time = |column: usize, row| {
            let times = batch
                .column(column)
                .as_primitive::<TimestampMillisecondType>();
            times.value(row)
        };
        let number =
            |column: usize, row| batch.column(column).as_primitive::<Int64Type>().value(row);
        let Release::Watermark(release) = &rows.release else {
            panic!("sessions close by time");
        };
        for row in 0..rows.len() {
            assert_eq!(release.value(row), time(2, row) - COMPLETE);
            let key = batch.column(0).as_string_view().value(row).to_owned();
            let numbers = (number(3, row), number(4, row), number(5, row));
            lines.push((
                key,
                time(1, row),
                time(2, row),
                numbers.0,
                numbers.1,
                numbers.2,
            ));
        }
    }
    lines
}

/// Runs events, in the order of time, in batches after each of which time moves to its last row.
struct Runner {
    operator: Session,
    keys: TopicKeys,
    out: Vec<Line>,
}

impl Runner {
    fn new(limits: SessionLimits, by_topic: bool) -> Self {
        Runner {
            operator: operator(limits, by_topic),
            keys: TopicKeys::default(),
            out: Vec::new(),
        }
    }

    fn process(&mut self, events: &[Event]) {
        let rows = rows(events, &mut self.keys);
        let mut context = Context {
            keys: &mut self.keys,
            failed: &mut 0,
            watermark: i64::MIN,
            greatest: &mut { i64::MIN },
        };
        let mut out = Vec::new();
        self.operator
            .process(0, &rows, &mut context, &mut out)
            .unwrap();
        assert!(out.is_empty(), "time alone closes a session");
    }

    fn advance(&mut self, watermark: i64) {
        let mut context = Context {
            keys: &mut self.keys,
            failed: &mut 0,
            watermark: i64::MIN,
            greatest: &mut { i64::MIN },
        };
        let mut out = Vec::new();
        self.operator
            .advance(watermark, &mut context, &mut out)
            .unwrap();
        self.out.extend(lines(&out));
        assert!(
            self.operator
                .next_deadline()
                .is_none_or(|at| at > watermark)
        );
    }

    /// The greatest time of `events` is complete after them, so time can be as far.
    fn run(&mut self, events: &[Event]) {
        self.process(events);
        self.advance(events.last().unwrap().0 + 1 - COMPLETE);
    }

    fn snapshot(&mut self) -> Vec<StateRow> {
        let context = Context {
            keys: &mut self.keys,
            failed: &mut 0,
            watermark: i64::MIN,
            greatest: &mut { i64::MIN },
        };
        self.operator.snapshot(&context).unwrap()
    }

    fn restore(&mut self, rows: &[StateRow]) {
        let mut context = Context {
            keys: &mut self.keys,
            failed: &mut 0,
            watermark: i64::MIN,
            greatest: &mut { i64::MIN },
        };
        self.operator.restore(rows, &mut context).unwrap();
    }
}

/// Every session of every key, from all events at once, in the order in which they leave.
fn expected(events: &[Event], limits: SessionLimits) -> Vec<Line> {
    let mut by_key: BTreeMap<&str, Vec<&Event>> = BTreeMap::new();
    for event in events {
        by_key.entry(&event.1).or_default().push(event);
    }
    let mut lines = Vec::new();
    for (key, events) in by_key {
        let mut sessions: Vec<Vec<&Event>> = Vec::new();
        for event in events {
            match sessions.last_mut() {
                Some(session)
                    if event.0 - session.last().unwrap().0 < limits.gap_ms
                        && limits.max_ms.is_none_or(|max| event.0 - session[0].0 < max) =>
                {
                    session.push(event);
                }
                _ => sessions.push(vec![event]),
            }
        }
        for session in sessions {
            let (start, last) = (session[0].0, session.last().unwrap().0);
            let end = (last + limits.gap_ms).min(start + limits.max_ms.unwrap_or(1 << 60));
            let distinct: std::collections::BTreeSet<i64> =
                session.iter().map(|event| event.2).collect();
            let total = session.iter().map(|event| event.2).sum();
            let rows = session.len() as i64;
            lines.push((
                key.to_owned(),
                start,
                end,
                rows,
                total,
                distinct.len() as i64,
            ));
        }
    }
    lines.sort_by(|a, b| (a.2, &a.0).cmp(&(b.2, &b.0)));
    lines
}

/// Numbers that look random and are the same on every run (SplitMix64).
struct Mix(u64);

impl Mix {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % bound
    }
}

/// Keys of which some come all the time and most seldom; `step` is the time between two events at most.
fn events(seed: u64, count: usize, keys: u64, step: u64) -> Vec<Event> {
    let mut mix = Mix(seed);
    let mut now = 1_000_000;
    (0..count)
        .map(|_| {
            now += mix.below(step + 1) as i64;
            let among = 1 + mix.below(keys);
            (
                now,
                format!("key {}", mix.below(among)),
                mix.below(5) as i64,
            )
        })
        .collect()
}

#[test]
fn many_sessions_in_many_cohorts_are_those_of_a_look_at_all_events() {
    let no_max = |gap_ms| SessionLimits {
        gap_ms,
        max_ms: None,
    };
    let max = |gap_ms, max_ms| SessionLimits {
        gap_ms,
        max_ms: Some(max_ms),
    };
    for (seed, limits, keys, step) in [
        (1, no_max(2_000), 9_000, 1),
        (2, no_max(20_000), 5_000, 3),
        (3, no_max(1), 4, 2),
        (4, max(2_000, 3_000), 3_000, 2),
        (5, max(500, 100), 3_000, 1),
        (6, no_max(50), 2_000, 400),
        (7, max(3_000, 20_000), 20, 30),
    ] {
        let events = events(seed, 20_000, keys, step);
        let expected = expected(&events, limits);
        for by_topic in [true, false] {
            let mut runner = Runner::new(limits, by_topic);
            // Ties stay together, as an order hands them on.
            let mut ties: Vec<&[Event]> = events.chunk_by(|a, b| a.0 == b.0).collect();
            let mut mix = Mix(seed + 100);
            while !ties.is_empty() {
                let count = (1 + mix.below(400) as usize).min(ties.len());
                let batch: Vec<Event> = ties.drain(..count).flatten().cloned().collect();
                runner.run(&batch);
            }
            runner.advance(i64::MAX);
            assert_eq!(runner.out, expected, "seed {seed}, by topic: {by_topic}");
            assert_eq!(runner.operator.next_deadline(), None);
        }
    }
}

#[test]
fn memory_follows_the_open_sessions_and_not_all_that_ever_were() {
    let limits = SessionLimits {
        gap_ms: 1_000,
        max_ms: None,
    };
    let mut runner = Runner::new(limits, false);
    let batch = |first: i64, keys: i64| -> Vec<Event> {
        (first..first + keys)
            .map(|at| (at, format!("a key that comes once, number {at}"), at))
            .collect()
    };
    runner.run(&batch(0, 5_000));
    let early = runner.operator.memory();
    for round in 1..40 {
        runner.run(&batch(round * 5_000, 5_000));
    }
    let late = runner.operator.memory();
    assert_eq!(runner.out.len(), 200_000 - 1_000 + 1);
    assert!(late < 2 * early, "{early} bytes became {late}");
    runner.advance(i64::MAX);
    let empty = runner.operator.memory();
    assert!(empty < early, "{empty} bytes are left of {early}");
}

#[test]
fn a_session_that_never_ends_does_not_keep_the_slots_of_the_others() {
    let limits = SessionLimits {
        gap_ms: 1_000,
        max_ms: None,
    };
    let mut runner = Runner::new(limits, true);
    let mut slots = 0;
    for at in 0..20_000 {
        // A key that always comes, and one that comes once in a while, always another.
        let mut batch = vec![(at * 100, "always".to_owned(), 1)];
        if at % 3 == 0 {
            batch.push((at * 100, format!("key {}", at % 1_000), 1));
        }
        runner.run(&batch);
        let homes = runner.operator.cohorts.homes();
        let held = |home: u32| runner.operator.cohorts.members(home).len();
        slots = slots.max(homes.into_iter().map(held).sum::<usize>());
    }
    assert!(slots < 500, "{slots} slots for some ten sessions");
    runner.advance(i64::MAX);
    let always = runner.out.iter().find(|line| line.0 == "always").unwrap();
    assert_eq!(always.3, 20_000);
}

#[test]
fn restored_into_pieces_it_goes_on_the_same() {
    let limits = SessionLimits {
        gap_ms: 2_000,
        max_ms: Some(5_000),
    };
    let events = events(11, 12_000, 6_000, 1);
    let ties: Vec<Vec<Event>> = events
        .chunk_by(|a, b| a.0 == b.0)
        .map(<[Event]>::to_vec)
        .collect();
    for by_topic in [true, false] {
        for cut in [1, 700, 3_000, ties.len() - 1] {
            let mut first = Runner::new(limits, by_topic);
            let mut saved: HashMap<Vec<u8>, Vec<u8>> = HashMap::new();
            for (at, piece) in ties[..cut].chunks(90).enumerate() {
                first.run(&piece.concat());
                if at % 7 == 0 || (at + 1) * 90 >= cut {
                    for row in first.snapshot() {
                        match row.state {
                            Some(state) => drop(saved.insert(row.key, state)),
                            None => assert!(saved.remove(&row.key).is_some()),
                        }
                    }
                }
            }
            let rows: Vec<StateRow> = saved
                .into_iter()
                .map(|(key, state)| StateRow {
                    key,
                    state: Some(state),
                })
                .collect();
            let mut second = Runner::new(limits, by_topic);
            let (some, rest) = rows.split_at(rows.len() / 3);
            second.restore(rest);
            second.restore(some);
            // Once more: a session that is here already is replaced.
            second.restore(&rows[rows.len() / 4..rows.len() / 2]);
            assert_eq!(second.snapshot(), [], "all of it is saved");
            assert_eq!(
                second.operator.next_deadline(),
                first.operator.next_deadline()
            );
            first.out.clear();
            for piece in ties[cut..].chunks(50) {
                first.run(&piece.concat());
                second.run(&piece.concat());
            }
            first.advance(i64::MAX);
            second.advance(i64::MAX);
            assert_eq!(second.out, first.out, "cut at {cut}, by topic: {by_topic}");
        }
    }
}

#[test]
fn an_older_state_of_a_session_takes_the_place_of_a_newer_one() {
    let limits = SessionLimits {
        gap_ms: 10,
        max_ms: None,
    };
    let event = |time, key: &str| vec![(time, key.to_owned(), 7)];
    let mut runner = Runner::new(limits, false);
    runner.run(&event(0, "a"));
    let old = runner.snapshot();
    runner.run(&event(8, "a"));
    runner.run(&event(8, "b"));
    runner.restore(&old);
    assert_eq!(runner.operator.next_deadline(), Some(10 - COMPLETE));
    runner.advance(100);
    let line = |key: &str, start, end| (key.to_owned(), start, end, 1, 7, 1);
    assert_eq!(runner.out, [line("a", 0, 10), line("b", 8, 18)]);
    let twice = [old.clone(), old].concat();
    let mut context = Context {
        keys: &mut TopicKeys::default(),
        failed: &mut 0,
        watermark: i64::MIN,
        greatest: &mut { i64::MIN },
    };
    let error = operator(limits, false)
        .restore(&twice, &mut context)
        .unwrap_err();
    assert!(
        error.to_string().contains("a session from 0 twice"),
        "{error}"
    );
}

#[test]
fn damaged_rows_of_state_are_errors() {
    let limits = SessionLimits {
        gap_ms: 10,
        max_ms: None,
    };
    let mut runner = Runner::new(limits, true);
    runner.run(&[(5, "a".to_owned(), 1)]);
    let row = runner.snapshot().remove(0);
    let refused = |key: &[u8], state: &[u8]| {
        let mut context = Context {
            keys: &mut TopicKeys::default(),
            failed: &mut 0,
            watermark: i64::MIN,
            greatest: &mut { i64::MIN },
        };
        let row = StateRow {
            key: key.to_vec(),
            state: Some(state.to_vec()),
        };
        operator(limits, true)
            .restore(&[row], &mut context)
            .is_err()
    };
    let state = row.state.unwrap();
    assert!(!refused(&row.key, &state));
    for length in 0..state.len() {
        assert!(refused(&row.key, &state[..length]), "{length} bytes");
    }
    assert!(refused(&row.key, &[&*state, &[0]].concat()));
    assert!(refused(&row.key[..7], &state));
    assert!(refused(&[&*row.key, &[0xff]].concat(), &state));
    let later = [&6_i64.to_be_bytes(), &b"a"[..]].concat();
    assert!(refused(&later, &state), "it would start after its last row");
}

#[test]
fn types_without_an_incremental_form_are_refused_before_the_first_row() {
    let column = |name: &str| col(name, &input()).unwrap();
    let made = Session::new(
        column("time"),
        SessionLimits {
            gap_ms: 1,
            max_ms: None,
        },
        0,
        KeyBy::Topic,
        vec![],
        vec![Aggregate {
            kind: AggregateKind::Sum,
            argument: column("key"),
            filter: None,
            order: Vec::new(),
            ignore_nulls: false,
        }],
        None,
        &input(),
        Arc::new(Schema::new(vec![Field::new("sum", DataType::Int64, true)])),
    );
    assert!(made.is_err());
    // The time must be one.
    let mut runner = Runner::new(
        SessionLimits {
            gap_ms: 1,
            max_ms: None,
        },
        true,
    );
    runner.operator.plan.time = column("value");
    let rows = rows(&[(0, "a".to_owned(), 1)], &mut runner.keys);
    let mut context = Context {
        keys: &mut runner.keys,
        failed: &mut 0,
        watermark: i64::MIN,
        greatest: &mut { i64::MIN },
    };
    let error = runner
        .operator
        .process(0, &rows, &mut context, &mut Vec::new())
        .unwrap_err();
    assert!(
        error.to_string().contains("expected milliseconds"),
        "{error}"
    );
}
