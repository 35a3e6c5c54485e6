//! The machine that a figure was measured on, and how much memory this process holds.
//!
//! Read from Linux's `/proc`; elsewhere the answers are "unknown" and None.

use std::fs;
use std::process::Command;

/// The processor, how many of its cores there are, and the commit that is measured.
pub fn description() -> String {
    let cpus = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let field = |name: &str| {
        let line = cpus.lines().find(|line| line.starts_with(name))?;
        line.split_once(':').map(|(_, value)| value.trim())
    };
    let cores = cpus
        .lines()
        .filter(|line| line.starts_with("processor"))
        .count();
    format!(
        "{} ({} cores, {} MHz, cache {}), commit {}",
        field("model name").unwrap_or("unknown processor"),
        cores,
        field("cpu MHz").unwrap_or("?"),
        field("cache size").unwrap_or("?"),
        commit().as_deref().unwrap_or("unknown"),
    )
}

/// The commit's short digest, with a `+` where the working tree differs from it.
fn commit() -> Option<String> {
    let git = |arguments: &[&str]| {
        let mut command = Command::new("git");
        command.current_dir(env!("CARGO_MANIFEST_DIR"));
        let output = command.args(arguments).output().ok()?;
        let text = String::from_utf8(output.stdout).ok()?;
        output.status.success().then(|| text.trim().to_owned())
    };
    let digest = git(&["rev-parse", "--short=12", "HEAD"])?;
    let changed = git(&["status", "--porcelain", "--untracked-files=no"])?;
    Some(if changed.is_empty() {
        digest
    } else {
        digest + "+"
    })
}

/// Memory of this process that is in RAM.
#[derive(Clone, Copy, Debug)]
pub struct Resident {
    /// Now, in bytes.
    pub now: u64,
    /// The most there ever was, in bytes.
    pub peak: u64,
}

/// What the kernel counts as resident for this process; None where it does not say.
pub fn resident() -> Option<Resident> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    let field = |name: &str| -> Option<u64> {
        let line = status.lines().find(|line| line.starts_with(name))?;
        let kib: u64 = line.split_whitespace().nth(1)?.parse().ok()?;
        Some(kib * 1024)
    };
    Some(Resident {
        now: field("VmRSS:")?,
        peak: field("VmHWM:")?,
    })
}

/// The processors' time that this process has taken, all its threads; None where the system does not say.
pub fn cpu_seconds() -> Option<f64> {
    let stat = fs::read_to_string("/proc/self/stat").ok()?;
    // The second field is the program's name in parentheses, with whatever is in it.
    let (_, fields) = stat.rsplit_once(')')?;
    let ticks = |at: usize| -> Option<u64> { fields.split_whitespace().nth(at)?.parse().ok() };
    // Fields 14 and 15 of the line. Linux shows them in hundredths of a second on every machine.
    Some((ticks(11)? + ticks(12)?) as f64 / 100.0)
}
