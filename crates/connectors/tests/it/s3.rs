//! Objects of a real S3 server, which checks signatures: what comes back, what is asked, what is said.

use std::fs;
use std::io::Read;
use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::time::{Duration, Instant};

use keyhawk_connectors::{Bucket, Error, StoreFailure, StoreUrl, Stores};
use keyhawk_testkit::s3::{ACCESS_KEY, S3Server, SECRET_KEY};
use tempfile::TempDir;

/// A server with an empty bucket `logs`, and its folder.
fn server() -> (TempDir, S3Server) {
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir(folder.path().join("logs")).unwrap();
    let any = SocketAddr::from(([127, 0, 0, 1], 0));
    let server = S3Server::start(folder.path(), any).unwrap();
    (folder, server)
}

/// The bucket with the server's variables, some of them changed.
fn bucket(server: &S3Server, url: &str, changed: &[(&str, &str)]) -> Bucket {
    let mut variables = server.variables();
    for (name, value) in changed {
        variables.retain(|(known, _)| known != name);
        variables.push(((*name).to_owned(), (*value).to_owned()));
    }
    let url = StoreUrl::parse(url).unwrap();
    Stores::new(variables).bucket(&url).unwrap()
}

fn logs(server: &S3Server) -> Bucket {
    bucket(server, "s3://logs", &[])
}

fn bytes(len: usize) -> Vec<u8> {
    (0..len).map(|at| (at * 7 % 251) as u8).collect()
}

fn failure(error: &Error) -> StoreFailure {
    let said = format!("{error} {error:?}");
    for secret in [SECRET_KEY, ACCESS_KEY, "wrong-secret-9876543210"] {
        assert!(!said.contains(secret), "{said}");
    }
    match error {
        Error::Store { failure, .. } => *failure,
        _ => panic!("{error}"),
    }
}

#[test]
fn more_objects_than_a_page_holds_are_listed_in_order() {
    let (folder, server) = server();
    let below = folder.path().join("logs/history");
    fs::create_dir_all(below.join("old")).unwrap();
    for at in 0..2_345 {
        fs::write(below.join(format!("{at:05}.parquet")), "x").unwrap();
    }
    fs::write(below.join("old/1.parquet"), "x").unwrap();
    let bucket = logs(&server);
    let direct = bucket.list("history/", false).unwrap();
    assert_eq!(direct.len(), 2_345);
    assert!(server.requests().len() >= 3, "three pages");
    let named = |at: usize| direct[at].key();
    assert_eq!(
        (named(0), named(2_344)),
        ("history/00000.parquet", "history/02344.parquet")
    );
    assert_eq!(bucket.list("history", true).unwrap().len(), 2_346);
    assert!(bucket.list("none/", true).unwrap().is_empty());
}

#[test]
fn what_was_put_comes_back_in_ranges_and_as_a_stream() {
    let (folder, server) = server();
    let bucket = logs(&server);
    let (small, large) = (bytes(1_000), bytes((20 << 20) + 17));
    bucket.put("a b/small%2F.ndjson", small.clone()).unwrap();
    let path = folder.path().join("file");
    fs::write(&path, &large).unwrap();
    server.requests();
    assert_eq!(bucket.put_file("large", &path).unwrap(), large.len() as u64);
    let asked = server.requests();
    let parts = asked
        .iter()
        .filter(|line| line.contains("partNumber="))
        .count();
    assert_eq!(parts, 3, "{asked:#?}");

    let object = bucket.object("a b/small%2F.ndjson").unwrap();
    assert_eq!(object.read(10..20).unwrap(), small[10..20]);
    let object = bucket.object("large").unwrap();
    assert_eq!(object.bytes(), large.len() as u64);
    let len = large.len() as u64;
    server.requests();
    let ranges = [len - 8..len, 0..100, 500_000..600_000];
    let read = object.read_all(&ranges).unwrap();
    for (range, read) in ranges.iter().zip(read) {
        assert!(
            read == large[range.start as usize..range.end as usize],
            "{range:?}"
        );
    }
    assert_eq!(server.requests().len(), 2, "what is close is one request");
    let mut stream = Vec::new();
    object.reader().read_to_end(&mut stream).unwrap();
    assert!(stream == large);
    assert_eq!(server.requests().len(), 6, "blocks of 4 MiB");

    bucket.delete("large").unwrap();
    let error = bucket.object("large").unwrap_err();
    assert_eq!(failure(&error), StoreFailure::NotFound);
    let said = error.to_string();
    assert!(
        said.contains("s3://logs/large") && said.contains("a pattern has *"),
        "{said}"
    );
}

#[test]
fn a_wrong_secret_is_told_with_the_variables_to_check_and_is_not_shown() {
    let (_folder, server) = server();
    let wrong = [("AWS_SECRET_ACCESS_KEY", "wrong-secret-9876543210")];
    let bucket = bucket(&server, "s3://logs", &wrong);
    for error in [
        bucket.list("history", false).unwrap_err(),
        bucket.put("x", "x").unwrap_err(),
        bucket.object("x").unwrap_err(),
    ] {
        assert_eq!(failure(&error), StoreFailure::Denied, "{error}");
        let said = error.to_string();
        assert!(
            said.contains("s3://logs/") && said.contains("AWS_SECRET_ACCESS_KEY"),
            "{said}"
        );
        assert!(!failure(&error).may_pass());
    }
}

#[test]
fn a_bucket_that_is_not_there_is_named() {
    let (_folder, server) = server();
    let error = bucket(&server, "s3://lost", &[])
        .list("", true)
        .unwrap_err();
    assert_eq!(failure(&error), StoreFailure::NoBucket, "{error}");
    let said = error.to_string();
    assert!(
        said.contains("s3://lost/") && said.contains("create the bucket"),
        "{said}"
    );
}

#[test]
fn a_server_that_fails_twice_is_asked_a_third_time() {
    let (folder, server) = server();
    let bucket = logs(&server);
    server.fail_next(2);
    bucket.put("o", bytes(100)).unwrap();
    assert_eq!(server.requests().len(), 3);
    let object = bucket.object("o").unwrap();
    server.requests();
    server.fail_next(2);
    assert_eq!(object.read(0..100).unwrap(), bytes(100));
    assert_eq!(server.requests().len(), 3);
    server.fail_next(2);
    assert_eq!(bucket.list("", true).unwrap().len(), 1);
    // Of an upload in parts, whichever requests these are.
    let path = folder.path().join("file");
    fs::write(&path, bytes(9 << 20)).unwrap();
    server.fail_next(2);
    bucket.put_file("parts", &path).unwrap();
    assert_eq!(bucket.object("parts").unwrap().bytes(), 9 << 20);
}

#[test]
fn an_upload_that_is_refused_leaves_no_object() {
    let (folder, server) = server();
    let path = folder.path().join("file");
    fs::write(&path, bytes(9 << 20)).unwrap();
    let wrong = [("AWS_SECRET_ACCESS_KEY", "wrong-secret-9876543210")];
    let error = bucket(&server, "s3://logs", &wrong)
        .put_file("o", &path)
        .unwrap_err();
    assert_eq!(failure(&error), StoreFailure::Denied);
    assert!(logs(&server).list("", true).unwrap().is_empty());
    let missing = logs(&server)
        .put_file("o", Path::new("/nowhere"))
        .unwrap_err();
    assert!(matches!(missing, Error::File { .. }), "{missing}");
}

#[test]
fn an_endpoint_at_which_nobody_listens_is_told_within_half_a_minute() {
    let (_folder, server) = server();
    let port = TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
    let nobody = [("AWS_ENDPOINT_URL", format!("http://{port}"))];
    let nobody: Vec<(&str, &str)> = nobody
        .iter()
        .map(|(name, url)| (*name, url.as_str()))
        .collect();
    let begun = Instant::now();
    let error = bucket(&server, "s3://logs", &nobody)
        .list("", true)
        .unwrap_err();
    assert!(
        begun.elapsed() < Duration::from_secs(30),
        "{:?}",
        begun.elapsed()
    );
    assert_eq!(failure(&error), StoreFailure::Unreachable, "{error}");
    let said = error.to_string();
    assert!(
        said.contains("refused") && said.contains("AWS_ENDPOINT_URL"),
        "{said}"
    );
}

#[test]
fn who_has_no_credentials_and_gets_none_from_the_machine_is_told_which_to_set() {
    let (_folder, server) = server();
    let mut variables = server.variables();
    variables.retain(|(name, _)| !name.contains("ACCESS_KEY"));
    // The machine's own service for credentials, which here has none.
    variables.push(("AWS_METADATA_ENDPOINT".to_owned(), server.url()));
    let url = StoreUrl::parse("s3://logs").unwrap();
    let bucket = Stores::new(variables).bucket(&url).unwrap();
    let error = bucket.list("", true).unwrap_err();
    assert_eq!(failure(&error), StoreFailure::NoCredentials, "{error}");
    assert!(
        error.to_string().contains("set AWS_ACCESS_KEY_ID"),
        "{error}"
    );
}

#[test]
fn what_is_wrong_with_the_variables_is_said_at_once() {
    let (_folder, server) = server();
    let url = StoreUrl::parse("s3://logs").unwrap();
    let mut variables = server.variables();
    variables.retain(|(name, _)| name != "AWS_ACCESS_KEY_ID");
    let error = Stores::new(variables).bucket(&url).unwrap_err();
    let said = error.to_string();
    assert!(
        said.contains("AccessKeyId") && said.contains("AWS_ACCESS_KEY_ID"),
        "{said}"
    );
    failure(&error);

    let no_tls = [("AWS_ALLOW_HTTP", "false")];
    let error = bucket(&server, "s3://logs", &no_tls)
        .list("", true)
        .unwrap_err();
    assert!(error.to_string().contains("AWS_ALLOW_HTTP"), "{error}");
    assert_eq!(failure(&error), StoreFailure::PlainHttp, "{error}");
}
