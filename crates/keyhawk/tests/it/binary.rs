//! Runs the real binary and keeps what it wrote.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// What a run of the binary came to.
#[derive(Debug)]
pub struct Run {
    pub status: i32,
    pub stdout: String,
    pub stderr: String,
}

/// Runs `keyhawk` with these arguments to its end.
pub fn keyhawk(arguments: &[&str], stdin: &[u8]) -> Run {
    let mut child = Command::new(env!("CARGO_BIN_EXE_keyhawk"))
        .args(arguments)
        .env_remove("KEYHAWK_LOG")
        .env("NO_COLOR", "1")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut input = child.stdin.take().unwrap();
    let output = std::thread::scope(|scope| {
        // A program that fails early closes its input; that is for its status to tell.
        scope.spawn(move || drop(input.write_all(stdin)));
        child.wait_with_output().unwrap()
    });
    Run {
        status: output.status.code().unwrap_or(-1),
        stdout: String::from_utf8(output.stdout).unwrap(),
        stderr: String::from_utf8(output.stderr).unwrap(),
    }
}

/// `keyhawk COMMAND --rules DIR [--config FILE] --input FILE … --output -`.
pub fn over_files(command: &str, rules: &Path, config: Option<&Path>, inputs: &[PathBuf]) -> Run {
    let mut arguments = vec![command, "--rules", rules.to_str().unwrap(), "--output", "-"];
    if let Some(config) = config {
        arguments.extend(["--config", config.to_str().unwrap()]);
    }
    for input in inputs {
        arguments.extend(["--input", input.to_str().unwrap()]);
    }
    keyhawk(&arguments, b"")
}

/// The lines of a text, sorted: a multiset to compare.
pub fn sorted(text: &str) -> Vec<&str> {
    let mut lines: Vec<&str> = text.lines().collect();
    lines.sort_unstable();
    lines
}

/// The workspace's own folder.
pub fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .ancestors()
        .nth(2)
        .unwrap()
        .to_owned()
}

/// Writes a file and the folders above it.
pub fn write(path: &Path, text: impl AsRef<[u8]>) {
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(path, text).unwrap();
}
