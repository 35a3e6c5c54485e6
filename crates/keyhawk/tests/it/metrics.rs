//! The list of metrics holds what the sources count, and nothing else.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use keyhawk::console::metric_names::METRICS;

use crate::binary::root;

const MACROS: [&str; 3] = ["counter!(", "gauge!(", "histogram!("];

/// The names in calls of the macros, with the file of one call each.
fn counted() -> BTreeMap<String, PathBuf> {
    let mut names = BTreeMap::new();
    for krate in std::fs::read_dir(root().join("crates")).unwrap() {
        visit(&krate.unwrap().path().join("src"), &mut |path, text| {
            for call in MACROS {
                for (at, _) in text.match_indices(call) {
                    let argument = text[at + call.len()..].trim_start();
                    if let Some(name) = argument.strip_prefix('"') {
                        let name = name.split('"').next().unwrap();
                        names.insert(name.to_owned(), path.to_owned());
                    }
                }
            }
        });
    }
    names
}

fn visit(folder: &Path, take: &mut impl FnMut(&Path, &str)) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            visit(&path, take);
        } else if path.extension().is_some_and(|ending| ending == "rs") {
            take(&path, &std::fs::read_to_string(&path).unwrap());
        }
    }
}

#[test]
fn each_metric_that_is_counted_is_listed() {
    let listed: BTreeSet<&str> = METRICS.iter().map(|metric| metric.name).collect();
    let unlisted: Vec<_> = counted()
        .into_iter()
        .filter(|(name, _)| !listed.contains(name.as_str()))
        .collect();
    assert!(
        unlisted.is_empty(),
        "counted, and not in console/metric_names.rs: {unlisted:#?}"
    );
}

#[test]
fn each_metric_that_is_listed_is_counted() {
    let counted = counted();
    let uncounted: Vec<&str> = METRICS
        .iter()
        .map(|metric| metric.name)
        .filter(|name| !counted.contains_key(*name))
        .collect();
    assert!(
        uncounted.is_empty(),
        "in console/metric_names.rs, and never counted: {uncounted:?}"
    );
}
