//! Kafka in a container, where a Docker engine answers.
//!
//! The container listens on 9092 for the host, under the host's port as its advertised address.

use std::process::Command;

use super::{VERSION, last_lines, run};
use crate::Result;

/// A container that is removed with its data when the value is dropped.
pub(super) struct Container {
    id: String,
}

impl Container {
    /// Starts `apache/kafka`; fetching the image takes as long as the network does.
    pub(super) fn start(port: u16) -> Result<Container> {
        run(Command::new("docker").args(["info", "--format", "{{.ServerVersion}}"]))?;
        let mut command = Command::new("docker");
        command.args([
            "run",
            "--detach",
            "--publish",
            &format!("127.0.0.1:{port}:9092"),
        ]);
        let settings = [
            ("NODE_ID", "1".to_owned()),
            ("PROCESS_ROLES", "broker,controller".to_owned()),
            (
                "LISTENERS",
                "PLAINTEXT://:9092,CONTROLLER://:9093".to_owned(),
            ),
            (
                "ADVERTISED_LISTENERS",
                format!("PLAINTEXT://127.0.0.1:{port}"),
            ),
            ("CONTROLLER_LISTENER_NAMES", "CONTROLLER".to_owned()),
            (
                "LISTENER_SECURITY_PROTOCOL_MAP",
                "CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT".to_owned(),
            ),
            ("CONTROLLER_QUORUM_VOTERS", "1@localhost:9093".to_owned()),
        ];
        let same = super::java::SETTINGS
            .iter()
            .map(|(key, value)| (key.to_uppercase().replace('.', "_"), (*value).to_owned()));
        for (key, value) in settings
            .into_iter()
            .map(|(key, value)| (key.to_owned(), value))
            .chain(same)
        {
            command.args(["--env", &format!("KAFKA_{key}={value}")]);
        }
        command.args(["--env", "KAFKA_HEAP_OPTS=-Xmx384m"]);
        let id = run(command.arg(format!("apache/kafka:{VERSION}")))?
            .trim()
            .to_owned();
        Ok(Container { id })
    }

    pub(super) fn stop(&self) -> Result<()> {
        run(Command::new("docker").args(["kill", &self.id])).map(drop)
    }

    pub(super) fn restart(&self) -> Result<()> {
        run(Command::new("docker").args(["start", &self.id])).map(drop)
    }

    pub(super) fn output(&self) -> String {
        run(Command::new("docker").args(["logs", "--tail", "20", &self.id]))
            .map_or_else(|error| error.to_string(), |text| last_lines(&text))
    }
}

impl Drop for Container {
    fn drop(&mut self) {
        drop(run(Command::new("docker").args([
            "rm",
            "--force",
            "--volumes",
            &self.id,
        ])));
    }
}
