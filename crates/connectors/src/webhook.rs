//! A chat webhook: one JSON body after the other, sent until taken or refused.
//!
//! ```text
//!   2xx                          sent
//!   408, 425, 429, 5xx, no answer   again: after Retry-After, else 1 s, 2 s, 4 s … each ± jitter
//!   any other answer             refused, and not tried again
//! ```
//!
//! Redirections count as refusals: a webhook that moved must be configured anew, since following
//! would hand the message to whoever sent the redirection.
//!
//! The URL is a secret, for whoever has it can post. It appears in no error and no log line, and so
//! none of the HTTP client's own messages do either, since some quote it.

use std::fmt;
use std::io::Read;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde_json::Value;
use ureq::Agent;
use ureq::http::{HeaderMap, Uri};
use ureq::tls::{RootCerts, TlsConfig, TlsProvider};

use crate::{Error, Result};

/// How much of an answer's body is read, so that the connection can be used again.
const ANSWER_MAX: u64 = 64 << 10;

/// A webhook's URL. Shows itself as `…`.
#[derive(Clone, PartialEq, Eq)]
pub struct SecretUrl(String);

impl SecretUrl {
    /// Takes an `http` or `https` URL with a host.
    ///
    /// # Errors
    ///
    /// [`Error::Url`], which does not quote it.
    pub fn new(url: impl Into<String>) -> Result<SecretUrl> {
        let url = url.into().trim().to_owned();
        let parsed: Uri = url.parse().map_err(|_| Error::Url {
            expected: "https://host/path",
        })?;
        if !matches!(parsed.scheme_str(), Some("http" | "https")) || parsed.host().is_none() {
            return Err(Error::Url {
                expected: "https://host/path",
            });
        }
        Ok(SecretUrl(url))
    }
}

impl fmt::Debug for SecretUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SecretUrl(…)")
    }
}

/// Where messages are sent, and how often they are tried.
#[derive(Clone, Debug)]
pub struct WebhookConfig {
    /// The URL to post to.
    pub url: SecretUrl,
    /// How long one try may take. 5 s by default, so that a stop within a try is in time.
    pub timeout: Duration,
    /// How often a message is tried before it is given up; at least 1. 8 by default.
    pub tries_max: u32,
    /// The pause after the first try. 1 s by default; it doubles with each.
    pub backoff: Duration,
    /// The longest pause. 60 s by default.
    pub backoff_max: Duration,
    /// The longest `Retry-After` that is obeyed. 10 min by default; what asks for more gets this.
    pub retry_after_max: Duration,
    /// The seed of the jitter; instances should differ in it.
    pub seed: u64,
}

impl WebhookConfig {
    /// The defaults for this URL.
    pub fn new(url: SecretUrl, seed: u64) -> WebhookConfig {
        WebhookConfig {
            url,
            timeout: Duration::from_secs(5),
            tries_max: 8,
            backoff: Duration::from_secs(1),
            backoff_max: Duration::from_secs(60),
            retry_after_max: Duration::from_secs(600),
            seed,
        }
    }
}

/// What became of a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It was taken.
    Sent {
        /// The tries that it took.
        tries: u32,
    },
    /// It will never be taken.
    Refused {
        /// The answer.
        failure: Failure,
        /// The tries until then.
        tries: u32,
    },
    /// It was not taken by the last try.
    GaveUp {
        /// What went wrong at the last one.
        failure: Failure,
        /// The tries.
        tries: u32,
    },
    /// A stop was asked for first; whether it was taken is not known.
    Stopped,
}

/// Why a try failed. Names no URL and no host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Failure {
    /// The answer's status was none of success.
    Status(u16),
    /// No answer in time.
    Timeout,
    /// The host's name was not found.
    HostNotFound,
    /// The connection could not be made, or broke.
    Connection(std::io::ErrorKind),
    /// The other side's certificate or protocol was not accepted.
    Tls,
    /// What came back was no HTTP.
    Protocol,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Failure::Status(status) => write!(f, "the webhook answered {status}"),
            Failure::Timeout => f.write_str("the webhook did not answer in time"),
            Failure::HostNotFound => f.write_str("the webhook's host was not found"),
            Failure::Connection(kind) => write!(f, "no connection to the webhook: {kind}"),
            Failure::Tls => f.write_str("the webhook's certificate was not accepted"),
            Failure::Protocol => f.write_str("the webhook did not answer in HTTP"),
        }
    }
}

/// Asks whoever holds a clone to stop; pauses end at once.
#[derive(Clone, Debug, Default)]
pub struct StopFlag(Arc<(Mutex<bool>, Condvar)>);

impl StopFlag {
    /// One that is not set.
    pub fn new() -> StopFlag {
        StopFlag::default()
    }

    /// Sets it, for good.
    pub fn set(&self) {
        *self.0.0.lock().unwrap_or_else(PoisonError::into_inner) = true;
        self.0.1.notify_all();
    }

    /// Whether it is set.
    pub fn is_set(&self) -> bool {
        *self.0.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Pauses for so long, or until it is set; returns whether it is.
    pub fn pause(&self, duration: Duration) -> bool {
        let deadline = Instant::now() + duration;
        let mut set = self.0.0.lock().unwrap_or_else(PoisonError::into_inner);
        while !*set {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                break;
            }
            set = self
                .0
                .1
                .wait_timeout(set, left)
                .unwrap_or_else(PoisonError::into_inner)
                .0;
        }
        *set
    }
}

/// Sends messages, one at a time, over one connection where the other side keeps it.
pub struct Webhook {
    config: WebhookConfig,
    agent: Agent,
    jitter: ChaCha8Rng,
}

/// What one try led to.
enum Try {
    Sent,
    Refused(Failure),
    Again(Failure, Option<Duration>),
}

impl Webhook {
    /// Makes the client; nothing is sent yet.
    pub fn new(config: WebhookConfig) -> Webhook {
        // The system's OpenSSL with the system's certificates, as the rest of the machine.
        let tls = TlsConfig::builder()
            .provider(TlsProvider::NativeTls)
            .root_certs(RootCerts::PlatformVerifier)
            .build();
        let agent = Agent::config_builder()
            .timeout_global(Some(config.timeout))
            .http_status_as_error(false)
            .max_redirects(0)
            .max_redirects_will_error(false)
            .user_agent(concat!("keyhawk/", env!("CARGO_PKG_VERSION")))
            .tls_config(tls)
            .build()
            .new_agent();
        let jitter = ChaCha8Rng::seed_from_u64(config.seed);
        Webhook {
            config,
            agent,
            jitter,
        }
    }

    /// Sends a body, trying again as the module says. Blocks, for minutes if need be; the flag ends
    /// a pause at once and a try within the time-out.
    pub fn send(&mut self, body: &Value, stop: &StopFlag) -> Outcome {
        let body = body.to_string();
        let mut tries = 0;
        loop {
            if stop.is_set() {
                return Outcome::Stopped;
            }
            tries += 1;
            let tried = self.attempt(&body);
            let label = match &tried {
                Try::Sent => "ok",
                Try::Refused(_) => "refused",
                Try::Again(..) => "retry",
            };
            metrics::counter!("keyhawk_webhook_attempts_total", "result" => label).increment(1);
            match tried {
                Try::Sent => return Outcome::Sent { tries },
                Try::Refused(failure) => return Outcome::Refused { failure, tries },
                Try::Again(failure, _) if tries >= self.config.tries_max => {
                    return Outcome::GaveUp { failure, tries };
                }
                Try::Again(failure, wanted) => {
                    let pause = self.pause(tries, wanted);
                    tracing::info!(
                        tries,
                        pause_ms = u64::try_from(pause.as_millis()).unwrap_or(u64::MAX),
                        "a chat message is tried again: {failure}"
                    );
                    if stop.pause(pause) {
                        return Outcome::Stopped;
                    }
                }
            }
        }
    }

    fn attempt(&self, body: &str) -> Try {
        let sent = self
            .agent
            .post(&self.config.url.0)
            .header("Content-Type", "application/json")
            .send(body);
        let mut answer = match sent {
            Ok(answer) => answer,
            Err(error) => return Try::Again(failure(&error), None),
        };
        let status = answer.status().as_u16();
        let wanted = retry_after(answer.headers(), SystemTime::now());
        let body = answer.body_mut().as_reader().take(ANSWER_MAX);
        // What it says is of no use; an error here does not undo the status.
        drop(std::io::copy(&mut { body }, &mut std::io::sink()));
        match status {
            200..=299 => Try::Sent,
            408 | 425 | 429 | 500..=599 => Try::Again(Failure::Status(status), wanted),
            _ => Try::Refused(Failure::Status(status)),
        }
    }

    /// The pause after so many tries: what the other side asked for, and up to a tenth more; else
    /// the doubling one, of which the upper half is random. So instances that failed together do
    /// not come back together.
    fn pause(&mut self, tries: u32, wanted: Option<Duration>) -> Duration {
        let config = &self.config;
        if let Some(wanted) = wanted {
            let wanted = wanted.min(config.retry_after_max);
            return wanted + wanted.mul_f64(self.jitter.random_range(0.0..0.1));
        }
        let doubled = config.backoff.saturating_mul(1 << (tries - 1).min(20));
        doubled
            .min(config.backoff_max)
            .mul_f64(self.jitter.random_range(0.5..1.0))
    }
}

/// `Retry-After` (RFC 9110, section 10.2.3): seconds, or a date.
fn retry_after(headers: &HeaderMap, now: SystemTime) -> Option<Duration> {
    let value = headers.get("retry-after")?.to_str().ok()?.trim();
    if let Ok(seconds) = value.parse::<u64>() {
        return Some(Duration::from_secs(seconds));
    }
    let date = httpdate::parse_http_date(value).ok()?;
    // A date that is past says: at once.
    Some(date.duration_since(now).unwrap_or(Duration::ZERO))
}

/// The kind of the HTTP client's error alone: its text may quote the URL.
fn failure(error: &ureq::Error) -> Failure {
    match error {
        ureq::Error::Timeout(_) => Failure::Timeout,
        ureq::Error::HostNotFound => Failure::HostNotFound,
        ureq::Error::Io(error) => Failure::Connection(error.kind()),
        ureq::Error::ConnectionFailed => Failure::Connection(std::io::ErrorKind::NotConnected),
        ureq::Error::Tls(_) | ureq::Error::NativeTls(_) => Failure::Tls,
        _ => Failure::Protocol,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn webhook(url: &str) -> Webhook {
        Webhook::new(WebhookConfig::new(SecretUrl::new(url).unwrap(), 1))
    }

    fn headers(value: &str) -> HeaderMap {
        HeaderMap::from_iter([("retry-after".parse().unwrap(), value.parse().unwrap())])
    }

    #[test]
    fn retry_after_is_read_as_seconds_and_as_a_date() {
        let now = httpdate::parse_http_date("Tue, 24 Nov 2026 12:00:00 GMT").unwrap();
        assert_eq!(
            retry_after(&headers("7"), now),
            Some(Duration::from_secs(7))
        );
        let date = "Tue, 24 Nov 2026 12:01:30 GMT";
        assert_eq!(
            retry_after(&headers(date), now),
            Some(Duration::from_secs(90))
        );
        let past = "Tue, 24 Nov 2026 11:00:00 GMT";
        assert_eq!(retry_after(&headers(past), now), Some(Duration::ZERO));
        assert_eq!(retry_after(&headers("soon"), now), None);
        assert_eq!(retry_after(&HeaderMap::new(), now), None);
    }

    #[test]
    fn pauses_double_up_to_the_longest_and_repeat_with_the_seed() {
        let pauses = |mut webhook: Webhook| -> Vec<Duration> {
            (1..12).map(|tries| webhook.pause(tries, None)).collect()
        };
        let first = pauses(webhook("https://chat.example/hook"));
        assert_eq!(first, pauses(webhook("https://chat.example/hook")));
        for (index, pause) in first.iter().enumerate() {
            let most = Duration::from_secs((1 << index).min(60));
            assert!(*pause >= most / 2 && *pause < most, "{index}: {pause:?}");
        }
    }

    #[test]
    fn what_the_other_side_asks_for_is_waited_for_up_to_a_limit() {
        let mut webhook = webhook("https://chat.example/hook");
        let pause = webhook.pause(1, Some(Duration::from_secs(30)));
        assert!(
            pause >= Duration::from_secs(30) && pause < Duration::from_secs(34),
            "{pause:?}"
        );
        let pause = webhook.pause(1, Some(Duration::from_secs(86_400)));
        assert!(pause < Duration::from_secs(661), "{pause:?}");
    }

    #[test]
    fn the_url_shows_in_no_debug_output_and_no_error() {
        let config =
            WebhookConfig::new(SecretUrl::new("https://chat.example/T0SECRET").unwrap(), 1);
        assert!(!format!("{config:?}").contains("SECRET"));
        for bad in [
            "chat.example/T0SECRET",
            "ftp://chat.example/T0SECRET",
            "https://T0SECRET bad",
        ] {
            let error = SecretUrl::new(bad).unwrap_err();
            assert!(!format!("{error} {error:?}").contains("SECRET"), "{error}");
        }
    }
}
