//! Kafka from Maven Central's jars, as one process that is broker and controller (KRaft).
//!
//! ```text
//!   ~/.cache/keyhawk/kafka-4.3.1/lib/*.jar     fetched once by Maven, moved there in one step
//!   <temporary folder>/server.properties       ports, folders, settings
//!   <temporary folder>/data/                   the log
//!   <temporary folder>/output.txt              what the broker wrote
//! ```
//!
//! The broker runs under a small shell that holds a pipe from the test. The pipe closes when the
//! test ends, however it ends, a SIGKILL included; the shell then ends the broker by its own id.

use std::fs::{self, File};
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use tempfile::TempDir;

use super::{VERSION, free_port, last_lines, run};
use crate::{Error, Result};

/// Broker settings that both ways of running share: one broker, and no waiting for more members.
pub(super) const SETTINGS: &[(&str, &str)] = &[
    ("offsets.topic.replication.factor", "1"),
    ("offsets.topic.num.partitions", "4"),
    ("transaction.state.log.replication.factor", "1"),
    ("transaction.state.log.min.isr", "1"),
    ("transaction.state.log.num.partitions", "4"),
    ("group.initial.rebalance.delay.ms", "0"),
    ("group.min.session.timeout.ms", "1000"),
    ("auto.create.topics.enable", "false"),
    // A broker that was killed may come back once its session is over.
    ("broker.session.timeout.ms", "2000"),
    ("broker.heartbeat.interval.ms", "400"),
    ("num.network.threads", "2"),
    ("num.io.threads", "2"),
    ("log.cleaner.dedupe.buffer.size", "16777216"),
];

/// Runs its arguments in the background, says their process id, and ends them once the standard
/// input closes. A signal from the keyboard reaches the shell too, and must not end it first. The
/// shell lets go of the output, so that its end is the broker's end.
const WATCH: &str = r#"
trap '' INT HUP
"$@" < /dev/null &
broker=$!
echo "$broker"
exec > /dev/null
read -r line
kill -TERM "$broker" 2> /dev/null
wait "$broker"
"#;

/// A broker's process, its folder, and its settings.
pub(super) struct Process {
    jars: PathBuf,
    folder: TempDir,
    running: Option<Running>,
}

struct Running {
    shell: Child,
    broker: u32,
    ended: Arc<AtomicBool>,
}

impl Process {
    /// Fetches the jars where they are not there yet, formats a data folder, and starts the broker.
    pub(super) fn start(port: u16) -> Result<Process> {
        check_java()?;
        let jars = jars()?;
        let folder = tempfile::Builder::new()
            .prefix("keyhawk-kafka-")
            .tempdir()
            .map_err(|source| Error::io("making a folder for Kafka", source))?;
        let controller = free_port()?;
        let data = folder.path().join("data");
        let mut properties = format!(
            "process.roles=broker,controller\n\
             node.id=1\n\
             listeners=PLAINTEXT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller}\n\
             advertised.listeners=PLAINTEXT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller}\n\
             controller.listener.names=CONTROLLER\n\
             controller.quorum.bootstrap.servers=127.0.0.1:{controller}\n\
             listener.security.protocol.map=CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT\n\
             log.dirs={}\n",
            data.display()
        );
        for (key, value) in SETTINGS {
            properties.push_str(&format!("{key}={value}\n"));
        }
        let file = folder.path().join("server.properties");
        fs::write(&file, properties).map_err(|source| Error::Io {
            doing: "writing".to_owned(),
            path: Some(file.clone()),
            source,
        })?;
        let mut process = Process {
            jars,
            folder,
            running: None,
        };
        // Any 16 bytes make a cluster id; one cluster a folder, so that they may be fixed.
        run(process
            .java("kafka.tools.StorageTool")
            .args([
                "format",
                "--standalone",
                "-t",
                "a2V5aGF3ay10ZXN0LWtmaw",
                "-c",
            ])
            .arg(&file))?;
        process.launch()?;
        Ok(process)
    }

    fn java(&self, class: &str) -> Command {
        let mut command = Command::new("java");
        command
            .args(self.java_arguments(class))
            .current_dir(self.folder.path());
        command
    }

    fn java_arguments(&self, class: &str) -> Vec<String> {
        // A broker of one test run lives for a minute: the cheap compiler and collector win.
        let mut arguments: Vec<String> = [
            "-Xmx384m",
            "-Xms64m",
            "-XX:+UseSerialGC",
            "-XX:TieredStopAtLevel=1",
            "-cp",
        ]
        .map(str::to_owned)
        .into();
        arguments.push(format!("{}/*", self.jars.display()));
        arguments.push(class.to_owned());
        arguments
    }

    /// Starts the broker on its folder.
    pub(super) fn launch(&mut self) -> Result<()> {
        self.stop(Duration::from_secs(10));
        let program = || "java".to_owned();
        let path = self.output_file();
        let output = File::options()
            .create(true)
            .append(true)
            .open(&path)
            .map_err(|source| Error::Io {
                doing: "opening".to_owned(),
                path: Some(path),
                source,
            })?;
        let mut shell = Command::new("sh")
            .args(["-c", WATCH, "sh", "java"])
            .args(self.java_arguments("kafka.Kafka"))
            .arg("server.properties")
            .current_dir(self.folder.path())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(output)
            .spawn()
            .map_err(|error| Error::Program {
                program: program(),
                output: error.to_string(),
            })?;
        let mut id = String::new();
        let mut stdout = BufReader::new(shell.stdout.take().expect("the pipe was asked for"));
        let read = stdout.read_line(&mut id);
        let Some(broker) = read.ok().and_then(|_| id.trim().parse().ok()) else {
            drop(shell.kill());
            drop(shell.wait());
            return Err(Error::Program {
                program: program(),
                output: "did not start".to_owned(),
            });
        };
        // The broker writes to the same pipe, would stop once it is full, and closes it at its end.
        let path = self.output_file();
        let ended = Arc::new(AtomicBool::new(false));
        std::thread::spawn({
            let ended = Arc::clone(&ended);
            move || {
                if let Ok(mut file) = File::options().append(true).open(path) {
                    drop(std::io::copy(&mut stdout, &mut file));
                }
                ended.store(true, Ordering::Release);
            }
        });
        self.running = Some(Running {
            shell,
            broker,
            ended,
        });
        Ok(())
    }

    fn output_file(&self) -> PathBuf {
        self.folder.path().join("output.txt")
    }

    pub(super) fn output(&self) -> String {
        let mut text = String::new();
        if let Ok(mut file) = File::open(self.output_file()) {
            drop(file.read_to_string(&mut text));
        }
        last_lines(&text)
    }

    pub(super) fn has_ended(&self) -> bool {
        self.running
            .as_ref()
            .is_none_or(|running| running.ended.load(Ordering::Acquire))
    }

    /// Ends the broker: with SIGTERM and so much time, then with SIGKILL; at once where it is zero.
    pub(super) fn stop(&mut self, patience: Duration) {
        let Some(mut running) = self.running.take() else {
            return;
        };
        let signal = |name: &str| {
            let id = running.broker.to_string();
            drop(
                Command::new("kill")
                    .args([name, &id])
                    .stderr(Stdio::null())
                    .status(),
            );
        };
        if patience.is_zero() {
            signal("-KILL");
        } else {
            signal("-TERM");
        }
        drop(running.shell.stdin.take());
        let deadline = Instant::now() + patience.max(Duration::from_secs(2));
        while Instant::now() < deadline {
            if matches!(running.shell.try_wait(), Ok(Some(_)) | Err(_)) {
                return;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        signal("-KILL");
        drop(running.shell.wait());
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.stop(Duration::from_secs(5));
    }
}

/// Refuses a Java that is too old, in a sentence that says so.
fn check_java() -> Result<()> {
    let fail = |output: String| Error::Program {
        program: "java -version".to_owned(),
        output,
    };
    let output = Command::new("java")
        .arg("-version")
        .output()
        .map_err(|error| fail(error.to_string()))?;
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    match major_version(&text) {
        Some(17..) => Ok(()),
        Some(old) => Err(fail(format!(
            "Java {old} is too old, 17 or newer is needed"
        ))),
        None => Err(fail(last_lines(&text))),
    }
}

/// 17 for `openjdk version "17.0.15" 2025-04-15`, and 8 for `java version "1.8.0_392"`.
fn major_version(text: &str) -> Option<u32> {
    let quoted = text.split('"').nth(1)?;
    let mut numbers = quoted.split(['.', '-', '_', '+']).map(str::parse::<u32>);
    match numbers.next()?.ok()? {
        1 => numbers.next()?.ok(),
        major => Some(major),
    }
}

/// The folder of Kafka's jars, fetched by Maven the first time.
fn jars() -> Result<PathBuf> {
    let cache = std::env::var_os("XDG_CACHE_HOME")
        .filter(|path| Path::new(path).is_absolute())
        .map(PathBuf::from)
        .or_else(|| std::env::home_dir().map(|home| home.join(".cache")))
        .unwrap_or_else(std::env::temp_dir)
        .join("keyhawk")
        .join(format!("kafka-{VERSION}"));
    let jars = cache.join("lib");
    if jars.is_dir() {
        return Ok(jars);
    }
    let doing = |path: &Path, source| Error::Io {
        doing: "preparing Kafka's cache folder".to_owned(),
        path: Some(path.to_owned()),
        source,
    };
    fs::create_dir_all(&cache).map_err(|source| doing(&cache, source))?;
    // Beside its destination, so that the rename stays within one file system.
    let fetching = tempfile::Builder::new()
        .prefix("fetching-")
        .tempdir_in(&cache)
        .map_err(|source| doing(&cache, source))?;
    let pom = fetching.path().join("pom.xml");
    fs::write(&pom, project()).map_err(|source| doing(&pom, source))?;
    let fetched = fetching.path().join("lib");
    run(Command::new("mvn")
        .args(["-q", "-B", "-f"])
        .arg(&pom)
        .arg("dependency:copy-dependencies")
        .arg(format!("-DoutputDirectory={}", fetched.display())))?;
    match fs::rename(&fetched, &jars) {
        Ok(()) => Ok(jars),
        // Another test run was faster; its jars are the same.
        Err(_) if jars.is_dir() => Ok(jars),
        Err(source) => Err(doing(&jars, source)),
    }
}

fn project() -> String {
    let dependency = |artifact: &str| {
        format!(
            "<dependency><groupId>org.apache.kafka</groupId><artifactId>{artifact}</artifactId>\
             <version>{VERSION}</version></dependency>"
        )
    };
    format!(
        "<project xmlns=\"http://maven.apache.org/POM/4.0.0\"><modelVersion>4.0.0</modelVersion>\
         <groupId>keyhawk</groupId><artifactId>test-kafka</artifactId><version>1</version>\
         <packaging>pom</packaging><dependencies>{}{}</dependencies></project>",
        dependency("kafka_2.13"),
        dependency("kafka-tools"),
    )
}

#[cfg(test)]
mod tests {
    use super::major_version;

    #[test]
    fn javas_version_is_read_in_both_numberings() {
        assert_eq!(
            major_version("openjdk version \"17.0.15\" 2025-04-15\nmore"),
            Some(17)
        );
        assert_eq!(major_version("openjdk version \"21-ea\" 2023"), Some(21));
        assert_eq!(major_version("java version \"1.8.0_392\""), Some(8));
        assert_eq!(major_version("no version"), None);
    }
}
