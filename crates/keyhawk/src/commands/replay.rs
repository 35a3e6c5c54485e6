//! `replay`: the streaming engine over files, as `run` would over a topic.

use crate::cli::FileArgs;
use crate::commands::files::{Prepared, found, prepare, summary};
use crate::commands::{CommandResult, Failure, status};
use crate::finding_rows::rows_json;
use crate::replay::stream;
use crate::rule_set::RuleTexts;

pub(crate) fn run(args: &FileArgs) -> CommandResult {
    let texts = RuleTexts::read(&args.rules).map_err(Failure::of)?;
    let Prepared {
        rules,
        reading,
        inputs,
        mut output,
        progress,
    } = prepare(texts, args)?;
    let mut counted = vec![0_u64; rules.alerts.len()];
    let mut failed_rows = 0;
    let mut written = Ok(());
    let counts = stream(&rules, &reading.deployment, inputs, |step| {
        failed_rows += step.failed_rows;
        let rows = step
            .findings
            .iter()
            .map(|findings| rows_json(&findings.rows));
        let rows = rows.collect::<Result<Vec<_>, _>>()?;
        for place in &step.order {
            let findings = &step.findings[place.findings];
            counted[findings.rule] += 1;
            if written.is_ok() {
                written = output.push(
                    &rules.alerts[findings.rule].name,
                    findings.ids[place.row],
                    findings.times[place.row],
                    &rows[place.findings][place.row],
                );
            }
        }
        Ok(())
    })
    .map_err(Failure::of)?;
    written.and_then(|()| output.finish())?;
    summary(&counts, failed_rows, progress.finish());
    found(&rules, &counted);
    Ok(status(true))
}
