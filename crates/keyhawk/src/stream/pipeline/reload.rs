//! Other rules while the pipeline runs: all partitions change between two batches.

use std::collections::BTreeMap;
use std::sync::Arc;

use keyhawk_alerts::TimeMs;
use serde_json::json;

use super::super::rule_watch;
use super::Pipeline;
use crate::partition::Partition;
use crate::rule_set::RuleSet;

impl Pipeline {
    /// All partitions go on with other rules, each after the batch that it processed last. Outputs under
    /// way are what they were.
    pub(super) fn reload(&mut self, rules: Arc<RuleSet>) {
        let before = std::mem::replace(&mut self.factory.rules, Arc::clone(&rules));
        if let Err(error) = self.factory.check() {
            self.factory.rules = before;
            return rule_watch::refuse(&error, &self.status);
        }
        let mut failed = Vec::new();
        for (key, lane) in &mut self.lanes {
            if let Some(partition) = &mut lane.partition
                && let Err(error) = partition.reload(&rules)
            {
                failed.push((key.clone(), error));
            }
        }
        self.publisher.set_rules(&rules);
        if let Some(archive) = &self.archive
            && before.schema.arrow() != rules.schema.arrow()
        {
            archive.set_table(&rules.schema);
        }
        for (key, error) in failed {
            self.fail(&key, &error);
        }
        metrics::counter!("keyhawk_rule_reloads_total", "result" => "ok").increment(1);
        tracing::info!(
            rules = rules.alerts.len(),
            version = %rules.version,
            warming = self.warming().len(),
            "the rules were reloaded"
        );
        rule_watch::show(&rules, &self.status);
        self.status
            .set_detail("rules_refused", serde_json::Value::Null);
        self.report();
    }

    /// The rules whose findings are withheld, and the event time at which the last partition has them
    /// whole.
    fn warming(&self) -> BTreeMap<String, i64> {
        let partitions = self
            .lanes
            .values()
            .filter_map(|lane| lane.partition.as_ref());
        let mut warming = BTreeMap::new();
        for (rule, until) in partitions.flat_map(Partition::warming) {
            let known = warming.entry(rule.to_owned()).or_insert(until);
            *known = until.max(*known);
        }
        warming
    }

    /// Which rules warm up, as a gauge and for `/readyz`.
    pub(super) fn report_warming(&self) {
        let warming = self.warming();
        #[expect(clippy::cast_precision_loss, reason = "rules are few")]
        let rules = warming.len() as f64;
        metrics::gauge!("keyhawk_warming_rules").set(rules);
        let warming = warming.into_iter();
        let until: serde_json::Map<_, _> = warming
            .map(|(rule, until)| (rule, json!(TimeMs(until))))
            .collect();
        self.status.set_detail("rules_warming", until.into());
    }
}
