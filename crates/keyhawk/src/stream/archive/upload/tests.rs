use std::fs;
use std::path::PathBuf;
use std::sync::mpsc::channel;

use keyhawk_connectors::{Bucket, StoreUrl, Stores};
use tempfile::TempDir;

use super::*;

/// A bucket in memory as `s3://logs`, and a folder with two complete files and one that is not.
fn setting() -> (Stores, Bucket, TempDir) {
    let stores = Stores::default();
    let bucket = Bucket::in_memory(&StoreUrl::parse("s3://logs").unwrap()).unwrap();
    stores.insert(bucket.clone());
    let folder = tempfile::tempdir().unwrap();
    for name in ["b.parquet", "a.parquet", ".c.0.1.tmp", ".d.parquet"] {
        fs::write(folder.path().join(name), name).unwrap();
    }
    (stores, bucket, folder)
}

fn uploads(url: &str, stores: &Stores, folder: &TempDir) -> Uploads {
    let url = StoreUrl::parse(url).unwrap();
    Uploads {
        spool: Spool::open(&url, Some(folder.path()), stores).unwrap(),
        wait: LOOK,
        told: String::new(),
    }
}

fn waiting(uploads: &Uploads) -> Vec<PathBuf> {
    uploads.spool.waiting().unwrap()
}

#[test]
fn complete_files_become_objects_below_the_prefix_and_go_and_others_stay() {
    let (stores, bucket, folder) = setting();
    let mut uploads = uploads("s3://logs/history", &stores, &folder);
    uploads.spool.probe().unwrap();
    assert_eq!(uploads.upload(), 0);
    let keys: Vec<String> = bucket
        .list("", true)
        .unwrap()
        .iter()
        .map(|object| object.key().to_owned())
        .collect();
    assert_eq!(keys, ["history/a.parquet", "history/b.parquet"]);
    assert!(waiting(&uploads).is_empty());
    assert!(folder.path().join(".c.0.1.tmp").exists());
    assert!(folder.path().join(".d.parquet").exists());
    // One that another process moved meanwhile is no error.
    uploads
        .spool
        .upload(&folder.path().join("a.parquet"))
        .unwrap();
}

#[test]
fn files_wait_while_the_store_refuses_and_the_next_start_uploads_them() {
    let (stores, bucket, folder) = setting();
    // No store has a key with an empty part.
    let mut refused = uploads("s3://logs/a//b", &stores, &folder);
    assert!(refused.spool.probe().is_err());
    assert_eq!(refused.upload(), 2);
    assert_eq!(refused.upload(), 2);
    assert_eq!(refused.wait, LOOK * 4);
    assert!(
        refused.told.contains("s3://logs/a//b/a.parquet"),
        "{}",
        refused.told
    );
    assert_eq!(waiting(&refused).len(), 2);

    let spool = uploads("s3://logs/", &stores, &folder).spool;
    let (end, ended) = channel();
    let no_more_files = super::spawn(spool, end).unwrap();
    drop(no_more_files);
    assert!(ended.recv().is_err(), "it ends once everything was tried");
    assert_eq!(bucket.list("", false).unwrap().len(), 2);
    assert!(bucket.object("b.parquet").is_ok());
}

#[cfg(unix)]
#[test]
fn the_folder_of_a_url_is_its_own_and_nobody_else_may_read_it() {
    use std::os::unix::fs::PermissionsExt;
    let (stores, ..) = setting();
    let open = |url: &str| Spool::open(&StoreUrl::parse(url).unwrap(), None, &stores);
    let prefix = format!("test-{}", std::process::id());
    let folder = open(&format!("s3://logs/{prefix}"))
        .unwrap()
        .folder()
        .to_owned();
    assert_eq!(
        open(&format!("s3://logs/{prefix}/")).unwrap().folder(),
        folder
    );
    assert_ne!(open("s3://logs/other").unwrap().folder(), folder);
    assert_eq!(
        folder.metadata().unwrap().permissions().mode() & 0o777,
        0o700
    );
    fs::set_permissions(&folder, fs::Permissions::from_mode(0o755)).unwrap();
    let said = open(&format!("s3://logs/{prefix}"))
        .err()
        .unwrap()
        .to_string();
    assert!(
        said.contains("not ours alone") && said.contains("`spool`"),
        "{said}"
    );
    fs::remove_dir(&folder).unwrap();
}
