//! What a store said, without what it may have quoted.
//!
//! An answer may repeat the request: S3's to a wrong signature holds the key's id, the signature and the
//! text that was signed, and a client's error may hold a URL with a token in its query. So only what is
//! known to be harmless is taken: the status, S3's code in one word, the system's reason for a broken
//! connection. Of any other sentence, what the environment holds as secrets is cut.

use std::fmt;

use super::url::{StoreKind, StoreUrl};
use crate::Error;

/// Longest sentence of a client that is repeated.
const REASON_CHARS: usize = 300;

/// Why an object store did not do what it was asked to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StoreFailure {
    /// There are no credentials.
    NoCredentials,
    /// The credentials are not accepted, or do not allow it.
    Denied,
    /// There is no such bucket, as far as these credentials see.
    NoBucket,
    /// There is no such object, as far as these credentials see.
    NotFound,
    /// The object is another than when it was found.
    Changed,
    /// The bucket is in another region.
    Region,
    /// The endpoint has no TLS, and that is not allowed.
    PlainHttp,
    /// No answer, or one that blames the store: no connection, not in time, a status of 5xx.
    Unreachable,
    /// Anything else, which the reason says.
    Other,
}

impl StoreFailure {
    /// Whether the same may well succeed later, without anybody's doing.
    pub fn may_pass(self) -> bool {
        self == StoreFailure::Unreachable
    }

    /// What a person can do.
    fn help(self, kind: StoreKind) -> impl fmt::Display {
        let (credentials, endpoint, plain_http) = match kind {
            StoreKind::S3 => (
                "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY (with AWS_SESSION_TOKEN where there is one), or \
                 the role of this machine",
                "AWS_ENDPOINT_URL, AWS_REGION",
                "AWS_ALLOW_HTTP",
            ),
            StoreKind::Gcs => (
                "GOOGLE_APPLICATION_CREDENTIALS, or the service account of this machine",
                "GOOGLE_BASE_URL",
                "GOOGLE_ALLOW_HTTP",
            ),
            StoreKind::Azure => (
                "AZURE_STORAGE_ACCOUNT_NAME with AZURE_STORAGE_ACCOUNT_KEY or AZURE_STORAGE_SAS_TOKEN, or the \
                 managed identity of this machine",
                "AZURE_STORAGE_ACCOUNT_NAME, AZURE_STORAGE_ENDPOINT",
                "AZURE_ALLOW_HTTP",
            ),
        };
        match self {
            StoreFailure::NoCredentials => format!("set {credentials}"),
            StoreFailure::Denied => {
                format!("check {credentials}, and what they may do in this bucket")
            }
            StoreFailure::NoBucket => "create the bucket, or correct its name".to_owned(),
            StoreFailure::NotFound => {
                "correct the name; a prefix ends in /, a pattern has *, ** and ?".to_owned()
            }
            StoreFailure::Changed => {
                "files of history are not changed once they are there".to_owned()
            }
            StoreFailure::Region => "set AWS_REGION to the bucket's region".to_owned(),
            StoreFailure::PlainHttp => {
                format!("name an endpoint that begins with https://, or set {plain_http}=true")
            }
            StoreFailure::Unreachable => format!("check {endpoint} and the network"),
            StoreFailure::Other => format!("check {endpoint}, and {credentials}"),
        }
    }
}

/// The error of a request.
pub(super) fn of_request(
    url: &StoreUrl,
    doing: &'static str,
    error: &object_store::Error,
    secrets: &[String],
) -> Error {
    let (failure, reason) = understood(error, secrets);
    Error::Store {
        help: failure.help(url.kind()).to_string(),
        url: url.to_string(),
        doing,
        failure,
        reason,
    }
}

/// The error of a key that no store has, or of a fault of ours.
pub(super) fn other(url: &StoreUrl, doing: &'static str, reason: &str) -> Error {
    Error::Store {
        url: url.to_string(),
        doing,
        failure: StoreFailure::Other,
        reason: reason.to_owned(),
        help: "correct the URL".to_owned(),
    }
}

fn understood(error: &object_store::Error, secrets: &[String]) -> (StoreFailure, String) {
    let text = error.to_string();
    // Only who has no credentials asks the machine for some.
    let asks_machine = [
        "169.254.169.254",
        "169.254.170.2",
        "/latest/api/token",
        "/latest/meta-data",
        "metadata.google.internal",
        "/computeMetadata/",
    ];
    if asks_machine.iter().any(|part| text.contains(part)) {
        let reason = "there are no credentials in the environment, and this machine gives none";
        return (StoreFailure::NoCredentials, reason.to_owned());
    }
    let code = between(&text, "<Code>", "</Code>").filter(|code| is_word(code));
    let status = between(&text, "status code: ", " ").filter(|status| is_word(status));
    let answered = |failure| {
        let said = [status, code].into_iter().flatten();
        let said = said.collect::<Vec<_>>().join(" ");
        let said = if said.is_empty() { "an error" } else { &said };
        (failure, format!("the store answered {said}"))
    };
    match (code, error) {
        (Some("NoSuchBucket"), _) => return answered(StoreFailure::NoBucket),
        (_, object_store::Error::NotFound { .. }) => return answered(StoreFailure::NotFound),
        (_, object_store::Error::Precondition { .. }) => return answered(StoreFailure::Changed),
        (
            _,
            object_store::Error::PermissionDenied { .. }
            | object_store::Error::Unauthenticated { .. },
        ) => return answered(StoreFailure::Denied),
        _ => {}
    }
    if text.contains("incorrectly configured region") {
        let reason = "the store points to another region";
        return (StoreFailure::Region, reason.to_owned());
    }
    if status.is_some() || code.is_some() {
        return answered(match status {
            Some("401" | "403") => StoreFailure::Denied,
            Some("301" | "307") => StoreFailure::Region,
            Some(status) if status.starts_with('5') => StoreFailure::Unreachable,
            _ => StoreFailure::Other,
        });
    }
    let mut last: &dyn std::error::Error = error;
    while let Some(source) = last.source() {
        last = source;
    }
    if last.to_string().contains("URL scheme is not allowed") {
        let reason = "the endpoint begins with http://, so that others could read along";
        return (StoreFailure::PlainHttp, reason.to_owned());
    }
    if text.contains("HTTP error") {
        return (
            StoreFailure::Unreachable,
            scrubbed(&last.to_string(), secrets),
        );
    }
    let said = match error {
        object_store::Error::Generic { source, .. } => source.to_string(),
        _ => text,
    };
    (StoreFailure::Other, scrubbed(&said, secrets))
}

fn between<'a>(text: &'a str, before: &str, after: &str) -> Option<&'a str> {
    let (_, rest) = text.split_once(before)?;
    Some(rest.split_once(after)?.0)
}

fn is_word(text: &str) -> bool {
    (1..=60).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_alphanumeric())
}

/// A sentence of one line, without any of the secrets and without what a URL's query says.
fn scrubbed(text: &str, secrets: &[String]) -> String {
    let mut text: String = text
        .chars()
        .map(|char| if char.is_control() { ' ' } else { char })
        .take(REASON_CHARS)
        .collect();
    for secret in secrets {
        text = text.replace(secret.as_str(), "…");
        // Cut at the end, its beginning is left.
        let begun = (4..secret.len()).rev().find(|end| {
            secret
                .get(..*end)
                .is_some_and(|start| text.ends_with(start))
        });
        if let Some(end) = begun {
            text.truncate(text.len() - end);
            text.push('…');
        }
    }
    let words = text.split(' ').map(|word| match word.split_once('?') {
        Some((address, _)) if word.contains("://") => format!("{address}?…"),
        _ => word.to_owned(),
    });
    words.collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn generic(text: &str) -> object_store::Error {
        object_store::Error::Generic {
            store: "S3",
            source: text.to_owned().into(),
        }
    }

    fn shown(text: &str) -> (StoreFailure, String) {
        let url = StoreUrl::parse("s3://bucket/key").unwrap();
        let secrets = ["wJalrXUtnFEMI".to_owned()];
        let error = of_request(&url, "reading it", &generic(text), &secrets);
        let Error::Store { failure, .. } = &error else {
            panic!("{error}");
        };
        (*failure, format!("{error} {error:?}"))
    }

    #[test]
    fn an_answer_is_told_by_status_and_code_and_not_by_what_it_quotes() {
        let (failure, said) = shown(
            "Error performing GET http://h/key in 1ms - Server returned non-2xx status code: 403 Forbidden: \
             <Error><Code>SignatureDoesNotMatch</Code><AWSAccessKeyId>AKIAEXAMPLE</AWSAccessKeyId>\
             <StringToSign>wJalrXUtnFEMI</StringToSign></Error>",
        );
        assert_eq!(failure, StoreFailure::Denied);
        assert!(said.contains("403 SignatureDoesNotMatch"), "{said}");
        assert!(said.contains("AWS_SECRET_ACCESS_KEY"), "{said}");
        assert!(!said.contains("AKIA") && !said.contains("wJalr"), "{said}");
    }

    #[test]
    fn a_secret_is_cut_from_any_sentence_and_so_is_a_query() {
        let (failure, said) = shown("no such key wJalrXUtnFEMI at https://h/c?sig=abc%3D in it");
        assert_eq!(failure, StoreFailure::Other);
        assert!(
            said.contains("no such key … at https://h/c?… in it"),
            "{said}"
        );
        assert!(!said.contains("sig="), "{said}");
        let long = format!("{} wJalrXUtnFEMI", "x".repeat(REASON_CHARS - 8));
        assert!(!shown(&long).1.contains("wJalr"));
    }

    #[test]
    fn who_asks_the_machine_for_credentials_has_none() {
        let (failure, said) = shown("Error performing PUT http://169.254.169.254/latest in 5s");
        assert_eq!(failure, StoreFailure::NoCredentials);
        assert!(said.contains("set AWS_ACCESS_KEY_ID"), "{said}");
    }
}
