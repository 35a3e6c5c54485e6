//! What files are taken, what they mean, and how the others are refused.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::time::Duration;

use keyhawk_alerts::{Action, GuardConfig, Mode};
use keyhawk_connectors::kafka::{Properties, SourceConfig, StartAt};

use super::keys::SECTIONS;
use super::*;

const BASE: &str = "/etc/keyhawk";

fn read_with(text: &str, environment: resolve::Environment<'_>) -> Result<Config, Error> {
    parse::parse(Path::new("keyhawk.toml"), text)
        .and_then(|file| resolve::resolve(file, Path::new(BASE), environment))
}

fn read(text: &str) -> Result<Config, Error> {
    read_with(text, &|_| None)
}

/// The message of a refused file.
#[track_caller]
fn refusal(text: &str) -> String {
    match read(text) {
        Ok(config) => panic!("taken as {config:?}"),
        Err(error) => error.to_string(),
    }
}

#[test]
fn an_empty_file_means_the_defaults() {
    let config = read("").unwrap();
    assert_eq!(config, defaults(Path::new(BASE)));
    assert_eq!(config.deployment, "keyhawk");
    assert_eq!(config.kafka.brokers, ["localhost:9092"]);
    let source = SourceConfig::new("localhost:9092", "keyhawk", ["api-access"]);
    assert_eq!(config.kafka.client_id, source.client_id);
    assert_eq!(config.kafka.instance_id, source.instance_id);
    assert_eq!(config.kafka.start_at, source.start_at);
    assert_eq!(config.kafka.batch_rows, source.batch_rows);
    assert_eq!(config.kafka.batch_bytes, source.batch_bytes);
    assert_eq!(config.kafka.batch_wait, source.batch_wait);
    assert_eq!(config.kafka.prefetch_batches, source.prefetch_batches);
    assert_eq!(config.kafka.watchdog, source.stall);
    let topic = &config.topics[keys::DEFAULT_TOPIC];
    assert_eq!(
        topic.identity,
        [IdentityField::KeyId, IdentityField::ApiKey]
    );
    assert_eq!(topic.time, TopicTime::End);
    assert_eq!(topic.lateness, Duration::from_secs(10));
    assert_eq!(topic.future, Duration::from_secs(60));
    assert!(!topic.dead_letter_payload);
    assert_eq!(config.output.shadow, "keyhawk.commands.shadow");
    assert_eq!(config.rules.dir, Path::new("/etc/keyhawk/sql"));
    assert_eq!(config.guard, GuardConfig::default());
    assert_eq!(config.chat.webhook, None);
    assert_eq!(
        config.console.listen,
        SocketAddr::from(([127, 0, 0, 1], 9187))
    );
    assert_eq!(config.log.format, LogFormat::Text);
    assert!(matches!(
        config.fingerprint_secret(),
        Err(Error::NoFingerprintSecret)
    ));
}

#[test]
fn the_sample_parses_to_the_defaults_as_it_stands_and_with_every_key_active() {
    let defaults = read("").unwrap();
    assert_eq!(read(&sample()).unwrap(), defaults);
    let active = sample::render(true);
    assert_eq!(read(&active).unwrap(), defaults);
    for section in SECTIONS {
        for key in section.keys {
            let line = format!("\n{} = ", key.name);
            let is_active = active.contains(&line);
            assert_eq!(
                is_active,
                matches!(key.default, keys::Default::Value(_)),
                "{}",
                key.name
            );
        }
    }
}

#[test]
fn the_examples_of_the_sample_are_taken() {
    let environment = |name: &str| match name {
        "KEYHAWK_SECRET" | "KAFKA_PASSWORD" => Some("an example, of 16 or more".to_owned()),
        _ => None,
    };
    let text: String = sample()
        .lines()
        .filter(|line| !line.contains("webhook = "))
        .map(|line| match line.strip_prefix('#') {
            Some(setting) if !setting.starts_with(' ') => format!("{setting}\n"),
            _ => format!("{line}\n"),
        })
        .collect();
    let config = read_with(&text, &environment).unwrap();
    assert!(config.fingerprint_secret().is_ok());
    assert!(format!("{:?}", config.kafka.properties).contains("security.protocol"));
}

#[test]
fn the_sample_file_is_the_generated_one() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../testdata/keyhawk.sample.toml");
    if std::env::var_os("KEYHAWK_BLESS").is_some() {
        std::fs::write(&path, sample()).unwrap();
    }
    let stored = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(
        stored == sample(),
        "{} is not what the list of keys gives; write it anew with KEYHAWK_BLESS=1",
        path.display()
    );
}

#[test]
fn every_key_is_documented_and_stands_once() {
    let mut seen = BTreeSet::new();
    for section in SECTIONS {
        for key in section.keys {
            assert!(seen.insert((section.name, key.name)), "{} twice", key.name);
            assert!(
                key.doc.ends_with('.') && !key.takes.is_empty(),
                "{}",
                key.name
            );
        }
    }
}

#[test]
fn every_key_is_read() {
    for section in SECTIONS {
        for key in section.keys {
            let table = match section.name {
                "" => String::new(),
                keys::TOPIC => format!("[topics.{}]\n", keys::DEFAULT_TOPIC),
                name => format!("[{name}]\n"),
            };
            let message = refusal(&format!("{table}{} = 1979-05-27", key.name));
            assert!(
                message.starts_with(&format!("`{}`: ", key.name)),
                "{message}"
            );
            assert!(message.contains(key.takes), "{message}");
        }
    }
}

#[test]
fn values_are_written_as_people_write_them() {
    let config = read(
        r#"
        deployment = "eu"
        kafka.batch_wait = "0.5s"
        kafka.batch_bytes = "1.5 GiB"
        kafka.start_at = "latest"
        kafka.instance_id = "hawk-1"
        geoip.city = "city.mmdb"
        geoip.asn = ["asn4.mmdb", "/geo/asn6.mmdb"]
        [topics."edge.access"]
        identity = ["consumer_id"]
        time = "start"
        lateness = "2m 30s"
        "#,
    )
    .unwrap();
    assert_eq!(config.kafka.batch_wait, Duration::from_millis(500));
    assert_eq!(config.kafka.batch_bytes, 3 << 29);
    assert_eq!(config.kafka.start_at, StartAt::Latest);
    assert_eq!(config.kafka.instance_id.as_deref(), Some("hawk-1"));
    assert_eq!(config.geoip.city, [Path::new("/etc/keyhawk/city.mmdb")]);
    let asn = [
        Path::new("/etc/keyhawk/asn4.mmdb"),
        Path::new("/geo/asn6.mmdb"),
    ];
    assert_eq!(config.geoip.asn, asn);
    assert_eq!(config.topics.len(), 1);
    let topic = &config.topics["edge.access"];
    assert_eq!(topic.identity, [IdentityField::ConsumerId]);
    assert_eq!(topic.time, TopicTime::Start);
    assert_eq!(topic.lateness, Duration::from_secs(150));
    assert_eq!(topic.future, Duration::from_secs(60));
}

#[test]
fn unknown_key_is_refused_with_the_nearest_name() {
    assert_eq!(
        refusal("deployment = \"eu\"\n\n[kafka]\ngrup_id = \"hawks\"\n"),
        "[kafka] has no key `grup_id`\n \
         --> keyhawk.toml:4:1\n  \
         |\n\
         4 | grup_id = …\n  \
         | ^^^^^^^\n  \
         = help: did you mean `group_id`?"
    );
}

#[test]
fn unknown_names_get_the_help_that_fits() {
    for (text, help) in [
        ("[kafak]", "did you mean [kafka]?"),
        ("deploymnt = 'x'", "did you mean `deployment`?"),
        ("brokers = ['a:1']", "`brokers` belongs below [kafka]"),
        (
            "[log]\nlisten = '127.0.0.1:1'",
            "`listen` belongs below [console]",
        ),
        (
            "[log]\ndeployment = 'x'",
            "`deployment` belongs at the top of the file",
        ),
        ("[log]\nzzzzzz = 1", "[log] has the keys `format`, `level`"),
        (
            "quux = 1",
            "`keyhawk.sample.toml` shows all tables and keys",
        ),
        ("[topics.a]\nlatenes = '1s'", "did you mean `lateness`?"),
        (
            "[topics.edge.access]\nlateness = '1s'",
            "a topic's name that holds a dot is written in quotes",
        ),
    ] {
        let message = refusal(text);
        assert!(
            message.contains(&format!("= help: {help}")),
            "{text}\n{message}"
        );
    }
}

#[test]
fn wrong_value_is_marked_with_what_the_key_takes() {
    assert_eq!(
        refusal("[topics.access]\nlateness = 10\n"),
        "`lateness`: expected a duration such as \"5m\", \"250ms\" or \"1.5s\", found an integer\n \
         --> keyhawk.toml:2:12\n  \
         |\n\
         2 | lateness = 10\n  \
         |            ^^\n  \
         = help: `lateness` takes a duration"
    );
    for (text, reason) in [
        ("kafka.batch_bytes = '4 bananas'", "expected a size such as"),
        ("kafka.batch_rows = -1", "zero or more, found -1"),
        (
            "kafka.batch_rows = 99999999999999999999999",
            "found 99999999999999999999999",
        ),
        ("kafka.brokers = 'a:1'", "expected a list, found a string"),
        (
            "kafka.brokers = ['a:1', 2]",
            "expected a text that is not empty, found an integer",
        ),
        ("kafka = 3", "expected a table, [kafka]"),
        ("topics.a = 3", "expected a table, [topics.a]"),
        (
            "guard.mode = 'on'",
            "expected \"shadow\" or \"auto\", found \"on\"",
        ),
        (
            "console.listen = 'localhost'",
            "expected an address and a port",
        ),
        ("chat.show_address = 'yes'", "expected true or false"),
        ("output.alerts = ' '", "a text that is not empty"),
    ] {
        let message = refusal(text);
        assert!(message.contains(reason), "{text}\n{message}");
    }
}

#[test]
fn text_that_is_not_toml_is_refused_at_its_place() {
    let message = refusal("[kafka]\nbrokers = [\"a:1\"\ngroup_id = \"x\"\n");
    assert!(message.starts_with("not TOML: "), "{message}");
    assert!(message.contains("--> keyhawk.toml:"), "{message}");
    let message = refusal("deployment = \"a\"\ndeployment = \"b\"\n");
    assert!(message.contains("keyhawk.toml:2:1"), "{message}");
}

#[test]
fn secrets_come_from_files_and_variables() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("hmac"), "0123456789abcdef0123\r\n").unwrap();
    let path = folder.path().join("keyhawk.toml");
    std::fs::write(&path, "[identity]\nsecret = { file = \"hmac\" }\n").unwrap();
    let config = load(&path).unwrap();
    assert_eq!(
        config.fingerprint_secret().unwrap().expose(),
        "0123456789abcdef0123"
    );

    let text =
        "[chat]\nwebhook = { env = \"HOOK\" }\n[kafka.properties]\nsasl.password.env = \"PASS\"\n";
    let config = read_with(text, &|name| match name {
        "HOOK" => Some("https://chat.example/hook/T0".to_owned()),
        "PASS" => Some("swordfish".to_owned()),
        _ => None,
    })
    .unwrap();
    assert_eq!(
        config.chat.webhook.as_ref().unwrap().expose(),
        "https://chat.example/hook/T0"
    );
    let properties = Properties::new([("sasl.password", "swordfish")]).unwrap();
    assert_eq!(config.kafka.properties, properties);
    let debug = format!("{config:?}");
    assert!(
        !debug.contains("swordfish") && !debug.contains("chat.example"),
        "{debug}"
    );
}

#[test]
fn a_secret_in_plain_text_is_refused_and_not_repeated() {
    const RAW: &str = "s3cr3t-Value";
    for text in [
        format!("[identity]\nsecret = \"{RAW}\""),
        format!("identity = {{ secret = \"{RAW}\", prefixs = [] }}"),
        format!("[identity]\nsecret = [\n  \"{RAW}\",\n]"),
        format!("[identity]\nsecrt = \"{RAW}\""),
        format!("[identity]\nsecret = {RAW}"),
        format!("[identity]\nsecret = \"{RAW}"),
        format!("[identity]\nsecret = \"\"\"\n{RAW}\\q\n\"\"\""),
        format!("[identity]\nsecret = {{ fil = \"{RAW}\" }}"),
        format!("[chat]\nwebhook = 'https://chat.example/{RAW}'"),
        format!("[kafka.properties]\nsasl.password = \"{RAW}\""),
        format!("[kafka.properties]\n\"sasl.password\" = \"{RAW}\""),
        format!("[kafka.properties]\nsasl.password = [\"{RAW}\"]"),
        format!("[kafka.properties]\nssl.key.pem = '''\n{RAW}\n'''"),
    ] {
        let error = read(&text).unwrap_err();
        let shown = format!("{error}\n{error:?}");
        assert!(
            !shown.contains("s3cr3t") && !shown.contains("Value\n"),
            "{text}\n{shown}"
        );
    }
    assert_eq!(
        refusal("[identity]\nsecret = \"s3cr3t\"\n"),
        "`secret` is a secret and must not stand in the configuration file\n \
         --> keyhawk.toml:2:10\n  \
         |\n\
         2 | secret = …\n  \
         |          ^\n  \
         = help: write `secret = { file = \"path\" } or { env = \"NAME\" }`, and change the \
         secret if this file was shared"
    );
}

#[test]
fn a_secret_that_is_not_there_or_too_short_is_refused() {
    let message = refusal("[identity]\nsecret = { env = \"KH\" }");
    assert!(
        message.contains("the environment variable KH is not set"),
        "{message}"
    );
    assert!(message.contains("keyhawk.toml:2:10"), "{message}");
    let message = refusal("[identity]\nsecret = { file = \"absent\" }");
    assert!(
        message.contains("cannot read the secret /etc/keyhawk/absent"),
        "{message}"
    );

    let text = "[identity]\nsecret = { env = \"KH\" }\n[chat]\nwebhook = { env = \"HOOK\" }";
    for (secret, hook, problem) in [
        (
            "tooshort",
            "https://c.example",
            "shorter than 16 characters",
        ),
        (
            "\n",
            "https://c.example",
            "the environment variable KH is empty",
        ),
        (
            "0123456789abcdef",
            "chat.example/hook",
            "not a URL that begins with https://",
        ),
    ] {
        let environment = |name: &str| Some(if name == "KH" { secret } else { hook }.to_owned());
        let message = read_with(text, &environment).unwrap_err().to_string();
        assert!(message.contains(problem), "{message}");
        assert!(
            !message.contains("tooshort") && !message.contains("chat.example"),
            "{message}"
        );
    }
}

#[test]
fn properties_keep_their_names_however_they_are_written() {
    let config = read(
        r#"
        [kafka.properties]
        security.protocol = "SSL"
        "ssl.ca.location" = "/etc/ca.pem"
        socket.keepalive.enable = true
        fetch.max.bytes = 1048576
        "#,
    )
    .unwrap();
    let properties = [
        ("fetch.max.bytes", "1048576"),
        ("security.protocol", "SSL"),
        ("socket.keepalive.enable", "true"),
        ("ssl.ca.location", "/etc/ca.pem"),
    ];
    assert_eq!(
        config.kafka.properties,
        Properties::new(properties).unwrap()
    );
}

#[test]
fn properties_of_the_delivery_protocol_are_refused_by_name() {
    for property in [
        "isolation.level",
        "enable.auto.commit",
        "enable.auto.offset.store",
        "acks",
        "enable.idempotence",
        "transactional.id",
        "group.id",
        "bootstrap.servers",
    ] {
        for name in [property.to_owned(), format!("\"{property}\"")] {
            let message = refusal(&format!("[kafka.properties]\n{name} = \"x\""));
            assert!(message.contains(property), "{message}");
            let place = format!("--> keyhawk.toml:2:{}", name.len() + 4);
            assert!(message.contains(&place), "{message}");
        }
    }
}

#[test]
fn contradictions_are_refused() {
    for (text, problem) in [
        (
            "output.alerts = 'a'\n[topics.a]",
            "`a` is both read and written",
        ),
        (
            "output.shadow = 'keyhawk.commands'",
            "already that of `commands`",
        ),
        (
            "chat.dead_letter = 'keyhawk.dead'",
            "already that of `dead_letter`",
        ),
        (
            "chat.group_id = 'keyhawk'",
            "share the consumer group `keyhawk`",
        ),
        ("guard.mode = 'auto'", "without any rule in `auto_rules`"),
        (
            "guard = { mode = 'auto', auto_rules = ['r'], budget_per_hour = 0 }",
            "budget of no commands",
        ),
        (
            "guard = { mode = 'auto', auto_rules = ['r'], auto_actions = [] }",
            "without any action",
        ),
        (
            "kafka.brokers = []",
            "`kafka.brokers` must not be zero or empty",
        ),
        (
            "kafka.batch_rows = 0",
            "`kafka.batch_rows` must not be zero",
        ),
        ("geoip.reload = '0s'", "`geoip.reload` must not be zero"),
        ("chat.max_tries = 0", "`chat.max_tries` must not be zero"),
        ("[topics.a]\nidentity = []", "would be anybody's"),
        (
            "[topics.a]\nidentity = ['key_id', 'key_id']",
            "stands twice",
        ),
        ("log.level = 'inof'", "is no log level"),
    ] {
        let message = refusal(text);
        assert!(message.contains(problem), "{text}\n{message}");
        assert!(message.contains("= help: "), "{message}");
    }
    let text = "guard = { mode = 'auto', auto_rules = ['rate_spike'], auto_actions = ['revoke'] }";
    let guard = read(text).unwrap().guard;
    assert_eq!(guard.mode, Mode::Auto);
    assert_eq!(
        guard.auto_actions.into_iter().collect::<Vec<_>>(),
        [Action::Revoke]
    );
}

#[test]
fn a_missing_file_is_named() {
    let message = load(Path::new("/nonexistent/keyhawk.toml"))
        .unwrap_err()
        .to_string();
    assert!(message.starts_with("cannot read the configuration /nonexistent/keyhawk.toml: "));
}

#[test]
fn any_cut_of_the_sample_is_taken_or_refused_without_a_panic() {
    let text = sample::render(true);
    for (at, _) in text.char_indices().step_by(7) {
        if let Err(error) = read(&text[..at]) {
            assert!(!error.to_string().is_empty());
        }
    }
}
