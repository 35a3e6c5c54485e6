//! The arrows between crates: what may depend on what, and why.
//!
//! ```text
//!   keyhawk → (all but testkit)     connectors → alerts     sql → engine → functions     sql → events, in tests
//! ```

use std::collections::BTreeMap;

use cargo_metadata::{DependencyKind, MetadataCommand, Package};

use crate::binary::root;

const OURS: &str = "keyhawk-";

/// What each crate may depend on outside of tests, and the reason that a message gives.
const ARROWS: [(&str, &[&str], &str); 8] = [
    (
        "events",
        &[],
        "events never knows rules or alerts: it turns bytes into rows",
    ),
    (
        "functions",
        &[],
        "functions is mathematics, and knows nothing of where rows come from",
    ),
    (
        "engine",
        &["functions"],
        "the engine runs programs; who wrote them and who reads findings is not its business",
    ),
    (
        "sql",
        &["engine", "functions"],
        "sql makes programs; events are its tests' business only",
    ),
    (
        "alerts",
        &[],
        "alerts take findings as plain data, so that they can be tested and replayed alone",
    ),
    (
        "connectors",
        &["alerts"],
        "connectors carry bytes and alerts, and know no rule",
    ),
    (
        "keyhawk",
        &[
            "alerts",
            "connectors",
            "engine",
            "events",
            "functions",
            "sql",
        ],
        "nothing of testkit belongs into the product",
    ),
    (
        "testkit",
        &[],
        "testkit serves every crate's tests, so it can build on none of them",
    ),
];

/// Heavy dependencies and the crates that may name them, in tests too.
const FENCES: [(&str, &[&str], &str); 7] = [
    (
        "datafusion",
        &["sql"],
        "the whole of DataFusion costs minutes to build; use its expression crates",
    ),
    (
        "datafusion-*",
        &["engine", "functions", "sql"],
        "only planning and evaluation know DataFusion",
    ),
    (
        "rdkafka",
        &["connectors", "testkit"],
        "Kafka is the connectors' business",
    ),
    (
        "ureq",
        &["connectors"],
        "HTTP requests are the connectors' business",
    ),
    (
        "object_store",
        &["connectors"],
        "object stores are the connectors' business; `Bucket` is what the others see of them",
    ),
    (
        "s3s*",
        &["testkit"],
        "the S3 server is a test's far end, and nothing of the product",
    ),
    ("axum", &["keyhawk"], "the console is served by the binary"),
];

/// Crates without I/O, tasks and clocks, and what would bring these in.
const CORE: [&str; 5] = ["events", "functions", "engine", "sql", "alerts"];
const OUTSIDE_WORLD: [&str; 6] = [
    "tokio",
    "rdkafka",
    "axum",
    "ureq",
    "object_store",
    "metrics-exporter-prometheus",
];

fn packages() -> BTreeMap<String, Package> {
    let mut command = MetadataCommand::new();
    command.manifest_path(root().join("Cargo.toml")).no_deps();
    command.other_options(["--offline".to_owned()]);
    let packages = command.exec().unwrap().packages;
    packages
        .into_iter()
        .map(|package| (short(&package.name).to_owned(), package))
        .collect()
}

fn short(name: &str) -> &str {
    name.strip_prefix(OURS).unwrap_or(name)
}

fn is_ours(name: &str) -> bool {
    name == "keyhawk" || name.starts_with(OURS)
}

/// The dependencies of a package, those of its tests only where asked for.
fn dependencies(package: &Package, tests_too: bool) -> impl Iterator<Item = &str> {
    let of_interest = move |kind: DependencyKind| tests_too || kind != DependencyKind::Development;
    let dependencies = package
        .dependencies
        .iter()
        .filter(move |dependency| of_interest(dependency.kind));
    dependencies.map(|dependency| dependency.name.as_str())
}

#[test]
fn arrows_between_our_crates_are_the_allowed_ones() {
    let packages = packages();
    let mut wrong = Vec::new();
    for (name, allowed, reason) in ARROWS {
        for dependency in dependencies(&packages[name], false)
            .filter(|name| is_ours(name))
            .map(short)
        {
            if !allowed.contains(&dependency) {
                wrong.push(format!("{name} → {dependency} is not allowed: {reason}"));
            }
        }
    }
    for name in packages.keys().filter(|name| *name != "benches") {
        if !ARROWS.iter().any(|(known, ..)| known == name) {
            wrong.push(format!(
                "{name} is a new crate; say in this file what it may depend on"
            ));
        }
    }
    for (name, package) in &packages {
        if dependencies(package, true).any(|dependency| short(dependency) == "benches") {
            wrong.push(format!(
                "{name} → benches is not allowed: benches measure, and serve nobody"
            ));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn heavy_dependencies_stay_behind_their_fences() {
    let mut wrong = Vec::new();
    for (name, package) in &packages() {
        for dependency in dependencies(package, true) {
            for (fenced, allowed, reason) in FENCES {
                let is_it = match fenced.strip_suffix('*') {
                    Some(prefix) => dependency.starts_with(prefix),
                    None => dependency == fenced,
                };
                if is_it && !allowed.contains(&name.as_str()) {
                    wrong.push(format!("{name} → {dependency} is not allowed: {reason}"));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn core_crates_do_not_know_the_outside_world() {
    let packages = packages();
    let mut wrong = Vec::new();
    for name in CORE {
        for dependency in
            dependencies(&packages[name], false).filter(|name| OUTSIDE_WORLD.contains(name))
        {
            wrong.push(format!(
                "{name} → {dependency} is not allowed: a core crate does no I/O, starts no task and reads no clock"
            ));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
