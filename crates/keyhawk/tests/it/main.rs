//! The integration tests of the binary and its pipeline.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]
#![allow(missing_docs, reason = "tests")]

mod placeholder {
    #[test]
    fn shipped_rules_load() {
        keyhawk::rule_set::RuleTexts::shipped().compile().map_err(|error| error.to_string()).map(|_| ()).unwrap();
    }
}
