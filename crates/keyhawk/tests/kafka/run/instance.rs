//! An installation for one test: topics, a folder with the configuration, and the binary run in it.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs::{self, File};
use std::io::{Read, Write as _};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use keyhawk::simulate;
use keyhawk_testkit::kafka::Broker;
use serde_json::Value;
use tempfile::TempDir;

use super::traffic::{PARTITIONS, PREFIX};
use super::wait_for;
use crate::Harness;

/// The secret of the fingerprints.
pub const SECRET: &str = "the secret of a test, and of no installation";
const SECRET_VARIABLE: &str = "KEYHAWK_TEST_SECRET";
/// How long a stop may take.
pub const STOP_MAX: Duration = Duration::from_secs(10);

pub struct Installation {
    folder: TempDir,
    group: String,
    pub topic: String,
    pub alerts: String,
    pub commands: String,
    pub shadow: String,
    pub late: String,
    pub dead: String,
    chat_dead: String,
}

impl Installation {
    /// Makes topics of its own, and the configuration.
    pub fn new(harness: &Harness, broker: &Broker, webhook: Option<&str>) -> Installation {
        let installation = Installation {
            folder: tempfile::tempdir().unwrap(),
            group: harness.fresh("run"),
            topic: harness.fresh("api-access"),
            alerts: harness.fresh("keyhawk.alerts"),
            commands: harness.fresh("keyhawk.commands"),
            shadow: harness.fresh("keyhawk.commands.shadow"),
            late: harness.fresh("keyhawk.late"),
            dead: harness.fresh("keyhawk.dead"),
            chat_dead: harness.fresh("keyhawk.chat.dead"),
        };
        let by_broker = [("message.timestamp.type", "LogAppendTime")];
        broker
            .create_topic(&installation.topic, PARTITIONS as i32, &by_broker)
            .unwrap();
        for topic in installation.outputs() {
            broker.create_topic(topic, 2, &[]).unwrap();
        }
        for (name, bytes) in simulate::databases() {
            fs::write(installation.folder.path().join(name), bytes).unwrap();
        }
        let text = installation.config(broker, webhook);
        fs::write(installation.config_path(), text).unwrap();
        installation
    }

    pub fn outputs(&self) -> [&str; 6] {
        [
            &self.alerts,
            &self.commands,
            &self.shadow,
            &self.late,
            &self.dead,
            &self.chat_dead,
        ]
    }

    fn config_path(&self) -> PathBuf {
        self.folder.path().join("keyhawk.toml")
    }

    /// City, ASN and Anonymous-IP.
    pub fn geo_files(&self) -> (PathBuf, PathBuf, PathBuf) {
        let path = |name: &str| self.folder.path().join(name);
        (
            path("demo-city.mmdb"),
            path("demo-asn.mmdb"),
            path("demo-anonymous.mmdb"),
        )
    }

    fn config(&self, broker: &Broker, webhook: Option<&str>) -> String {
        let sql = self.rules();
        let (city, asn, anonymous) = self.geo_files();
        let mut text = format!(
            r#"
deployment = "test"
[kafka]
brokers = ["{brokers}"]
group_id = "{group}"
batch_rows = 5000
[topics."{topic}"]
dead_letter_payload = true
[output]
alerts = "{alerts}"
commands = "{commands}"
shadow = "{shadow}"
late = "{late}"
dead_letter = "{dead}"
[identity]
secret = {{ env = "{SECRET_VARIABLE}" }}
prefixes = ["{PREFIX}"]
[geoip]
city = "{city}"
asn = "{asn}"
anonymous = "{anonymous}"
[rules]
dir = "{sql}"
[guard]
mode = "auto"
auto_rules = ["*"]
evidence_max_age = "3650d"
[console]
listen = "127.0.0.1:0"
[log]
format = "json"
level = "info,keyhawk=debug"
"#,
            brokers = broker.brokers(),
            group = self.group,
            topic = self.topic,
            alerts = self.alerts,
            commands = self.commands,
            shadow = self.shadow,
            late = self.late,
            dead = self.dead,
            city = city.display(),
            asn = asn.display(),
            anonymous = anonymous.display(),
            sql = sql.display(),
        );
        if let Some(url) = webhook {
            fs::write(self.folder.path().join("webhook"), url).unwrap();
            let (group, dead) = (&self.group, &self.chat_dead);
            write!(
                text,
                "[chat]\nwebhook = {{ file = \"webhook\" }}\ngroup_id = \"{group}-chat\"\ndead_letter = \"{dead}\"\n"
            )
            .unwrap();
        }
        text
    }

    /// The shipped rules.
    pub fn rules(&self) -> PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../../sql")
    }

    /// Rules of the test's own, looked at so often; returns their folder. Versions of tables are kept.
    pub fn own_rules(&self, every: &str) -> PathBuf {
        let dir = self.folder.path().join("own");
        let (shipped, own) = (self.rules(), dir.display());
        let text = fs::read_to_string(self.config_path()).unwrap();
        let text = text.replace(
            &format!("dir = \"{}\"", shipped.display()),
            &format!(
                "dir = \"{own}\"\nreload = \"{every}\"\ntables_history = \"{}\"",
                self.tables_history().display()
            ),
        );
        fs::write(self.config_path(), text).unwrap();
        dir
    }

    /// Where versions of tables are kept.
    pub fn tables_history(&self) -> PathBuf {
        self.folder.path().join("table-history")
    }

    /// Turns the archive on; returns its folder.
    pub fn archive_to(&self, name: &str) -> PathBuf {
        let mut text = fs::read_to_string(self.config_path()).unwrap();
        write!(text, "[archive]\nfolder = \"{name}\"\n").unwrap();
        fs::write(self.config_path(), text).unwrap();
        self.folder.path().join(name)
    }

    /// What another command says on standard output, with the same configuration.
    pub fn keyhawk(&self, arguments: &[&str]) -> String {
        let output = Command::new(env!("CARGO_BIN_EXE_keyhawk"))
            .args(arguments)
            .arg("--config")
            .arg(self.config_path())
            .env(SECRET_VARIABLE, SECRET)
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success(), "{said}");
        String::from_utf8(output.stdout).unwrap()
    }

    /// The same configuration, save that nobody set a secret.
    pub fn config_without_secret(&self) -> PathBuf {
        let text = fs::read_to_string(self.config_path()).unwrap();
        let lines = text.lines().filter(|line| !line.starts_with("secret"));
        let path = self.folder.path().join("without-secret.toml");
        fs::write(&path, lines.collect::<Vec<_>>().join("\n")).unwrap();
        path
    }

    /// Starts the binary; its log goes to a file.
    pub fn start(&self) -> Instance {
        let logs = fs::read_dir(self.folder.path()).unwrap().count();
        let log = self.folder.path().join(format!("{logs}.log"));
        let child = Command::new(env!("CARGO_BIN_EXE_keyhawk"))
            .args(["run", "--config"])
            .arg(self.config_path())
            .env(SECRET_VARIABLE, SECRET)
            .env_remove("KEYHAWK_LOG")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(File::create(&log).unwrap())
            .spawn()
            .unwrap();
        Instance { child, log }
    }

    /// What the group has committed, by partition; 0 where nothing. Empty while the broker does not
    /// say, as after a restart.
    pub fn committed(&self, broker: &Broker) -> BTreeMap<i32, i64> {
        let committed = broker
            .committed(&self.group, &self.topic, PARTITIONS as i32)
            .unwrap_or_default();
        (0..)
            .zip(committed.into_iter().map(|(offset, _)| offset.max(0)))
            .collect()
    }

    pub fn wait_committed(&self, broker: &Broker, ends: &BTreeMap<i32, i64>, timeout: Duration) {
        wait_for(&format!("commits up to {ends:?}"), timeout, || {
            self.committed(broker) == *ends
        });
    }
}

/// The running binary. Dropping it ends it.
pub struct Instance {
    child: Child,
    log: PathBuf,
}

impl Instance {
    fn log(&self) -> String {
        fs::read_to_string(&self.log).unwrap()
    }

    /// The console's answer, head and body.
    pub fn get(&self, path: &str) -> String {
        let log = self.log();
        let lines = log
            .lines()
            .filter_map(|line| serde_json::from_str::<Value>(line).ok());
        let mut listens = lines.filter(|line| line["message"] == "the console listens");
        let address = listens.next().unwrap()["address"]
            .as_str()
            .unwrap()
            .to_owned();
        let mut stream = TcpStream::connect(address).unwrap();
        write!(
            stream,
            "GET {path} HTTP/1.1\r\nHost: keyhawk\r\nConnection: close\r\n\r\n"
        )
        .unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer
    }

    /// Whether the console has said where it listens.
    pub fn is_listening(&self) -> bool {
        self.log().contains("the console listens")
    }

    /// Sends a signal by its name.
    pub fn signal(&self, name: &str) {
        // The shell's own `kill`: not every system has a program of that name.
        let kill = format!("kill -{name} {}", self.child.id());
        let sent = Command::new("sh").args(["-c", &kill]).status();
        assert!(
            sent.unwrap().success(),
            "it ended by itself: {}",
            self.log()
        );
    }

    /// Sends SIGTERM, waits, and returns the status, how long it took, and the log.
    pub fn terminate(mut self) -> (ExitStatus, Duration, String) {
        let begun = Instant::now();
        self.signal("TERM");
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return (status, begun.elapsed(), self.log());
            }
            assert!(
                begun.elapsed() < STOP_MAX * 2,
                "it does not stop: {}",
                self.log()
            );
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

impl Drop for Instance {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("the log of the instance:\n{}", self.log());
        }
        drop(self.child.kill());
        drop(self.child.wait());
    }
}
