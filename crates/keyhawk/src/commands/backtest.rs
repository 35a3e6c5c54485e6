//! `backtest`: the batch engine over files, and a report that a person reads.
//!
//! ```text
//!   ┌────────────┬──────────┬─────────────────┬───────────────────────────┐
//!   │ rule       │ findings │ by day (UTC)    │ loudest api_key           │
//!   │ rate_spike │       12 │ 2026-03-02    4 │ kh_live_…0ba052a1       9 │
//!   │ high       │          │ 2026-03-06    8 │ kh_live_…63dafd05       3 │
//!   └────────────┴──────────┴─────────────────┴───────────────────────────┘
//!   rate_spike, for example:
//!     {"api_key":…}
//! ```
//!
//! The report stands on standard error, and on standard output where no `--output` claims it.

use std::collections::{BTreeMap, HashMap};
use std::num::NonZeroUsize;
use std::time::{Duration, UNIX_EPOCH};

use arrow::array::Array;
use arrow::util::display::{ArrayFormatter, FormatOptions};
use comfy_table::{Cell, CellAlignment, ContentArrangement, Table, presets};
use keyhawk_alerts::AlertRule;
use keyhawk_engine::Findings;

use crate::batch_run::evaluate;
use crate::cli::BacktestArgs;
use crate::commands::files::{Prepared, found, prepare, summary};
use crate::commands::{CommandResult, Failure, cores, status};
use crate::config;
use crate::replay::read_all;
use crate::rule_set::RuleTexts;

const DAY_MS: i64 = 24 * 3_600_000;
/// Days of a rule that the table shows: those with the most findings, in their order.
const DAYS_SHOWN: usize = 10;
/// Entities of a rule that the table shows.
const ENTITIES_SHOWN: usize = 5;
/// Rows of a rule that are shown whole, each of another entity, the loudest first.
const EXAMPLES: usize = 3;
/// Characters of an entity, and of an example row, that are shown.
const ENTITY_CHARS: usize = 40;
const EXAMPLE_CHARS: usize = 600;

pub(crate) fn run(args: &BacktestArgs) -> CommandResult {
    let texts = texts(args)?;
    let threads = args.threads.map_or_else(cores, NonZeroUsize::get);
    let Prepared {
        rules,
        reading,
        inputs,
        mut output,
        progress,
    } = prepare(texts, &args.files)?;
    let (events, counts) = read_all(inputs, threads).map_err(Failure::of)?;
    progress.then("evaluating the rules");
    let all = evaluate(&rules, &reading.deployment, events, threads).map_err(Failure::of)?;
    let mut reports: Vec<Report> = rules.alerts.iter().map(Report::new).collect();
    let mut lines = Vec::new();
    for (findings, rows) in all.findings {
        reports[findings.rule].add(&findings, &rows);
        for ((time, id), row) in findings.times.iter().zip(&findings.ids).zip(rows) {
            lines.push((*time, findings.rule, *id, row));
        }
    }
    lines.sort_unstable();
    for (time, rule, id, row) in &lines {
        output.push(&rules.alerts[*rule].name, *id, *time, row)?;
    }
    let has_stdout = !output.is_somewhere();
    output.finish()?;
    let seconds = progress.finish();
    let report = report(&reports);
    if has_stdout {
        anstream::print!("{report}");
    } else {
        anstream::eprint!("{report}");
    }
    summary(&counts, all.failed_rows, seconds);
    let counted: Vec<u64> = reports.iter().map(|report| report.findings).collect();
    found(&rules, &counted);
    Ok(status(true))
}

/// The rules, with the versions of the reference tables that are asked for.
fn texts(args: &BacktestArgs) -> Result<RuleTexts, Failure> {
    let Some(wanted) = &args.tables_as_of else {
        return RuleTexts::read(&args.files.rules).map_err(Failure::of);
    };
    let config = args.files.config.as_deref().map(config::load);
    let config = config.transpose().map_err(Failure::of)?;
    let history = args
        .tables_history
        .clone()
        .or(config.and_then(|config| config.rules.tables_history));
    let Some(history) = history else {
        return Err(Failure::of(
            "--tables-as-of: where are the versions of tables? Name the folder with --tables-history, or \
             a configuration with `tables_history` in [rules] or an [archive] in a folder",
        ));
    };
    RuleTexts::read_as_of(&args.files.rules, &history, wanted).map_err(Failure::of)
}

/// What is told of one rule.
struct Report<'a> {
    rule: &'a AlertRule,
    findings: u64,
    /// By the day's number since 1970.
    days: BTreeMap<i64, u64>,
    entities: HashMap<String, Entity>,
}

/// How often an entity was found, and its first finding.
struct Entity {
    findings: u64,
    first: (i64, String),
}

impl<'a> Report<'a> {
    fn new(rule: &'a AlertRule) -> Self {
        Report {
            rule,
            findings: 0,
            days: BTreeMap::new(),
            entities: HashMap::new(),
        }
    }

    fn add(&mut self, findings: &Findings, rows: &[String]) {
        self.findings += rows.len() as u64;
        let options = FormatOptions::new();
        let entities = findings.rows.column_by_name(&self.rule.entity);
        let formatter =
            entities.and_then(|entities| ArrayFormatter::try_new(entities.as_ref(), &options).ok());
        let mut name = String::new();
        for (row, (time, json)) in findings.times.iter().zip(rows).enumerate() {
            *self.days.entry(time.div_euclid(DAY_MS)).or_default() += 1;
            name.clear();
            let known = entities.is_some_and(|entities| entities.is_valid(row));
            let is_written = match &formatter {
                Some(formatter) if known => formatter.value(row).write(&mut name).is_ok(),
                _ => false,
            };
            if !is_written {
                name.clear();
                name.push_str("null");
            }
            let first = || (*time, json.clone());
            let Some(entity) = self.entities.get_mut(name.as_str()) else {
                let entity = Entity {
                    findings: 1,
                    first: first(),
                };
                self.entities.insert(name.clone(), entity);
                continue;
            };
            entity.findings += 1;
            // The least of equal times too: the batch engine gives rows in no order.
            if (*time, json) < (entity.first.0, &entity.first.1) {
                entity.first = first();
            }
        }
    }

    /// The busiest days, in their order.
    fn days(&self) -> String {
        let mut busiest: Vec<(u64, i64)> = self.days.iter().map(|(day, n)| (*n, *day)).collect();
        busiest.sort_by_key(|(findings, day)| (std::cmp::Reverse(*findings), *day));
        let rest = busiest.split_off(busiest.len().min(DAYS_SHOWN));
        busiest.sort_by_key(|(_, day)| *day);
        let mut lines: Vec<String> = busiest
            .iter()
            .map(|(findings, day)| format!("{} {findings:>6}", date(*day)))
            .collect();
        if !rest.is_empty() {
            let findings: u64 = rest.iter().map(|(findings, _)| findings).sum();
            lines.push(format!("{} other days {findings}", rest.len()));
        }
        lines.join("\n")
    }

    /// The loudest first; names break ties.
    fn loudest(&self) -> Vec<(&String, &Entity)> {
        let mut loudest: Vec<_> = self.entities.iter().collect();
        loudest.sort_by_key(|(name, entity)| (std::cmp::Reverse(entity.findings), *name));
        loudest
    }

    fn entities(&self) -> String {
        let loudest = self.loudest();
        let mut lines: Vec<String> = loudest
            .iter()
            .take(ENTITIES_SHOWN)
            .map(|(name, entity)| format!("{:>6}  {}", entity.findings, shown(name, ENTITY_CHARS)))
            .collect();
        if loudest.len() > ENTITIES_SHOWN {
            lines.push(format!("of {} in all", loudest.len()));
        }
        lines.join("\n")
    }
}

fn report(reports: &[Report<'_>]) -> String {
    let mut table = Table::new();
    table
        .load_style(presets::UTF8_FULL_CONDENSED)
        .set_content_arrangement(ContentArrangement::Disabled)
        .set_header(["rule", "findings", "by day (UTC)", "loudest"]);
    for report in reports {
        let rule = report.rule;
        table.add_row([
            Cell::new(format!("{}\n{}", rule.name, rule.severity)),
            Cell::new(report.findings).set_alignment(CellAlignment::Right),
            Cell::new(report.days()),
            Cell::new(match report.findings {
                0 => String::new(),
                _ => format!("{}\n{}", rule.entity, report.entities()),
            }),
        ]);
    }
    let mut text = format!("{table}\n");
    for report in reports.iter().filter(|report| report.findings > 0) {
        text.push_str(&format!("{}, for example:\n", report.rule.name));
        for (_, entity) in report.loudest().into_iter().take(EXAMPLES) {
            text.push_str(&format!("    {}\n", shown(&entity.first.1, EXAMPLE_CHARS)));
        }
    }
    text
}

/// `2026-03-02`.
fn date(day: i64) -> String {
    let time = u64::try_from(day.saturating_mul(DAY_MS)).map(Duration::from_millis);
    match time.ok().and_then(|time| UNIX_EPOCH.checked_add(time)) {
        Some(time) => humantime::format_rfc3339_seconds(time).to_string()[..10].to_owned(),
        None => "before 1970".to_owned(),
    }
}

/// A text that callers may have chosen, safe on a terminal, and not longer than so many characters.
fn shown(text: &str, chars_max: usize) -> String {
    let mut shown = String::new();
    for (at, char) in text.chars().enumerate() {
        if at == chars_max {
            shown.push('…');
            break;
        }
        if char.is_control() {
            shown.extend(char.escape_default());
        } else {
            shown.push(char);
        }
    }
    shown
}
