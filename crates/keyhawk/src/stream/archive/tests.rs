use keyhawk_events::{
    DEVELOPMENT_SECRET, Decoder, Fingerprinter, GeoDatabases, Record, TopicSettings,
};

use super::*;

const START_MS: i64 = 1_772_409_600_000;

fn partition() -> TopicPartition {
    TopicPartition {
        topic: "calls".into(),
        partition: 0,
    }
}

fn worker(folder: &Path, patience: Duration) -> Worker {
    let shared = Arc::new(Shared::default());
    Worker {
        settings: ArchiveSettings::new(folder),
        age_max: Duration::from_secs(3600),
        table: Arc::new(EventsSchema::new(vec![]).unwrap()),
        patience: Arc::new(Patience::new(patience, Arc::clone(&shared))),
        shared,
        open: BTreeMap::new(),
    }
}

/// Calls a minute apart, the first one at `offset`.
fn calls(offset: i64, count: i64) -> Decoded {
    let mut decoder = Decoder::new(
        Arc::new(EventsSchema::new(vec![]).unwrap()),
        None,
        TopicSettings::new("calls"),
        0,
        Arc::new(Fingerprinter::new(DEVELOPMENT_SECRET, vec![]).unwrap()),
        Arc::new(GeoDatabases::none()),
    )
    .unwrap();
    for offset in offset..offset + count {
        let line = format!(
            "{{\"event_time\":{},\"client_ip\":\"192.0.2.1\"}}",
            START_MS + offset * 60_000
        );
        decoder.push(Record {
            payload: Some(line.as_bytes()),
            offset,
            record_time_ms: None,
        });
    }
    decoder.finish()
}

fn names(folder: &Path) -> Vec<String> {
    let files = fs::read_dir(folder).unwrap();
    let mut names: Vec<String> = files
        .map(|file| file.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

/// The first and the last offset of a file, from its name.
fn offsets(name: &str) -> (i64, i64) {
    let name = name.strip_suffix(".parquet").unwrap();
    let (first, last) = name.rsplit_once('.').unwrap().1.split_once('-').unwrap();
    (first.parse().unwrap(), last.parse().unwrap())
}

#[test]
fn files_are_complete_when_the_hour_changes_the_partition_goes_or_the_archive_ends() {
    let folder = tempfile::tempdir().unwrap();
    let worker = worker(folder.path(), PATIENCE);
    let shared = Arc::clone(&worker.shared);
    let (to_thread, messages) = channel();
    let archive = Archive {
        to_thread,
        shared: Arc::clone(&shared),
    };
    archive.push(&partition(), Box::new(calls(0, 90)));
    archive.close(&partition());
    archive.push(&partition(), Box::new(calls(90, 5)));
    // The same again, as after a rebalance: a file of the same name, or beside it.
    archive.push(&partition(), Box::new(calls(90, 7)));
    archive.push(&partition(), Box::new(calls(97, 0)));
    assert_eq!(
        shared.queued.load(Ordering::Acquire),
        3,
        "no rows, no batch"
    );
    drop(archive);
    worker.run(&messages);
    assert_eq!(shared.queued.load(Ordering::Acquire), 0);
    let files: Vec<(i64, i64)> = names(folder.path())
        .iter()
        .map(|name| offsets(name))
        .collect();
    assert_eq!(files, [(0, 59), (60, 89), (90, 94), (90, 96)]);
}

#[test]
fn an_old_file_is_completed_while_nothing_comes() {
    let folder = tempfile::tempdir().unwrap();
    let mut worker = worker(folder.path(), PATIENCE);
    worker.write(&partition(), &calls(0, 3));
    worker.complete_old();
    assert!(names(folder.path())[0].ends_with(".tmp"));
    worker.age_max = Duration::ZERO;
    worker.complete_old();
    assert_eq!(offsets(&names(folder.path())[0]), (0, 2));
    assert!(worker.open.is_empty());
}

#[test]
fn a_write_that_fails_for_a_while_loses_nothing_and_one_that_fails_for_longer_holds_nobody_up() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("history");
    // Where the folder should be stands a file.
    fs::write(&path, "").unwrap();
    let mut impatient = worker(&path, Duration::from_millis(300));
    let begun = Instant::now();
    impatient.write(&partition(), &calls(0, 3));
    let first = begun.elapsed();
    assert!(first >= Duration::from_millis(300), "{first:?}");
    impatient.write(&partition(), &calls(3, 3));
    assert!(
        begun.elapsed() - first < Duration::from_millis(200),
        "one try"
    );
    assert!(impatient.open.is_empty());

    let mut patient = worker(&path, PATIENCE);
    let (in_the_way, shared) = (path.clone(), Arc::clone(&patient.shared));
    let mending = thread::spawn(move || {
        thread::sleep(Duration::from_millis(500));
        fs::remove_file(in_the_way).unwrap();
    });
    patient.write(&partition(), &calls(6, 3));
    mending.join().unwrap();
    patient.close(&partition());
    assert_eq!(offsets(&names(&path)[0]), (6, 8));

    // And then it is well again, for the impatient one too.
    impatient.write(&partition(), &calls(9, 3));
    impatient.close(&partition());
    assert_eq!(offsets(&names(&path)[1]), (9, 11));

    // A stop waits for nothing.
    fs::remove_dir_all(&path).unwrap();
    fs::write(&path, "").unwrap();
    shared.hurry.store(true, Ordering::Release);
    let begun = Instant::now();
    patient.write(&partition(), &calls(12, 3));
    assert!(begun.elapsed() < Duration::from_millis(200));
}

#[test]
fn batches_wait_while_the_queue_is_full_unless_the_thread_is_gone() {
    let (to_thread, messages) = channel();
    let shared = Arc::new(Shared::default());
    let archive = Archive {
        to_thread,
        shared: Arc::clone(&shared),
    };
    for offset in 0..QUEUE_BATCHES as i64 {
        assert!(!archive.is_full());
        archive.push(&partition(), Box::new(calls(offset, 1)));
    }
    assert!(archive.is_full());
    drop(messages);
    drop(Gone(shared));
    assert!(!archive.is_full());
}
