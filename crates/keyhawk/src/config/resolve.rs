//! The second step: what the file means. Paths become absolute (relative ones begin at the file's
//! folder), secrets are read, and what cannot hold together is refused.

use std::collections::BTreeMap;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::time::Duration;

use keyhawk_alerts::Mode;
use keyhawk_connectors::StoreUrl;
use keyhawk_connectors::kafka::Properties;

use super::document::Document;
use super::error::Error;
use super::parse::{File, Property, PropertyValue};
use super::{Archive, ArchiveTo, Config, Secret, SecretSource};

/// A shorter key of an HMAC could be guessed by whoever knows one credential and its fingerprint:
/// 16 characters of hexadecimal are 64 bits, of anything else rather more.
const FINGERPRINT_SECRET_LEN_MIN: usize = 16;

/// Reads environment variables; a parameter, so that tests need not change the process's own.
pub(super) type Environment<'e> = &'e dyn Fn(&str) -> Option<String>;

/// Turns what the file says into what it means. `base` is the folder of the file, absolute.
pub(super) fn resolve(
    file: File<'_>,
    base: &Path,
    environment: Environment<'_>,
) -> Result<Config, Error> {
    let File {
        document,
        mut settings,
        fingerprint_secret,
        webhook,
        spool,
        properties,
    } = file;
    refuse_zeros(&document, &settings)?;
    refuse_contradictions(&document, &settings)?;

    settings.rules.dir = base.join(&settings.rules.dir);
    for paths in [
        &mut settings.geoip.city,
        &mut settings.geoip.asn,
        &mut settings.geoip.anonymous,
    ] {
        for path in paths.iter_mut() {
            *path = base.join(&*path);
        }
    }

    let archive = &mut settings.archive;
    if let Some(Archive { to, .. }) = archive {
        *to = archive_to(&document, base, to, spool)?;
    }
    settings.rules.tables_history = match settings.rules.tables_history.take() {
        Some(folder) => Some(folder_of(
            &document,
            base,
            &["rules", "tables_history"],
            &folder,
        )?),
        None => match archive.as_ref().map(|archive| &archive.to) {
            Some(ArchiveTo::Folder(folder)) => Some(folder.join("tables")),
            // Versions are told by an index that grows line by line, which an object store has not.
            Some(ArchiveTo::Store { .. }) | None => None,
        },
    };

    let secrets = Secrets {
        document: &document,
        base,
        environment,
    };
    if let Some(source) = fingerprint_secret {
        let path = ["identity", "secret"];
        let secret = secrets.read(&source, document.span_of(&path))?;
        if secret.expose().len() < FINGERPRINT_SECRET_LEN_MIN {
            let problem = format!(
                "the secret is shorter than {FINGERPRINT_SECRET_LEN_MIN} characters; \
                 `openssl rand -hex 32` makes a good one"
            );
            return Err(Error::Secret {
                place: document.place_of(&path),
                problem,
            });
        }
        settings.identity.secret = Some(secret);
    }
    if let Some(source) = webhook {
        let path = ["chat", "webhook"];
        let url = secrets.read(&source, document.span_of(&path))?;
        if !(url.expose().starts_with("https://") || url.expose().starts_with("http://")) {
            let problem =
                "the webhook is not a URL that begins with https:// or http://".to_owned();
            return Err(Error::Secret {
                place: document.place_of(&path),
                problem,
            });
        }
        settings.chat.webhook = Some(url);
    }
    settings.kafka.properties = secrets.properties(properties)?;
    Ok(settings)
}

/// Where the archive goes: a folder, as which the file has it, or the URL of a store.
fn archive_to(
    document: &Document<'_>,
    base: &Path,
    written: &ArchiveTo,
    spool: Option<PathBuf>,
) -> Result<ArchiveTo, Error> {
    let ArchiveTo::Folder(folder) = written else {
        return Ok(written.clone());
    };
    let keys = ["archive", "folder"];
    let Some(url) = folder.to_str().filter(|text| StoreUrl::is_one(text)) else {
        let folder = folder_of(document, base, &keys, folder)?;
        return Ok(ArchiveTo::Folder(folder));
    };
    let refused = |problem: String, help| Error::Contradiction {
        place: document.place_of(&keys),
        problem,
        help,
    };
    let url = StoreUrl::parse(url)
        .map_err(|error| refused(error.to_string(), "name a bucket, and a prefix in it"))?;
    if url.key().contains(['*', '?', '[']) {
        let problem = format!("{url}: files are written below a prefix, and this is a pattern");
        return Err(refused(problem, "write it without *, ? and ["));
    }
    let spool = spool.map(|spool| folder_of(document, base, &["archive", "spool"], &spool));
    Ok(ArchiveTo::Store {
        url,
        spool: spool.transpose()?,
    })
}

/// A folder of this machine.
fn folder_of(
    document: &Document<'_>,
    base: &Path,
    keys: &[&str],
    written: &Path,
) -> Result<PathBuf, Error> {
    let folder = crate::history::local(written).map_err(|_| Error::Contradiction {
        place: document.place_of(keys),
        problem: format!("`{}` takes no such URL", keys.join(".")),
        help: match keys {
            ["archive", "folder"] => {
                "name a folder of this machine, or an object store: s3://bucket/prefix, gs://bucket/prefix, \
                 az://container/prefix"
            }
            _ => "name a folder of this machine, or of a file system that is mounted on it",
        },
    })?;
    Ok(base.join(folder))
}

/// Values of which zero, or none, would stop everything.
fn refuse_zeros(document: &Document<'_>, config: &Config) -> Result<(), Error> {
    let zeros: &[(&[&str], bool)] = &[
        (&["kafka", "brokers"], config.kafka.brokers.is_empty()),
        (&["kafka", "batch_rows"], config.kafka.batch_rows == 0),
        (&["kafka", "batch_bytes"], config.kafka.batch_bytes == 0),
        (&["kafka", "prefetch"], config.kafka.prefetch_batches == 0),
        (
            &["kafka", "watchdog"],
            config.kafka.watchdog == Duration::ZERO,
        ),
        (&["geoip", "reload"], config.geoip.reload == Duration::ZERO),
        (&["rules", "reload"], config.rules.reload == Duration::ZERO),
        (&["chat", "max_tries"], config.chat.max_tries == 0),
        (
            &["archive", "file_bytes_max"],
            config
                .archive
                .as_ref()
                .is_some_and(|archive| archive.file_bytes_max == 0),
        ),
        (
            &["archive", "file_age_max"],
            config
                .archive
                .as_ref()
                .is_some_and(|archive| archive.file_age_max.is_zero()),
        ),
    ];
    for (path, is_zero) in zeros {
        if *is_zero {
            return Err(Error::Contradiction {
                place: document.place_of(path),
                problem: format!("`{}` must not be zero or empty", path.join(".")),
                help: "leave the key out for its default",
            });
        }
    }
    for (name, topic) in &config.topics {
        if topic.identity.is_empty() {
            return Err(Error::Contradiction {
                place: document.place_of(&["topics", name, "identity"]),
                problem: format!("without an identity, no call on `{name}` would be anybody's"),
                help: "name at least one of key_id, api_key, consumer_id",
            });
        }
    }
    Ok(())
}

fn refuse_contradictions(document: &Document<'_>, config: &Config) -> Result<(), Error> {
    let refuse = |path: &[&str], problem: String, help| {
        Err(Error::Contradiction {
            place: document.place_of(path),
            problem,
            help,
        })
    };
    let Config {
        kafka,
        output,
        guard,
        chat,
        ..
    } = config;

    let mut taken: BTreeMap<&str, &str> = config
        .topics
        .keys()
        .map(|topic| (topic.as_str(), "read"))
        .collect();
    for (path, topic) in [
        (["output", "alerts"], &output.alerts),
        (["output", "commands"], &output.commands),
        (["output", "shadow"], &output.shadow),
        (["output", "late"], &output.late),
        (["output", "dead_letter"], &output.dead_letter),
        (["chat", "dead_letter"], &chat.dead_letter),
    ] {
        match taken.insert(topic, path[1]) {
            None => {}
            Some("read") => {
                let problem = format!("the topic `{topic}` is both read and written");
                return refuse(&path, problem, "write to a topic of its own");
            }
            Some(other) => {
                let problem = format!("the topic `{topic}` is already that of `{other}`");
                return refuse(&path, problem, "give each output a topic of its own");
            }
        }
    }
    if chat.group_id == kafka.group_id {
        let problem = format!(
            "chat and pipeline share the consumer group `{}`",
            chat.group_id
        );
        return refuse(
            &["chat", "group_id"],
            problem,
            "chat reads the alerts in a group of its own",
        );
    }
    if guard.mode == Mode::Auto && guard.auto_rules.is_empty() {
        let problem = "mode \"auto\" without any rule in `auto_rules`".to_owned();
        let help = "name the rules whose commands are to be given, or set the mode to \"shadow\"";
        return refuse(&["guard", "mode"], problem, help);
    }
    if guard.mode == Mode::Auto && guard.auto_actions.is_empty() {
        let problem = "mode \"auto\" without any action in `auto_actions`".to_owned();
        let help = "name the actions that are to be given, or set the mode to \"shadow\"";
        return refuse(&["guard", "auto_actions"], problem, help);
    }
    if guard.mode == Mode::Auto && guard.budget_per_hour == 0 {
        let problem = "mode \"auto\" with a budget of no commands".to_owned();
        let help = "allow at least one command an hour, or set the mode to \"shadow\"";
        return refuse(&["guard", "budget_per_hour"], problem, help);
    }
    for (name, topic) in &config.topics {
        let repeats =
            (1..topic.identity.len()).any(|i| topic.identity[..i].contains(&topic.identity[i]));
        if repeats {
            let problem = "a field stands twice in the identity".to_owned();
            return refuse(
                &["topics", name, "identity"],
                problem,
                "name each field once",
            );
        }
    }
    if let Err(problem) = crate::logging::check_level(&config.log.level) {
        let help = "write a level such as \"info\", or \"info,some_module=debug\"";
        return refuse(&["log", "level"], problem, help);
    }
    Ok(())
}

/// Reads secrets from where the file says they are.
struct Secrets<'a> {
    document: &'a Document<'a>,
    base: &'a Path,
    environment: Environment<'a>,
}

impl Secrets<'_> {
    /// The secret; `span` is where the file names its source.
    fn read(&self, source: &SecretSource, span: Range<usize>) -> Result<Secret, Error> {
        let refuse = |problem| {
            Err(Error::Secret {
                place: self.document.place(span.clone()),
                problem,
            })
        };
        let (value, shown) = match source {
            SecretSource::Env(name) => match (self.environment)(name) {
                Some(value) => (value, format!("the environment variable {name}")),
                None => {
                    return refuse(format!(
                        "the environment variable {name} is not set, or is not UTF-8"
                    ));
                }
            },
            SecretSource::File(file) => {
                let file: PathBuf = self.base.join(file);
                match std::fs::read_to_string(&file) {
                    Ok(value) => (value, format!("the file {}", file.display())),
                    Err(cause) => {
                        return refuse(format!(
                            "cannot read the secret {}: {cause}",
                            file.display()
                        ));
                    }
                }
            }
        };
        let value = value.trim_end_matches(['\r', '\n']);
        if value.is_empty() {
            return refuse(format!("{shown} is empty"));
        }
        Ok(Secret::new(value.to_owned()))
    }

    /// Properties with their values. Each is tried alone, so that a refusal has its place.
    fn properties(&self, properties: BTreeMap<String, Property>) -> Result<Properties, Error> {
        let mut values = Vec::new();
        for (name, Property { span, value }) in properties {
            let value = match value {
                PropertyValue::Plain(value) => Secret::new(value),
                PropertyValue::Secret(source) => self.read(&source, span.clone())?,
            };
            Properties::new([(name.as_str(), value.expose())]).map_err(|problem| {
                Error::Property {
                    place: self.document.place(span),
                    problem,
                }
            })?;
            values.push((name, value));
        }
        let all = values
            .iter()
            .map(|(name, value)| (name.as_str(), value.expose()));
        Properties::new(all).map_err(|problem| Error::Property {
            place: self.document.place(0..0),
            problem,
        })
    }
}
