//! Google's and Azure's stores, as far as a server that answers by script can tell: what a URL and the
//! variables become, and what is said. Nothing here checks signatures.

use keyhawk_connectors::{Bucket, Error, StoreFailure, StoreUrl, Stores};
use keyhawk_testkit::http::{Answer, Server};

/// Azure takes only Base64 for a key.
const AZURE_KEY: &str = "a2gtdGVzdC1henVyZS1rZXktMDEyMzQ1Njc4OQ==";

fn open(url: &str, variables: &[(&str, &str)]) -> Result<Bucket, Error> {
    let variables = variables.iter();
    let variables = variables.map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
    Stores::new(variables).bucket(&StoreUrl::parse(url).unwrap())
}

/// `http://127.0.0.1:PORT`.
fn address(server: &Server) -> String {
    server.url().split("/services").next().unwrap().to_owned()
}

#[track_caller]
fn assert_refused(error: &Error, expected: StoreFailure, words: &[&str]) {
    let said = error.to_string();
    assert!(
        matches!(error, Error::Store { failure, .. } if *failure == expected),
        "{said}"
    );
    for words in words {
        assert!(said.contains(words), "{words:?} is not in: {said}");
    }
    assert!(!format!("{error:?}").contains(AZURE_KEY), "{error:?}");
}

#[test]
fn azure_is_asked_for_the_container_and_a_refusal_names_its_variables() {
    let refusals = [403, 404, 403].map(Answer::status);
    let server = Server::start(refusals).unwrap();
    let address = address(&server);
    let variables = [
        ("AZURE_STORAGE_ACCOUNT_NAME", "account"),
        ("AZURE_STORAGE_ACCOUNT_KEY", AZURE_KEY),
        ("AZURE_STORAGE_ENDPOINT", &address),
        ("AZURE_ALLOW_HTTP", "true"),
    ];
    let bucket = open("az://logs", &variables).unwrap();
    let error = bucket.put("a/b", "x").unwrap_err();
    let words = ["az://logs/a/b", "403", "AZURE_STORAGE_ACCOUNT_KEY"];
    assert_refused(&error, StoreFailure::Denied, &words);
    let error = bucket.put("a/b", "x").unwrap_err();
    assert_refused(&error, StoreFailure::NotFound, &["az://logs/a/b", "404"]);
    let error = bucket.list("a", true).unwrap_err();
    assert_refused(&error, StoreFailure::Denied, &["az://logs/a"]);
    let targets: Vec<String> = server
        .requests()
        .into_iter()
        .map(|request| request.target)
        .collect();
    assert!(targets[0].ends_with("/logs/a/b"), "{targets:?}");
    assert!(targets[2].contains("comp=list"), "{targets:?}");

    let plain = [variables[0], variables[1], variables[2]];
    let error = open("az://logs", &plain)
        .unwrap()
        .put("a", "x")
        .unwrap_err();
    assert_refused(&error, StoreFailure::PlainHttp, &["AZURE_ALLOW_HTTP=true"]);
}

#[test]
fn azure_without_an_account_says_which_variable_names_it() {
    let error = open("az://logs", &[]).unwrap_err();
    let words = ["az://logs/", "AZURE_STORAGE_ACCOUNT_NAME"];
    assert_refused(&error, StoreFailure::Other, &words);
    let key = [("AZURE_STORAGE_ACCOUNT_KEY", AZURE_KEY)];
    open("abfss://logs@account.dfs.core.windows.net/x", &key).unwrap();
    // What is wrong with a key is said without it.
    let wrong = [
        ("AZURE_STORAGE_ACCOUNT_NAME", "account"),
        ("AZURE_STORAGE_ACCOUNT_KEY", "no-base64-!secret!"),
    ];
    if let Err(error) = open("az://logs", &wrong) {
        assert!(
            !format!("{error} {error:?}").contains("!secret!"),
            "{error}"
        );
    }
}

#[test]
fn google_is_asked_for_the_object_and_a_refusal_names_its_variables() {
    let server = Server::start([Answer::status(401)]).unwrap();
    let address = address(&server);
    // A service account as an emulator of the store has it: nobody is asked for a token.
    let account = format!(
        "{{\"gcs_base_url\":\"{address}\",\"disable_oauth\":true,\"client_email\":\"\",\
         \"private_key\":\"\",\"private_key_id\":\"\"}}"
    );
    let variables = [
        ("GOOGLE_SERVICE_ACCOUNT_KEY", account.as_str()),
        ("GOOGLE_ALLOW_HTTP", "true"),
    ];
    let bucket = open("gs://logs", &variables).unwrap();
    let error = bucket.put("a/b", "x").unwrap_err();
    let words = ["gs://logs/a/b", "401", "GOOGLE_APPLICATION_CREDENTIALS"];
    assert_refused(&error, StoreFailure::Denied, &words);
    let target = server.requests().remove(0).target;
    assert!(
        target.contains("/logs/a%2Fb") || target.contains("/logs/a/b"),
        "{target}"
    );

    let missing = [("GOOGLE_APPLICATION_CREDENTIALS", "/nowhere/key.json")];
    let error = open("gs://logs", &missing).unwrap_err();
    assert_refused(&error, StoreFailure::Other, &["/nowhere/key.json"]);
}
