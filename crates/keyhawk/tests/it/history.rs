//! History as Parquet: what decode gave comes back, and the rules find the same in it.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow::array::{Array, AsArray, RecordBatch, UInt32Array};
use arrow::compute::{concat_batches, filter_record_batch, take_record_batch};
use keyhawk::history::{
    ArchiveSettings, ArchiveWriter, Columns, Error, HistoryFile, PartitionName, PartitionReader,
    all_rows, locate,
};
use keyhawk::simulate::{self, Scenario};
use keyhawk_events::{
    DEVELOPMENT_SECRET, Decoder, EventsSchema, Fingerprinter, GeoConfig, GeoDatabases, Record,
    TopicSettings, parse_events_toml,
};
use keyhawk_testkit::random::random_splits;
use parquet::arrow::ArrowWriter;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use parquet::file::properties::WriterProperties;

use crate::binary::{keyhawk, over_files, root, sorted, write};
use crate::traffic::{Dice, START_MS, Stress};

const EVENTS_TOML: &str = "[[column]]\nname = \"tags\"\npointer = \"/tags\"\ntype = \"text_list\"\n\n\
     [[column]]\nname = \"price\"\npointer = \"/price\"\ntype = \"decimal\"\n\n\
     [[column]]\nname = \"owner\"\npointer = \"/owner\"\ntype = \"text\"\nsensitivity = \"hash\"\n\n\
     [[column]]\nname = \"trial\"\npointer = \"/trial\"\ntype = \"boolean\"\n";

fn table() -> Arc<EventsSchema> {
    Arc::new(EventsSchema::new(parse_events_toml(EVENTS_TOML, "events.toml").unwrap()).unwrap())
}

/// One partition, decoded whole: all rows, the events alone, and a watermark for each event.
struct Decoded {
    rows: RecordBatch,
    events: RecordBatch,
    watermarks: Vec<i64>,
    late: u64,
}

fn decode(partition: i32, lines: &[u8]) -> Decoded {
    let file = |name: &str| vec![root().join("testdata/geoip").join(name)];
    let geo = GeoDatabases::open(&GeoConfig {
        city: file("demo-city.mmdb"),
        asn: file("demo-asn.mmdb"),
        anonymous: file("demo-anonymous.mmdb"),
    });
    let mut decoder = Decoder::new(
        table(),
        None,
        TopicSettings::new("api-access"),
        partition,
        Arc::new(Fingerprinter::new(DEVELOPMENT_SECRET, vec![]).unwrap()),
        Arc::new(geo.unwrap()),
    )
    .unwrap();
    for (line, offset) in lines.split(|byte| *byte == b'\n').zip(0..) {
        if !line.trim_ascii().is_empty() {
            decoder.push(Record {
                payload: Some(line),
                offset,
                record_time_ms: (offset % 3 > 0).then_some(START_MS + offset * 40_000),
            });
        }
    }
    let decoded = decoder.finish();
    Decoded {
        rows: all_rows(&decoded).unwrap(),
        late: decoded.counts.late,
        watermarks: decoded.watermarks,
        events: decoded.events,
    }
}

/// Hard traffic of one partition, with values in every added column.
fn traffic(folder: &Path) -> Vec<u8> {
    let files = Stress {
        seed: 31,
        keys: 3,
        partitions: 1,
        days: 3,
    }
    .write(folder);
    let mut dice = Dice(5);
    let text = fs::read(&files[0]).unwrap();
    let mut lines = Vec::new();
    for line in text.split(|byte| *byte == b'\n') {
        if line.starts_with(b"{") && line.ends_with(b"}") && dice.percent(70) {
            let price = dice.below(1_000_000);
            lines.extend_from_slice(&line[..line.len() - 1]);
            lines.extend_from_slice(
                format!(
                    ",\"tags\":[\"a\",\"ß{price}\"],\"price\":{price}.0000000001,\"owner\":\"o\",\"trial\":true,\"scopes\":\"a b\"}}"
                )
                .as_bytes(),
            );
        } else {
            lines.extend_from_slice(line);
        }
        lines.push(b'\n');
    }
    lines
}

fn archive(folder: &Path) -> ArchiveWriter {
    ArchiveWriter::new(&ArchiveSettings::new(folder), &table()).unwrap()
}

fn name(partition: i32) -> PartitionName {
    PartitionName {
        topic: "api-access".to_owned(),
        partition,
    }
}

/// What a reader of one partition gives over the files of a folder.
#[derive(Default)]
struct Read {
    events: Vec<RecordBatch>,
    watermarks: Vec<i64>,
    late: u64,
    repeats: u64,
    behind: bool,
}

fn read(folder: &Path, partition: i32, settings: &TopicSettings) -> Result<Read, Error> {
    read_ahead(folder, partition, settings, 0)
}

/// The same, with so many threads that decode ahead.
fn read_ahead(
    folder: &Path,
    partition: i32,
    settings: &TopicSettings,
    threads: usize,
) -> Result<Read, Error> {
    let mut files = Vec::new();
    for path in locate(folder)? {
        let file = Arc::new(HistoryFile::open(&path)?);
        let partitions = file.partitions()?;
        if let Some(first) = partitions.get(&name(partition)) {
            files.push((Arc::clone(&file), *first, partitions.len()));
        }
    }
    let columns = Arc::new(Columns::new(&table(), None).unwrap());
    let mut reader = PartitionReader::new(name(partition), files, columns, settings);
    reader.read_ahead(threads);
    let mut read = Read::default();
    while let Some(chunk) = reader.read()? {
        assert_eq!(chunk.events.num_rows(), chunk.watermarks.len());
        read.events.push(chunk.events);
        read.watermarks.extend(chunk.watermarks);
        read.late += chunk.counts.late;
        read.behind |= chunk.behind.is_some();
    }
    read.repeats = reader.repeats();
    Ok(read)
}

fn assert_reads_back(folder: &Path, decoded: &Decoded) -> Read {
    let read = read(folder, 0, &TopicSettings::new("api-access")).unwrap();
    let events = concat_batches(table().arrow(), &read.events).unwrap();
    assert_eq!(events.num_rows(), decoded.events.num_rows());
    for (at, field) in table().arrow().fields().iter().enumerate() {
        assert_eq!(
            events.column(at),
            decoded.events.column(at),
            "{}",
            field.name()
        );
    }
    assert_eq!(read.late, decoded.late);
    assert!(!read.behind);
    assert_eq!(read.watermarks, decoded.watermarks);
    let ahead = read_ahead(folder, 0, &TopicSettings::new("api-access"), 2).unwrap();
    assert_eq!(
        concat_batches(table().arrow(), &ahead.events).unwrap(),
        events
    );
    assert_eq!(ahead.watermarks, read.watermarks);
    assert_eq!(ahead.repeats, read.repeats);
    read
}

#[test]
fn history_gives_back_what_decode_gave_in_all_columns() {
    let folder = tempfile::tempdir().unwrap();
    let decoded = decode(0, &traffic(folder.path()));
    assert!(decoded.late > 10, "{}", decoded.late);
    for column in [
        "tags", "price", "owner", "trial", "city", "latitude", "api_key", "scopes",
    ] {
        let column = decoded.events.column_by_name(column);
        assert!(
            column.is_some_and(|column| column.len() > column.null_count()),
            "{column:?}"
        );
    }
    for seed in 0..3 {
        let history = folder.path().join(format!("history-{seed}"));
        let mut writer = archive(&history);
        for range in random_splits(seed, decoded.rows.num_rows()) {
            writer
                .push(&decoded.rows.slice(range.start, range.len()))
                .unwrap();
        }
        let files = writer.close().unwrap();
        // A file an hour, as far as there was traffic; nothing else is left behind.
        assert!((24..=73).contains(&files), "{files}");
        let names: Vec<_> = fs::read_dir(&history)
            .unwrap()
            .map(|entry| entry.unwrap().file_name())
            .collect();
        assert_eq!(names.len() as u64, files, "{names:?}");
        let first = "api-access.0.2026-03-02T00.00000000000000000000-";
        assert!(
            names
                .iter()
                .any(|name| name.to_str().unwrap().starts_with(first)),
            "{names:?}"
        );
        let read = assert_reads_back(&history, &decoded);
        assert_eq!(read.repeats, 0);
    }
}

#[test]
fn late_rows_are_in_the_files_and_not_in_the_events() {
    let folder = tempfile::tempdir().unwrap();
    let decoded = decode(0, &traffic(folder.path()));
    let history = folder.path().join("history");
    let mut writer = archive(&history);
    writer.push(&decoded.rows).unwrap();
    writer.close().unwrap();
    let (mut late, mut rows) = (0, 0);
    for path in locate(&history).unwrap() {
        for batch in ParquetRecordBatchReaderBuilder::try_new(File::open(path).unwrap())
            .unwrap()
            .build()
            .unwrap()
        {
            let batch = batch.unwrap();
            rows += batch.num_rows();
            late += batch
                .column_by_name("late")
                .unwrap()
                .as_boolean()
                .true_count();
        }
    }
    assert_eq!(rows, decoded.rows.num_rows());
    assert_eq!(late as u64, decoded.late);
    assert_reads_back(&history, &decoded);
}

#[test]
fn repeats_are_dropped_however_files_overlap() {
    let folder = tempfile::tempdir().unwrap();
    let decoded = decode(0, &traffic(folder.path()));
    let rows = decoded.rows.num_rows();
    let history = folder.path().join("history");
    // An instance that stopped, one that read some of it again, one that had the partition in between.
    let parts: [&[(usize, usize)]; 4] = [
        &[(0, rows / 2)],
        &[(rows / 3, rows - rows / 3)],
        &[(10, 50), (rows / 4, 7), (rows - 20, 20)],
        &[(0, rows)],
    ];
    for part in parts {
        let mut writer = archive(&history);
        for &(start, length) in part {
            writer.push(&decoded.rows.slice(start, length)).unwrap();
        }
        writer.close().unwrap();
    }
    // Rows that are read again while the file is open begin another file.
    let mut writer = archive(&history);
    writer.push(&decoded.rows.slice(100, 30)).unwrap();
    writer.push(&decoded.rows.slice(110, 30)).unwrap();
    writer.close().unwrap();
    let copy = locate(&history).unwrap().remove(0);
    fs::copy(copy, history.join("copy.parquet")).unwrap();
    let written: usize = locate(&history)
        .unwrap()
        .iter()
        .map(|path| rows_of(path.as_ref()))
        .sum();
    assert!(written > rows + 100, "{written}");
    let read = assert_reads_back(&history, &decoded);
    assert_eq!(read.repeats as usize, written - rows);
}

fn rows_of(path: &Path) -> usize {
    let file = ParquetRecordBatchReaderBuilder::try_new(File::open(path).unwrap()).unwrap();
    file.metadata().file_metadata().num_rows() as usize
}

#[test]
fn rows_that_two_files_hold_in_turns_are_merged() {
    let folder = tempfile::tempdir().unwrap();
    let decoded = decode(0, &traffic(folder.path()));
    let rows = decoded.rows.num_rows();
    let history = folder.path().join("history");
    fs::create_dir(&history).unwrap();
    for which in 0..3 {
        let mine = (0..rows)
            .map(|row| row / 5 % 3 == which || row % 11 == which)
            .collect::<Vec<_>>();
        let mine = filter_record_batch(&decoded.rows, &mine.into()).unwrap();
        write_parquet(&history.join(format!("{which}.parquet")), &mine);
    }
    let read = assert_reads_back(&history, &decoded);
    let shared = (0..rows)
        .filter(|row| row % 11 < 3 && row / 5 % 3 != row % 11)
        .count();
    assert_eq!(read.repeats as usize, shared);
}

fn write_parquet(path: &Path, rows: &RecordBatch) {
    let mut writer =
        ArrowWriter::try_new(File::create(path).unwrap(), rows.schema(), None).unwrap();
    writer.write(rows).unwrap();
    writer.close().unwrap();
}

#[test]
fn row_groups_that_are_decoded_ahead_keep_their_order() {
    let folder = tempfile::tempdir().unwrap();
    let decoded = decode(0, &traffic(folder.path()));
    let history = folder.path().join("history");
    fs::create_dir(&history).unwrap();
    let properties = WriterProperties::builder().set_max_row_group_row_count(Some(37));
    let file = File::create(history.join("groups.parquet")).unwrap();
    let schema = decoded.rows.schema();
    let mut writer = ArrowWriter::try_new(file, schema, Some(properties.build())).unwrap();
    writer.write(&decoded.rows).unwrap();
    let groups = writer.close().unwrap().num_row_groups();
    assert!(groups > 10, "{groups} row groups");
    // This reads ahead too.
    assert_reads_back(&history, &decoded);
}

#[test]
fn a_file_may_hold_several_partitions() {
    let folder = tempfile::tempdir().unwrap();
    let lines = traffic(folder.path());
    let (zero, one) = (decode(0, &lines), decode(1, &lines));
    let history = folder.path().join("history");
    fs::create_dir(&history).unwrap();
    let both = concat_batches(table().arrow(), [&one.rows, &zero.rows]).unwrap();
    write_parquet(&history.join("both.parquet"), &both);
    assert_reads_back(&history, &zero);
    let other = read(&history, 1, &TopicSettings::new("api-access")).unwrap();
    assert_eq!(
        concat_batches(table().arrow(), &other.events).unwrap(),
        one.events
    );
}

#[test]
fn rows_out_of_order_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let decoded = decode(0, &traffic(folder.path()));
    let backwards: UInt32Array = (0..decoded.rows.num_rows() as u32)
        .rev()
        .collect::<Vec<_>>()
        .into();
    let backwards = take_record_batch(&decoded.rows, &backwards).unwrap();
    let history = folder.path().join("history");
    let mut writer = archive(&history);
    let message = writer.push(&backwards).unwrap_err().to_string();
    assert!(message.contains("order of their offsets"), "{message}");
    drop(writer);
    assert_eq!(fs::read_dir(&history).unwrap().count(), 0);

    write_parquet(&history.join("x.parquet"), &backwards);
    let message = read(&history, 0, &TopicSettings::new("t"))
        .err()
        .unwrap()
        .to_string();
    assert!(
        message.contains("x.parquet") && message.contains("_offset"),
        "{message}"
    );
}

#[test]
fn a_column_that_history_lacks_is_null_and_one_of_another_type_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let decoded = decode(0, &traffic(folder.path()));
    let history = folder.path().join("history");
    fs::create_dir(&history).unwrap();
    let schema = decoded.rows.schema();
    let without = |name: &str| {
        let kept: Vec<usize> = (0..schema.fields().len())
            .filter(|&at| schema.field(at).name() != name)
            .collect();
        decoded.rows.project(&kept).unwrap()
    };
    write_parquet(&history.join("x.parquet"), &without("price"));
    let settings = TopicSettings::new("t");
    let events = read(&history, 0, &settings).unwrap().events;
    let prices = events[0].column_by_name("price").unwrap();
    assert_eq!(prices.null_count(), prices.len());

    write_parquet(&history.join("x.parquet"), &without("client_ip"));
    let message = read(&history, 0, &settings).err().unwrap().to_string();
    assert!(
        message.contains("x.parquet") && message.contains("`client_ip`: is not there"),
        "{message}"
    );

    let price = without("price");
    let text = RecordBatch::try_from_iter(
        price
            .schema()
            .fields()
            .iter()
            .map(|field| field.name().clone())
            .chain(["price".to_owned()])
            .zip(
                price
                    .columns()
                    .iter()
                    .cloned()
                    .chain([Arc::clone(price.column_by_name("client_ip").unwrap())]),
            ),
    );
    write_parquet(&history.join("x.parquet"), &text.unwrap());
    let message = read(&history, 0, &settings).err().unwrap().to_string();
    assert!(
        message.contains("`price`") && message.contains("Decimal128"),
        "{message}"
    );
}

#[test]
fn damaged_history_is_an_error_and_never_a_panic() {
    let folder = tempfile::tempdir().unwrap();
    let decoded = decode(0, &traffic(folder.path()));
    let history = folder.path().join("history");
    let mut writer = archive(&history);
    writer.push(&decoded.rows.slice(0, 60)).unwrap();
    writer.close().unwrap();
    let files = locate(&history).unwrap();
    let path = &files[0];
    files[1..]
        .iter()
        .for_each(|file| fs::remove_file(file).unwrap());
    let sound = fs::read(path).unwrap();
    let mut dice = Dice(11);
    let settings = TopicSettings::new("t");
    let mut refused = 0;
    for turn in 0..1500 {
        let mut damaged = sound.clone();
        for _ in 0..=dice.below(3) {
            let at = dice.below(damaged.len() as i64) as usize;
            damaged[at] = dice.below(256) as u8;
        }
        fs::write(path, &damaged).unwrap();
        refused += usize::from(read_ahead(&history, 0, &settings, turn % 2).is_err());
    }
    assert!(refused > 100, "{refused}");
    for length in 0..sound.len().min(400) {
        fs::write(path, &sound[..length]).unwrap();
        let message = read(&history, 0, &settings).err().unwrap().to_string();
        assert!(message.contains(".parquet"), "{message}");
    }
}

/// Nine keys over five days with all attacks, a file of lines a partition.
fn simulated(folder: &Path) -> Vec<PathBuf> {
    let scenario = Scenario {
        seed: 2026,
        keys: 9,
        partitions: 3,
        ..simulate::demo()
    };
    let mut logs = vec![Vec::new(); 3];
    for event in scenario.events() {
        event.write_json(&mut logs[event.partition as usize]);
    }
    let write = |(partition, log): (usize, Vec<u8>)| {
        let path = folder.join(format!("simulated-{partition}.ndjson"));
        fs::write(&path, log).unwrap();
        path
    };
    logs.into_iter().enumerate().map(write).collect()
}

fn config(folder: &Path) -> PathBuf {
    let file =
        |name: &str| toml::Value::from(root().join("testdata/geoip").join(name).to_str().unwrap());
    let path = folder.join("keyhawk.toml");
    let (city, asn, anonymous) = (
        file("demo-city.mmdb"),
        file("demo-asn.mmdb"),
        file("demo-anonymous.mmdb"),
    );
    write(
        &path,
        format!("[geoip]\ncity = {city}\nasn = {asn}\nanonymous = {anonymous}\n"),
    );
    path
}

#[test]
fn rules_find_the_same_in_parquet_as_in_json_lines() {
    let folder = tempfile::tempdir().unwrap();
    let inputs = simulated(folder.path());
    let config = config(folder.path());
    let history = folder.path().join("history");
    let mut arguments = vec![
        "archive",
        "--config",
        config.to_str().unwrap(),
        "--output",
        history.to_str().unwrap(),
        "--input",
    ];
    arguments.extend(inputs.iter().map(|input| input.to_str().unwrap()));
    let archived = keyhawk(&arguments, b"");
    assert_eq!(archived.status, 0, "{}", archived.stderr);
    assert!(
        archived.stderr.contains(" files in "),
        "{}",
        archived.stderr
    );

    let rules = root().join("sql");
    let backtest = over_files("backtest", &rules, Some(&config), &inputs);
    assert!(backtest.stdout.lines().count() > 5, "{}", backtest.stdout);
    for rule in [
        "rate_spike",
        "auth_failures",
        "new_country",
        "impossible_travel",
    ] {
        assert!(backtest.stdout.contains(rule), "no finding of {rule}");
    }
    for input in [
        history.join("*.parquet"),
        history.clone(),
        PathBuf::from(format!("file://{}", history.display())),
    ] {
        let again = over_files("backtest", &rules, Some(&config), &[input]);
        assert_eq!(again.status, 0, "{}", again.stderr);
        assert_eq!(again.stdout, backtest.stdout);
    }
    for threads in ["1", "2", "5"] {
        let input = history.to_str().unwrap();
        let arguments = ["--input", input, "--output", "-", "--threads", threads];
        let [rules, config] = [&rules, &config].map(|path| path.to_str().unwrap());
        let command = ["backtest", "--rules", rules, "--config", config];
        let again = keyhawk(&[&command[..], &arguments].concat(), b"");
        assert_eq!(again.stdout, backtest.stdout, "{}", again.stderr);
    }
    let replay = over_files(
        "replay",
        &rules,
        Some(&config),
        &[history.join("*.parquet")],
    );
    assert_eq!(replay.status, 0, "{}", replay.stderr);
    assert_eq!(sorted(&replay.stdout), sorted(&backtest.stdout));
    // The files of lines once more, as one pattern.
    let pattern = over_files(
        "replay",
        &rules,
        Some(&config),
        &[folder.path().join("simulated-?.ndjson")],
    );
    assert_eq!(sorted(&pattern.stdout), sorted(&backtest.stdout));
}

#[test]
fn the_report_shows_days_entities_and_examples() {
    let folder = tempfile::tempdir().unwrap();
    let inputs = simulated(folder.path());
    let config = config(folder.path());
    let rules = root().join("sql");
    let output = folder.path().join("findings.parquet");
    let mut arguments = vec![
        "backtest",
        "--rules",
        rules.to_str().unwrap(),
        "--config",
        config.to_str().unwrap(),
    ];
    for input in &inputs {
        arguments.extend(["--input", input.to_str().unwrap()]);
    }
    let run = keyhawk(&arguments, b"");
    assert_eq!(run.status, 0, "{}", run.stderr);
    for words in [
        "│ rule",
        "by day (UTC)",
        "loudest",
        "api_key",
        "2026-",
        "rate_spike, for example:",
        "{\"api_key\":",
    ] {
        assert!(
            run.stdout.contains(words),
            "{words:?} is not in:\n{}",
            run.stdout
        );
    }
    assert!(run.stderr.contains(" events, "), "{}", run.stderr);

    let lines = over_files("backtest", &rules, Some(&config), &inputs);
    assert!(
        lines.stderr.contains(run.stdout.trim_end()),
        "{}",
        lines.stderr
    );
    arguments.extend(["--output", output.to_str().unwrap()]);
    let run = keyhawk(&arguments, b"");
    assert_eq!((run.status, run.stdout.as_str()), (0, ""), "{}", run.stderr);
    let file = ParquetRecordBatchReaderBuilder::try_new(File::open(&output).unwrap())
        .unwrap()
        .build()
        .unwrap();
    let mut found = Vec::new();
    for batch in file {
        let batch = batch.unwrap();
        let text = |column: &str| {
            batch
                .column_by_name(column)
                .unwrap()
                .as_string::<i32>()
                .clone()
        };
        let (rule, id, row) = (text("rule"), text("id"), text("row"));
        for at in 0..batch.num_rows() {
            let (rule, id, row) = (rule.value(at), id.value(at), row.value(at));
            found.push(format!(
                "{{\"rule\":\"{rule}\",\"id\":\"{id}\",\"row\":{row}}}"
            ));
        }
    }
    assert_eq!(found, lines.stdout.lines().collect::<Vec<_>>());
}

#[test]
fn inputs_that_stand_for_no_file_are_named() {
    let folder = tempfile::tempdir().unwrap();
    let rules = root().join("sql");
    let pattern = folder.path().join("nothing-*.parquet");
    for (input, words) in [
        (pattern, vec!["nothing-*.parquet", "no file matches"]),
        (
            folder.path().to_owned(),
            vec![folder.path().to_str().unwrap(), "no file matches"],
        ),
        (
            PathBuf::from("http://host/history/*.parquet"),
            vec!["http://host/history", "by path", "s3://bucket/key"],
        ),
        (folder.path().join("***"), vec!["***", "is no pattern"]),
    ] {
        for command in ["replay", "backtest"] {
            let run = over_files(command, &rules, None, std::slice::from_ref(&input));
            assert_eq!(run.status, 2, "{run:?}");
            for word in &words {
                assert!(
                    run.stderr.contains(word),
                    "{word:?} is not in:\n{}",
                    run.stderr
                );
            }
        }
    }
}

#[test]
fn lines_and_parquet_of_one_partition_do_not_mix() {
    let folder = tempfile::tempdir().unwrap();
    let input = folder.path().join("a.ndjson");
    write(
        &input,
        format!("{{\"event_time\":{START_MS},\"client_ip\":\"192.0.2.1\",\"key_id\":\"k\"}}\n"),
    );
    let history = folder.path().join("history");
    let arguments = [
        "archive",
        "--output",
        history.to_str().unwrap(),
        "--input",
        input.to_str().unwrap(),
    ];
    let run = keyhawk(&arguments, b"");
    assert_eq!(run.status, 0, "{}", run.stderr);
    let rules = root().join("sql");
    let run = over_files("backtest", &rules, None, &[input.clone(), history.clone()]);
    assert_eq!(run.status, 2);
    assert!(
        run.stderr.contains("api-access/0") && run.stderr.contains("--topic"),
        "{}",
        run.stderr
    );

    // Parquet is known by its bytes too, and is not archived again.
    let other = folder.path().join("history.data");
    fs::copy(&locate(&history).unwrap()[0], &other).unwrap();
    let run = over_files("backtest", &rules, None, std::slice::from_ref(&other));
    assert!(
        run.stderr.contains("1 events, 0 late, 0 unreadable"),
        "{}",
        run.stderr
    );
    let arguments = [
        "archive",
        "--output",
        history.to_str().unwrap(),
        "--input",
        other.to_str().unwrap(),
    ];
    let run = keyhawk(&arguments, b"");
    assert_eq!(run.status, 2);
    assert!(run.stderr.contains("is Parquet"), "{}", run.stderr);
}

#[test]
fn a_row_behind_the_bound_stops_replay_and_not_backtest() {
    let folder = tempfile::tempdir().unwrap();
    let event = |second: i64| {
        let time_ms = START_MS + second * 1000;
        format!("{{\"event_time\":{time_ms},\"client_ip\":\"192.0.2.1\",\"key_id\":\"k\"}}\n")
    };
    let input = folder.path().join("a.ndjson");
    write(&input, event(100) + &event(60) + &event(101));
    let generous = folder.path().join("generous.toml");
    write(&generous, "[topics.api-access]\nlateness = \"5m\"\n");
    let history = folder.path().join("history");
    let (history_text, generous_text) = (history.to_str().unwrap(), generous.to_str().unwrap());
    let run = keyhawk(
        &[
            "archive",
            "--config",
            generous_text,
            "--output",
            history_text,
            "--input",
            input.to_str().unwrap(),
        ],
        b"",
    );
    assert_eq!(run.status, 0, "{}", run.stderr);
    let rules = root().join("sql");
    let history = std::slice::from_ref(&history);
    let run = over_files("replay", &rules, None, history);
    assert_eq!(run.status, 2);
    for words in ["api-access/0", "_offset 1", "at least 40000 ms"] {
        assert!(
            run.stderr.contains(words),
            "{words:?} is not in:\n{}",
            run.stderr
        );
    }
    assert_eq!(over_files("backtest", &rules, None, history).status, 0);
    assert_eq!(
        over_files("replay", &rules, Some(&generous), history).status,
        0
    );
}

#[test]
fn no_credential_is_in_history() {
    let folder = tempfile::tempdir().unwrap();
    let secret = "kh_live_0123456789abcdefghij";
    let input = folder.path().join("a.ndjson");
    write(
        &input,
        format!(
            "{{\"event_time\":{START_MS},\"client_ip\":\"192.0.2.1\",\"api_key\":\"{secret}\",\"path\":\"/v1/{secret}\"}}\n"
        ),
    );
    let history = folder.path().join("history");
    let run = keyhawk(
        &[
            "archive",
            "--output",
            history.to_str().unwrap(),
            "--input",
            input.to_str().unwrap(),
        ],
        b"",
    );
    assert_eq!(run.status, 0, "{}", run.stderr);
    let path = locate(&history).unwrap().remove(0);
    let batch = ParquetRecordBatchReaderBuilder::try_new(File::open(&path).unwrap())
        .unwrap()
        .build()
        .unwrap()
        .next();
    let text = format!("{:?}", batch.unwrap().unwrap());
    assert!(text.contains('…') && !text.contains("0123456789"), "{text}");
    let offsets = HistoryFile::open(&path).unwrap().partitions().unwrap();
    assert_eq!(offsets.get(&name(0)), Some(&0));
}
