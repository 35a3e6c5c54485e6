//! Over a store in memory: what the facade adds to it.

use std::io::Read;

use super::reader::ObjectReader;
use super::*;
use crate::Error;

fn bucket() -> Bucket {
    Bucket::in_memory(&StoreUrl::parse("s3://bucket/").unwrap()).unwrap()
}

fn bytes(len: usize) -> Vec<u8> {
    (0..len).map(|at| (at * 7 % 251) as u8).collect()
}

fn keys(objects: &[Object]) -> Vec<&str> {
    objects.iter().map(Object::key).collect()
}

#[test]
fn a_prefix_is_listed_with_what_is_directly_below_it_or_all() {
    let bucket = bucket();
    for key in ["a/2.parquet", "a/1.parquet", "a/b/3.parquet", "ab/4", "5"] {
        bucket.put(key, key.as_bytes().to_vec()).unwrap();
    }
    let list = |prefix, recursive| bucket.list(prefix, recursive).unwrap();
    assert_eq!(keys(&list("a", false)), ["a/1.parquet", "a/2.parquet"]);
    assert_eq!(
        keys(&list("a/", true)),
        ["a/1.parquet", "a/2.parquet", "a/b/3.parquet"]
    );
    assert_eq!(keys(&list("", false)), ["5"]);
    assert_eq!(list("", true).len(), 5);
    assert!(list("none", true).is_empty());
    let object = bucket.object("a/b/3.parquet").unwrap();
    assert_eq!(object.url().to_string(), "s3://bucket/a/b/3.parquet");
    assert_eq!(object.bytes(), 13);
    bucket.delete("a/b/3.parquet").unwrap();
    let error = bucket.object("a/b/3.parquet").unwrap_err();
    assert!(
        matches!(&error, Error::Store { failure: StoreFailure::NotFound, url, .. } if url == "s3://bucket/a/b/3.parquet"),
        "{error}"
    );
}

#[test]
fn keys_are_not_encoded_anew() {
    let bucket = bucket();
    let key = "tópic%2F1.0.2026-03-02T10.0-1.parquet";
    bucket.put(key, "x").unwrap();
    assert_eq!(keys(&bucket.list("", false).unwrap()), [key]);
    for key in ["a//b", "a/../b"] {
        let said = bucket.put(key, "x").unwrap_err().to_string();
        assert!(
            said.contains(key) && said.contains("correct the URL"),
            "{said}"
        );
    }
}

#[test]
fn ranges_come_back_as_they_were_asked_for() {
    let bucket = bucket();
    let whole = bytes(30 << 20);
    bucket.put("o", whole.clone()).unwrap();
    let object = bucket.object("o").unwrap();
    let ranges = [
        5..9,
        (20 << 20)..(30 << 20),
        0..(17 << 20),
        7..7,
        (30 << 20) - 1..(30 << 20),
    ];
    let read = object.read_all(&ranges).unwrap();
    for (range, read) in ranges.iter().zip(read) {
        assert!(
            read == whole[range.start as usize..range.end as usize],
            "{range:?}"
        );
    }
    assert!(object.read(0..(31 << 20)).is_err(), "beyond the end");
}

#[test]
fn few_requests_read_what_is_close_and_none_is_too_large() {
    let mib = 1 << 20;
    assert_eq!(
        spans(&[0..10, 5 * mib..6 * mib, 20..mib]),
        [0..mib, 5 * mib..6 * mib]
    );
    assert_eq!(spans(&[3..3, 9..9]), []);
    let pieces: Vec<_> = pieces(&(1..20 * mib)).collect();
    assert_eq!(
        pieces,
        [
            1..8 * mib + 1,
            8 * mib + 1..16 * mib + 1,
            16 * mib + 1..20 * mib
        ]
    );
}

#[test]
fn a_stream_is_the_object_also_where_blocks_do_not_fit() {
    let bucket = bucket();
    for len in [0, 1, 9, 10, 11, 1000] {
        bucket.put("o", bytes(len)).unwrap();
        let object = bucket.object("o").unwrap();
        let mut read = Vec::new();
        ObjectReader::with_blocks(object.clone(), 10)
            .read_to_end(&mut read)
            .unwrap();
        assert!(read == bytes(len));
        read.clear();
        object.reader().read_to_end(&mut read).unwrap();
        assert!(read == bytes(len));
    }
}

#[test]
fn an_object_that_was_replaced_since_is_not_read() {
    let bucket = bucket();
    bucket.put("o", bytes(100)).unwrap();
    let object = bucket.object("o").unwrap();
    bucket.put("o", bytes(200)).unwrap();
    let error = object.read(0..10).unwrap_err();
    assert!(
        matches!(
            error,
            Error::Store {
                failure: StoreFailure::Changed,
                ..
            }
        ),
        "{error}"
    );
    let error = object.reader().read(&mut [0; 10]).unwrap_err();
    let inner = error.into_inner().unwrap().downcast::<Error>().unwrap();
    assert!(inner.to_string().contains("s3://bucket/o"), "{inner}");
}

#[test]
fn a_file_becomes_an_object_in_one_piece_or_in_parts() {
    let bucket = bucket();
    let folder = tempfile::tempdir().unwrap();
    for len in [0, 1000, 8 << 20, (20 << 20) + 1] {
        let path = folder.path().join("file");
        std::fs::write(&path, bytes(len)).unwrap();
        assert_eq!(bucket.put_file("a/file", &path).unwrap(), len as u64);
        let object = bucket.object("a/file").unwrap();
        assert!(object.read(0..len as u64).unwrap() == bytes(len));
    }
    let missing = folder.path().join("missing");
    let said = bucket.put_file("a/file", &missing).unwrap_err().to_string();
    assert!(said.contains("missing"), "{said}");
}

#[test]
fn a_caller_may_run_tasks_itself() {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .unwrap();
    runtime.block_on(async {
        let bucket = bucket();
        bucket.put("o", "x").unwrap();
        assert_eq!(bucket.object("o").unwrap().bytes(), 1);
    });
}

#[test]
fn a_store_is_opened_once_and_one_that_is_not_built_in_names_its_feature() {
    let stores = Stores::default();
    let url = StoreUrl::parse("s3://bucket/key").unwrap();
    stores.insert(bucket());
    stores.bucket(&url).unwrap().put("key", "x").unwrap();
    assert_eq!(
        stores
            .clone()
            .bucket(&url)
            .unwrap()
            .list("", true)
            .unwrap()
            .len(),
        1
    );
    #[cfg(not(feature = "azure"))]
    {
        let url = StoreUrl::parse("abfss://logs@account/key").unwrap();
        let said = stores.bucket(&url).unwrap_err().to_string();
        assert!(
            said.contains("no support for abfss://") && said.contains("--features azure"),
            "{said}"
        );
    }
}
