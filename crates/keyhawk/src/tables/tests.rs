use std::fs;
use std::path::Path;
use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, Float32Array, Int32Array, RecordBatch, StringArray,
    TimestampMicrosecondArray,
};
use arrow::datatypes::{
    DataType, Decimal128Type, Float64Type, Int64Type, TimeUnit, TimestampMillisecondType,
};
use parquet::arrow::ArrowWriter;
use tempfile::TempDir;

use super::load_tables;

/// A rule directory with these files in `tables/`.
fn dir(files: &[(&str, &str)]) -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    fs::create_dir(dir.path().join("tables")).unwrap();
    for (name, text) in files {
        fs::write(dir.path().join("tables").join(name), text).unwrap();
    }
    dir
}

fn only(files: &[(&str, &str)]) -> RecordBatch {
    let dir = dir(files);
    let mut tables = load_tables(dir.path()).unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(tables.len(), 1);
    tables.remove(0).1
}

fn refused(files: &[(&str, &str)], words: &[&str]) {
    let dir = dir(files);
    assert_refused(dir.path(), words);
}

fn assert_refused(dir: &Path, words: &[&str]) {
    let message = load_tables(dir).unwrap_err().to_string();
    for word in words {
        assert!(message.contains(word), "{word:?} is not in: {message}");
    }
}

fn types(batch: &RecordBatch) -> Vec<(&str, &DataType)> {
    let fields = batch.schema_ref().fields();
    fields
        .iter()
        .map(|field| (field.name().as_str(), field.data_type()))
        .collect()
}

fn text(batch: &RecordBatch, column: &str, row: usize) -> Option<String> {
    let column = batch.column_by_name(column).unwrap().as_string_view();
    column.is_valid(row).then(|| column.value(row).to_owned())
}

fn timestamp() -> DataType {
    DataType::Timestamp(TimeUnit::Millisecond, Some("UTC".into()))
}

fn write_parquet(path: &Path, columns: Vec<(&str, ArrayRef)>) {
    let batch = RecordBatch::try_from_iter(columns).unwrap();
    let mut writer =
        ArrowWriter::try_new(fs::File::create(path).unwrap(), batch.schema(), None).unwrap();
    writer.write(&batch).unwrap();
    writer.close().unwrap();
}

#[test]
fn a_directory_without_tables_has_none() {
    let dir = tempfile::tempdir().unwrap();
    assert!(load_tables(dir.path()).unwrap().is_empty());
    fs::create_dir(dir.path().join("tables")).unwrap();
    fs::write(dir.path().join("tables/.hidden"), "x").unwrap();
    assert!(load_tables(dir.path()).unwrap().is_empty());
}

#[test]
fn csv_types_are_inferred_from_all_values() {
    let csv = "\u{feff}name,weight,share,on,since,zip,long,nothing\n\
               a,1,0.5,true,2026-03-02T10:00:00Z,00501,12345678901234567890,\n\
               b,-20,3,FALSE,2026-03-02,10001,1,\n\
               c,,1e3,,2026-03-02 11:00:00+01:00,,,\n";
    let batch = only(&[("t.csv", csv)]);
    assert_eq!(
        types(&batch),
        [
            ("name", &DataType::Utf8View),
            ("weight", &DataType::Int64),
            ("share", &DataType::Float64),
            ("on", &DataType::Boolean),
            ("since", &timestamp()),
            ("zip", &DataType::Utf8View),
            ("long", &DataType::Utf8View),
            ("nothing", &DataType::Utf8View),
        ]
    );
    let weights = batch.column(1).as_primitive::<Int64Type>();
    assert_eq!(
        weights.iter().collect::<Vec<_>>(),
        [Some(1), Some(-20), None]
    );
    let shares = batch.column(2).as_primitive::<Float64Type>();
    assert_eq!(shares.values().as_ref(), [0.5, 3.0, 1000.0]);
    assert_eq!(
        batch.column(3).as_boolean().iter().collect::<Vec<_>>(),
        [Some(true), Some(false), None]
    );
    let since = batch.column(4).as_primitive::<TimestampMillisecondType>();
    assert_eq!(
        since.values().as_ref(),
        [1_772_445_600_000, 1_772_409_600_000, 1_772_445_600_000]
    );
    assert_eq!(text(&batch, "zip", 0).as_deref(), Some("00501"));
    assert_eq!(batch.column(7).null_count(), 3);
}

#[test]
fn quoted_csv_fields_hold_commas_quotes_and_line_ends() {
    let batch = only(&[(
        "t.csv",
        "a,b\r\n\"x, \"\"y\"\"\",1\r\n\"two\nlines\",2\r\n\"\",3\r\n",
    )]);
    assert_eq!(text(&batch, "a", 0).as_deref(), Some("x, \"y\""));
    assert_eq!(text(&batch, "a", 1).as_deref(), Some("two\nlines"));
    assert_eq!(text(&batch, "a", 2), None);
    // Lines are those of the file, also behind a field of two lines.
    refused(
        &[
            ("t.csv", "a,b\n\"two\nlines\",2\nx,many\n"),
            ("tables.toml", "[t]\nb = \"integer\"\n"),
        ],
        &["t.csv:4:", "column `b`", "an integer of 64 bits", "`many`"],
    );
}

#[test]
fn ndjson_types_are_inferred_from_all_values() {
    let lines = "{\"name\":\"a\",\"n\":1,\"x\":1,\"on\":true,\"at\":\"2026-03-02T10:00:00Z\",\"mixed\":1}\n\n\
                 {\"late\":\"7\",\"x\":0.25,\"name\":null,\"n\":-2,\"mixed\":\"1\"}\n";
    let batch = only(&[("t.ndjson", lines)]);
    assert_eq!(
        types(&batch),
        [
            ("name", &DataType::Utf8View),
            ("n", &DataType::Int64),
            ("x", &DataType::Float64),
            ("on", &DataType::Boolean),
            ("at", &timestamp()),
            ("mixed", &DataType::Utf8View),
            ("late", &DataType::Utf8View),
        ]
    );
    assert_eq!(text(&batch, "late", 0), None);
    assert_eq!(text(&batch, "late", 1).as_deref(), Some("7"));
    assert_eq!(text(&batch, "name", 1), None);
    assert_eq!(text(&batch, "mixed", 0).as_deref(), Some("1"));
}

#[test]
fn parquet_types_are_widened() {
    let dir = dir(&[]);
    let times = TimestampMicrosecondArray::from(vec![Some(1_772_445_600_000_999), None]);
    write_parquet(
        &dir.path().join("tables/t.parquet"),
        vec![
            ("name", Arc::new(StringArray::from(vec![Some("a"), None]))),
            ("n", Arc::new(Int32Array::from(vec![7, 8]))),
            ("x", Arc::new(Float32Array::from(vec![0.5, 1.5]))),
            ("at", Arc::new(times)),
        ],
    );
    let (name, batch) = load_tables(dir.path()).unwrap().remove(0);
    assert_eq!(name, "t");
    assert_eq!(
        types(&batch),
        [
            ("name", &DataType::Utf8View),
            ("n", &DataType::Int64),
            ("x", &DataType::Float64),
            ("at", &timestamp()),
        ]
    );
    let times = batch.column(3).as_primitive::<TimestampMillisecondType>();
    assert_eq!(
        times.iter().collect::<Vec<_>>(),
        [Some(1_772_445_600_000), None]
    );

    fs::write(
        dir.path().join("tables/tables.toml"),
        "[t]\nn = \"decimal\"\nname = \"integer\"\n",
    )
    .unwrap();
    assert_refused(
        dir.path(),
        &["t.parquet", "column `name`", "an integer of 64 bits"],
    );
    fs::write(
        dir.path().join("tables/tables.toml"),
        "[t]\nx = \"integer\"\n",
    )
    .unwrap();
    assert_refused(
        dir.path(),
        &[
            "t.parquet",
            "column `x`",
            "an integer of 64 bits",
            "Float32",
        ],
    );
}

#[test]
fn declared_types_win_over_inferred_ones() {
    let toml = "[t]\nid = \"text\"\nprice = \"decimal\"\nat = \"timestamp\"\nx = \"double\"\n";
    let csv = "id,price,at,x\n7,19.990000000000000001,1772445600000,1\n8,-0.5,9999-12-31,2\n";
    let batch = only(&[("t.csv", csv), ("tables.toml", toml)]);
    assert_eq!(text(&batch, "id", 0).as_deref(), Some("7"));
    let prices = batch.column(1).as_primitive::<Decimal128Type>();
    assert_eq!(
        prices.values().as_ref(),
        [19_990_000_000_000_000_001, -500_000_000_000_000_000]
    );
    assert_eq!(prices.data_type(), &DataType::Decimal128(38, 18));
    let times = batch.column(2).as_primitive::<TimestampMillisecondType>();
    assert_eq!(
        times.values().as_ref(),
        [1_772_445_600_000, 253_402_214_400_000]
    );
    assert_eq!(batch.column(3).data_type(), &DataType::Float64);
}

#[test]
fn a_value_of_another_type_than_declared_is_named_with_its_line() {
    for (ty, value, expected) in [
        ("integer", "1.5", "an integer"),
        ("decimal", "1e3", "a decimal number"),
        ("decimal", "0.1234567890123456789", "18 after it"),
        ("boolean", "yes", "true or false"),
        ("timestamp", "2026-13-02", "a time such as"),
        ("timestamp", "2026-01-01T00:00:00é", "a time such as"),
        ("double", "NaN", "a finite number"),
    ] {
        let toml = format!("[t]\nx = \"{ty}\"\n");
        let csv = format!("k,x\n1,\n2,{value}\n");
        refused(
            &[("t.csv", &csv), ("tables.toml", &toml)],
            &["t.csv:3:", "column `x`", expected, value, "tables.toml"],
        );
        let json = format!("{{\"k\":1}}\n{{\"x\":\"{value}\"}}\n");
        refused(
            &[("t.ndjson", &json), ("tables.toml", &toml)],
            &["t.ndjson:2:", "column `x`", expected],
        );
    }
}

#[test]
fn an_empty_file_needs_columns() {
    refused(
        &[("t.csv", "")],
        &["t.csv:1:", "empty", "names the columns"],
    );
    refused(
        &[("t.ndjson", "\n")],
        &["t.ndjson:1:", "empty", "tables.toml"],
    );
    refused(
        &[("t.parquet", "")],
        &["t.parquet", "no sound Parquet file"],
    );
    let batch = only(&[
        ("t.csv", "a,b\n"),
        ("tables.toml", "[t]\nb = \"integer\"\n"),
    ]);
    assert_eq!(batch.num_rows(), 0);
    assert_eq!(
        types(&batch),
        [("a", &DataType::Utf8View), ("b", &DataType::Int64)]
    );
    let batch = only(&[("t.ndjson", ""), ("tables.toml", "[t]\nb = \"integer\"\n")]);
    assert_eq!(
        (batch.num_rows(), types(&batch)),
        (0, vec![("b", &DataType::Int64)])
    );
}

#[test]
fn lines_that_are_no_rows_are_named() {
    refused(
        &[("t.csv", "a,b\n1,2\n3\n")],
        &["t.csv:3:", "expected 2 fields", "found 1"],
    );
    refused(&[("t.csv", "a,a\n1,2\n")], &["column `a`", "two columns"]);
    refused(&[("t.csv", "a,\n1,2\n")], &["a column has no name"]);
    refused(
        &[("t.ndjson", "{\"a\":1}\n[1]\n")],
        &["t.ndjson:2:", "one JSON object"],
    );
    refused(
        &[("t.ndjson", "{\"a\":1}\n{\"a\":\n")],
        &["t.ndjson:2:", "one JSON object"],
    );
    refused(
        &[("t.ndjson", "{\"a\":[1]}\n")],
        &["t.ndjson:1:", "column `a`", "a list or object"],
    );
    let dir = dir(&[]);
    fs::write(dir.path().join("tables/t.csv"), b"a\nx\n\xff\n").unwrap();
    assert_refused(dir.path(), &["t.csv:3:", "UTF-8"]);
}

#[test]
fn names_are_such_that_sql_takes() {
    refused(
        &[("Networks.csv", "a\n")],
        &["Networks.csv", "lower-case letters"],
    );
    refused(
        &[("my-table.csv", "a\n")],
        &["my-table.csv", "lower-case letters"],
    );
    refused(&[("events.csv", "a\n")], &["events.csv", "table of events"]);
    refused(&[("notes.txt", "a\n")], &["notes.txt", "NAME.csv"]);
    refused(
        &[("t.csv", "a\n"), ("t.ndjson", "{}")],
        &["t.csv", "t.ndjson"],
    );
    let dir = dir(&[("usage.csv", "a\n")]);
    fs::create_dir(dir.path().join("views")).unwrap();
    fs::write(dir.path().join("views/usage.sql"), "").unwrap();
    assert_refused(dir.path(), &["usage.csv", "a view's name"]);
}

#[test]
fn tables_toml_is_held_against_the_tables() {
    let csv = ("networks.csv", "cidr\n10.0.0.0/8\n");
    refused(
        &[csv, ("tables.toml", "[networks]\ncidr = \"txt\"\n")],
        &["tables.toml:2", "txt", "decimal"],
    );
    refused(
        &[csv, ("tables.toml", "[netwrks]\ncidr = \"text\"\n")],
        &["netwrks", "did you mean [networks]"],
    );
    refused(
        &[csv, ("tables.toml", "[plans]\nx = \"text\"\n")],
        &["[plans]", "plans.csv"],
    );
    refused(
        &[csv, ("tables.toml", "[networks]\nnet = \"text\"\n")],
        &["networks.csv", "column `net`"],
    );
}

#[test]
fn a_damaged_parquet_table_is_an_error() {
    let dir = dir(&[]);
    let path = dir.path().join("tables/t.parquet");
    let names: Vec<String> = (0..200).map(|n| format!("name {}", n % 7)).collect();
    write_parquet(
        &path,
        vec![
            ("name", Arc::new(StringArray::from(names))),
            ("n", Arc::new((0..200).collect::<Int32Array>())),
        ],
    );
    let sound = fs::read(&path).unwrap();
    let mut refused = 0;
    for at in 0..sound.len() {
        let mut damaged = sound.clone();
        damaged[at] ^= 0x5a;
        fs::write(&path, &damaged).unwrap();
        refused += usize::from(load_tables(dir.path()).is_err());
        if at % 16 == 0 {
            fs::write(&path, &sound[..at]).unwrap();
            assert_refused(dir.path(), &["t.parquet"]);
        }
    }
    assert!(refused > sound.len() / 8, "{refused} of {}", sound.len());
}
