//! History and archives in an object store are what they are in a folder. The store is one in memory; a real
//! server is the connectors' tests' business.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::compute::concat_batches;
use keyhawk::history::{
    ArchiveSettings, ArchiveWriter, Error, HistoryFile, Source, Spool, is_history, locate,
    locate_in,
};
use keyhawk::replay::{self, Reading};
use keyhawk::rule_set::{RuleSet, RuleTexts};
use keyhawk_connectors::{Bucket, StoreUrl, Stores};
use keyhawk_events::{DEVELOPMENT_SECRET, Fingerprinter, GeoDatabases, TopicSettings};
use parquet::arrow::ArrowWriter;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use parquet::file::properties::WriterProperties;
use tempfile::TempDir;

use crate::binary::{keyhawk, root, write};
use crate::traffic::Stress;

/// Files in a folder, and the same as objects below `s3://logs/history/`.
struct Setting {
    folder: TempDir,
    stores: Stores,
    bucket: Bucket,
    rules: RuleSet,
    reading: Reading,
}

impl Setting {
    fn new() -> Setting {
        let bucket = Bucket::in_memory(&StoreUrl::parse("s3://logs").unwrap()).unwrap();
        let stores = Stores::default();
        stores.insert(bucket.clone());
        let folder = tempfile::tempdir().unwrap();
        let (bucket_, lines) = (bucket.clone(), folder.path().join("lines"));
        let stress = Stress {
            seed: 11,
            keys: 4,
            partitions: 2,
            days: 2,
        };
        fs::create_dir(&lines).unwrap();
        for file in stress.write(&lines) {
            let key = format!("lines/{}", file.file_name().unwrap().to_str().unwrap());
            bucket_.put_file(&key, &file).unwrap();
        }
        Setting {
            folder,
            stores,
            bucket,
            rules: RuleTexts::shipped().compile().unwrap(),
            reading: Reading {
                topic: TopicSettings::new("api-access"),
                fingerprinter: Arc::new(Fingerprinter::new(DEVELOPMENT_SECRET, vec![]).unwrap()),
                geo: Arc::new(GeoDatabases::none()),
                deployment: "test".to_owned(),
            },
        }
    }

    /// Decodes the lines to Parquet, in a folder and as objects. Row groups are small, so that there are
    /// several.
    fn with_history(self) -> Setting {
        let history = self.folder.path().join("history");
        let lines = self.folder.path().join("lines");
        let run = keyhawk(
            &[
                "archive",
                "--input",
                &format!("{}/*", lines.display()),
                "--output",
                history.to_str().unwrap(),
            ],
            b"",
        );
        assert_eq!(run.status, 0, "{}", run.stderr);
        for file in locate(&history).unwrap() {
            let path = file.path().unwrap();
            split(path, 200);
            let key = format!("history/{}", path.file_name().unwrap().to_str().unwrap());
            self.bucket.put_file(&key, path).unwrap();
        }
        self
    }

    fn local(&self, below: &str) -> PathBuf {
        self.folder.path().join(below)
    }

    fn found(&self, input: &str) -> Result<Vec<Source>, Error> {
        locate_in(Path::new(input), &self.stores)
    }

    fn rows(&self, files: &[Source], threads: usize) -> Result<RecordBatch, Error> {
        let inputs = replay::open(files, &self.rules, &self.reading)?;
        let (batches, _) = replay::read_all(inputs, threads)?;
        Ok(concat_batches(batches[0].schema_ref(), &batches).unwrap())
    }
}

/// Writes a file anew with row groups of so many rows.
fn split(path: &Path, rows: usize) {
    let read = ParquetRecordBatchReaderBuilder::try_new(fs::File::open(path).unwrap()).unwrap();
    let schema = Arc::clone(read.schema());
    let batches: Vec<RecordBatch> = read.build().unwrap().map(Result::unwrap).collect();
    let properties = WriterProperties::builder()
        .set_max_row_group_row_count(Some(rows))
        .set_statistics_truncate_length(None)
        .build();
    let file = fs::File::create(path).unwrap();
    let mut writer = ArrowWriter::try_new(file, schema, Some(properties)).unwrap();
    for batch in &batches {
        writer.write(batch).unwrap();
    }
    writer.close().unwrap();
}

fn names(files: &[Source]) -> Vec<String> {
    files.iter().map(ToString::to_string).collect()
}

#[test]
fn rows_of_objects_are_the_rows_of_files_on_any_number_of_threads() {
    let setting = Setting::new().with_history();
    let files = locate(&setting.local("history")).unwrap();
    let objects = setting.found("s3://logs/history/*.parquet").unwrap();
    assert!(files.len() > 40, "{}", files.len());
    assert_eq!(objects.len(), files.len());
    let bytes = |files: &[Source]| -> u64 { files.iter().map(|file| file.bytes().unwrap()).sum() };
    assert_eq!(bytes(&objects), bytes(&files));
    let expected = setting.rows(&files, 1).unwrap();
    assert!(expected.num_rows() > 1000);
    for threads in [1, 2, 7] {
        assert_eq!(
            setting.rows(&objects, threads).unwrap(),
            expected,
            "{threads}"
        );
    }
}

#[test]
fn lines_of_objects_are_the_lines_of_files() {
    let setting = Setting::new();
    let files = locate(&setting.local("lines").join("*")).unwrap();
    let objects = setting.found("s3://logs/lines/*").unwrap();
    assert_eq!(objects.len(), 2);
    assert!(!is_history(&objects[0]).unwrap());
    let expected = setting.rows(&files, 1).unwrap();
    assert_eq!(setting.rows(&objects, 2).unwrap(), expected);
}

#[test]
fn a_url_names_an_object_a_folder_or_a_pattern() {
    let setting = Setting::new();
    for key in [
        "h/a.parquet",
        "h/b.parquet",
        "h/notes.txt",
        "h/2026/c.parquet",
        "h/2026/03/d.parquet",
        "top.parquet",
    ] {
        setting.bucket.put(key, "PAR1").unwrap();
    }
    let found = |input: &str| names(&setting.found(input).unwrap());
    let (a, b) = ("s3://logs/h/a.parquet", "s3://logs/h/b.parquet");
    let (c, d) = (
        "s3://logs/h/2026/c.parquet",
        "s3://logs/h/2026/03/d.parquet",
    );
    assert_eq!(found(a), [a]);
    assert_eq!(found("s3://logs/h/"), [a, b]);
    assert_eq!(found("s3://logs/h"), [a, b]);
    assert_eq!(found("s3://logs"), ["s3://logs/top.parquet"]);
    assert_eq!(found("s3://logs/h/[b-z].parquet"), [b]);
    assert_eq!(found("s3://logs/h/?.parquet"), [a, b]);
    assert_eq!(found("s3://logs/h/*/*.parquet"), [c]);
    assert_eq!(found("s3://logs/h/20*/**/*.parquet"), [d, c]);
    assert_eq!(found("s3://logs/**/d.parquet"), [d]);
    assert_eq!(found("s3://logs/h/notes.txt"), ["s3://logs/h/notes.txt"]);
    assert!(is_history(&setting.found("s3://logs/h/notes.txt").unwrap()[0]).unwrap());

    let refused = |input: &str| setting.found(input).unwrap_err().to_string();
    for (input, words) in [
        ("s3://logs/none/", "no file matches"),
        ("s3://logs/h/*.ndjson", "no file matches"),
        ("s3://logs/h/[", "is no pattern"),
        ("s3://logs/none", "looking it up failed"),
        ("s3://", "expected s3://bucket/key"),
        ("http://logs/x", "s3://bucket/key"),
    ] {
        let said = refused(input);
        assert!(said.contains(input) && said.contains(words), "{said}");
    }
}

#[test]
fn an_object_that_is_replaced_or_removed_while_it_is_read_is_told_and_is_not_called_damaged() {
    let setting = Setting::new().with_history();
    let objects = setting.found("s3://logs/history/").unwrap();
    let key = objects[0].to_string().replace("s3://logs/", "");
    let inputs = replay::open(&objects, &setting.rules, &setting.reading).unwrap();
    setting.bucket.put(&key, "PAR1 another PAR1").unwrap();
    let error = replay::read_all(inputs, 2).err().unwrap();
    assert!(matches!(error, Error::Store(_)), "{error}");
    let said = error.to_string();
    assert!(
        said.contains(&key) && !said.contains("no sound Parquet"),
        "{said}"
    );

    // As it is now it is damaged, and that is said of it too.
    let now = setting
        .found(&format!("s3://logs/{key}"))
        .unwrap()
        .remove(0);
    let error = HistoryFile::open(&now).err().unwrap();
    assert!(matches!(error, Error::Damaged { .. }), "{error}");
    assert!(
        error.to_string().contains(&format!("s3://logs/{key}")),
        "{error}"
    );

    setting.bucket.delete(&key).unwrap();
    let error = HistoryFile::open(&now).err().unwrap();
    assert!(matches!(error, Error::Store(_)), "{error}");
}

#[test]
fn an_archive_moves_its_complete_files_to_the_store_and_they_are_read_from_there() {
    let setting = Setting::new().with_history();
    let files = locate(&setting.local("history")).unwrap();
    let rows = |file: &Source| -> Vec<RecordBatch> {
        let file = fs::File::open(file).unwrap();
        let read = ParquetRecordBatchReaderBuilder::try_new(file).unwrap();
        read.build().unwrap().map(Result::unwrap).collect()
    };
    let folder = setting.local("spool");
    let url = StoreUrl::parse("s3://logs/archive").unwrap();
    let spool = Spool::open(&url, Some(&folder), &setting.stores).unwrap();
    let settings = ArchiveSettings::new(spool.folder());
    let mut writer = ArchiveWriter::new(&settings, &setting.rules.schema).unwrap();
    for file in &files {
        for batch in rows(file) {
            writer.push(&batch).unwrap();
        }
    }
    let unfinished = fs::read_dir(&folder).unwrap().count() - spool.waiting().unwrap().len();
    assert_eq!(unfinished, 2, "one of each partition");
    writer.flush().unwrap();
    let waiting = spool.waiting().unwrap();
    assert_eq!(waiting.len() as u64, writer.written().files);
    for file in &waiting {
        spool.upload(file).unwrap();
    }
    assert_eq!(fs::read_dir(&folder).unwrap().count(), 0);
    let objects = setting.found("s3://logs/archive").unwrap();
    assert_eq!(objects.len(), waiting.len());
    assert_eq!(
        setting.rows(&objects, 2).unwrap(),
        setting.rows(&files, 2).unwrap()
    );
}

#[cfg(not(feature = "s3"))]
#[test]
fn a_build_without_a_store_says_how_to_get_it_wherever_a_url_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let secret = folder.path().join("secret");
    write(&secret, "a secret of more than sixteen characters");
    let config = folder.path().join("keyhawk.toml");
    let text = format!(
        "[identity]\nsecret = {{ file = {:?} }}\n[rules]\ndir = {:?}\n[console]\nlisten = \"127.0.0.1:0\"\n\
         [archive]\nfolder = \"s3://logs/history\"\n",
        secret,
        root().join("sql")
    );
    write(&config, text);
    let (rules, config) = (root().join("sql"), config.to_str().unwrap().to_owned());
    let rules = rules.to_str().unwrap();
    let url = "s3://logs/history";
    let lines = folder.path().join("lines.ndjson");
    write(&lines, "");
    let lines = lines.to_str().unwrap();
    for arguments in [
        vec!["backtest", "--rules", rules, "--input", url],
        vec!["replay", "--rules", rules, "--input", url],
        vec!["sql", "--input", url, "-c", "SELECT 1"],
        vec!["archive", "--input", url, "--output", "x"],
        vec!["archive", "--input", lines, "--output", url],
        vec!["run", "--config", &config],
    ] {
        let run = keyhawk(&arguments, b"");
        assert_eq!(run.status, 2, "{arguments:?}: {run:?}");
        for words in [url, "no support for s3://", "--features s3"] {
            assert!(run.stderr.contains(words), "{arguments:?}: {}", run.stderr);
        }
    }
}
