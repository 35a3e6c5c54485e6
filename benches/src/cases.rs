//! The benches B1 to B7: which rules each runs, and how fast it is to be.
//!
//! The rules are files in `rules/rules` and `rules/views` beside `Cargo.toml`; that of B6 is the shipped
//! one. A bench takes a few of them; a view that none of these reads is not in its program.

use std::path::Path;
use std::sync::Arc;

use keyhawk::rule_set::{RuleSet, RuleTexts};
use keyhawk_sql::SourceFile;

use crate::Result;

/// From this many keys on, B3 hops by the minute.
const MANY_KEYS: usize = 1_000_000;

/// One bench.
pub struct Case {
    /// `B1` to `B7`.
    pub name: &'static str,
    /// What its rules do.
    pub what: &'static str,
    /// Its rules.
    pub rules: Arc<RuleSet>,
    /// The same program with each row of its windows as a finding; None where it is about no windows.
    pub every_row: Option<Arc<RuleSet>>,
    /// The wanted rate, as a multiple of the bare decode's: of the decode to Arrow for [`OF_DECODE`].
    pub reach: f64,
}

/// The bench whose reach is a share of the decode to Arrow.
pub const OF_DECODE: &str = "B1";
/// The bench that B7 is compared with.
pub const ONE_RULE: &str = "B2";
/// The bench of many rules, and the most that it may cost as a multiple of [`ONE_RULE`].
pub const MANY_RULES: &str = "B7";
/// See [`MANY_RULES`].
pub const MANY_RULES_COST_MAX: f64 = 2.5;

/// All benches, for traffic of so many keys.
///
/// # Errors
/// A file that is missing or does not compile.
pub fn cases(keys: usize) -> Result<Vec<Case>> {
    let files = RuleTexts::read(&Path::new(env!("CARGO_MANIFEST_DIR")).join("rules"))?;
    let case = |name, what, rules: &str, view: Option<&str>, reach| -> Result<Case> {
        Ok(Case {
            name,
            what,
            rules: chosen(&files, rules)?,
            every_row: view.map(|view| every_row(&files, view)).transpose()?,
            reach,
        })
    };
    let hop = match keys < MANY_KEYS {
        true => case(
            "B3",
            "hop 10 min / 10 s by key",
            "b3_hop_10s",
            Some("usage_hop_10s"),
            0.45,
        ),
        false => case(
            "B3",
            "hop 10 min / 1 min by key",
            "b3_hop_1m",
            Some("usage_hop_1m"),
            0.45,
        ),
    };
    let shipped = RuleTexts::shipped();
    Ok(vec![
        case("B1", "filter and project", "b1_", None, 0.8)?,
        case(
            "B2",
            "tumble 1 min, one distinct",
            "b2_",
            Some("usage_1m"),
            0.55,
        )?,
        hop?,
        case("B4", "session 5 min by key", "b4_", Some("visits"), 0.4)?,
        case(
            "B5",
            "baseline over B2",
            "b5_",
            Some("usage_1m_normal"),
            0.5,
        )?,
        Case {
            name: "B6",
            what: "lags (impossible travel)",
            rules: chosen(&shipped, "impossible_travel")?,
            every_row: None,
            reach: 0.45,
        },
        case("B7", "thirty rules", "b7_", None, 0.3)?,
    ])
}

/// Of a directory, the rules whose names begin so.
fn chosen(directory: &RuleTexts, prefix: &str) -> Result<Arc<RuleSet>> {
    let mut texts = directory.clone();
    texts
        .files
        .rules
        .retain(|rule| rule.name().starts_with(prefix));
    if texts.files.rules.is_empty() {
        return Err(format!("no rule is named {prefix}…").into());
    }
    Ok(Arc::new(texts.compile()?))
}

/// A rule that lets every row of a view through.
fn every_row(directory: &RuleTexts, view: &str) -> Result<Arc<RuleSet>> {
    let mut texts = directory.clone();
    texts.files.rules = vec![SourceFile {
        path: format!("rules/every_row_of_{view}.sql"),
        text: every_row_text(view),
    }];
    Ok(Arc::new(texts.compile()?))
}

/// The text of such a rule.
pub fn every_row_text(view: &str) -> String {
    format!("/*\nseverity = \"low\"\nentity   = \"api_key\"\n*/\nSELECT * FROM {view}\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rules_of_a_bench_are_as_many_as_it_says() {
        let count = |case: &Case| case.rules.compiled.rules.len();
        let cases = cases(10).unwrap();
        assert_eq!(
            cases.iter().map(count).collect::<Vec<_>>(),
            [1, 1, 1, 1, 1, 1, 30]
        );
    }
}
