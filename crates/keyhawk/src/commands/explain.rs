//! `explain`: a rule's operators as a tree, with what each keeps and how long a finding takes; without a
//! rule, all of them, a line each.

use comfy_table::{Cell, CellAlignment, ContentArrangement, Table, presets};
use keyhawk_sql::explain::{Head, Line};
use keyhawk_sql::{Compiled, nearest};

use crate::cli::ExplainArgs;
use crate::commands::{CommandResult, Failure, status, topic_settings};
use crate::config;
use crate::rule_set::RuleTexts;

pub(crate) fn run(args: &ExplainArgs) -> CommandResult {
    let rules = RuleTexts::read(&args.rules)
        .and_then(RuleTexts::compile)
        .map_err(Failure::of)?;
    let compiled = &rules.compiled;
    let lateness_ms = lateness_ms(args)?;
    let Some(rule) = &args.rule else {
        anstream::println!("{}", overview(compiled, lateness_ms));
        return Ok(status(true));
    };
    let Some(lines) = compiled.explain(rule, lateness_ms) else {
        let known = compiled.rules.iter().map(|rule| rule.name.as_str());
        let hint = match nearest(rule, known) {
            Some(name) => format!("did you mean `{name}`?"),
            None => "without a rule, `explain` lists them all".to_owned(),
        };
        return Err(Failure::of(format!(
            "there is no rule `{rule}` in {}; {hint}",
            args.rules.display()
        )));
    };
    lines.iter().for_each(print);
    anstream::println!();
    compiled.explain_legend(lateness_ms).iter().for_each(print);
    Ok(status(true))
}

/// The bound of the topic that is named, else of the first one of the configuration, else the default.
fn lateness_ms(args: &ExplainArgs) -> Result<i64, Failure> {
    let config = args.config.as_deref().map(config::load).transpose();
    let config = config.map_err(Failure::of)?;
    let topics = config.as_ref().map(|config| &config.topics);
    let topic = match (&args.topic, topics) {
        (Some(name), Some(topics)) => Some(
            topics
                .get(name)
                .ok_or_else(|| Failure::of(format!("the configuration has no topic `{name}`")))?,
        ),
        (_, topics) => topics.and_then(|topics| topics.values().next()),
    };
    Ok(topic_settings("", topic).bound_ms)
}

fn print(line: &Line) {
    let (rail, name, text) = (&line.rail, &line.name, &line.text);
    let colour = match line.kind {
        Head::Rule => "\x1b[1m",
        Head::Operator => "\x1b[1;36m",
        Head::Property => "\x1b[2m",
        Head::More => "",
    };
    if colour.is_empty() {
        let text = format!("{name}{text}");
        anstream::println!("\x1b[2m{rail}\x1b[0m{}", text.trim_end());
    } else {
        let line = format!("\x1b[2m{rail}\x1b[0m{colour}{name}\x1b[0m{text}");
        anstream::println!("{}", line.trim_end());
    }
}

fn overview(compiled: &Compiled, lateness_ms: i64) -> Table {
    let mut table = Table::new();
    table
        .load_style(presets::NOTHING)
        .set_content_arrangement(ContentArrangement::Disabled)
        .set_header(["rule", "delay", "run", "own operators", "shared"]);
    for rule in compiled.overview(lateness_ms) {
        let number = |n: usize| Cell::new(n).set_alignment(CellAlignment::Right);
        table.add_row([
            Cell::new(&rule.rule),
            Cell::new(&rule.delay),
            Cell::new(if rule.keyed { "yes" } else { "only files" }),
            number(rule.own),
            number(rule.shared),
        ]);
    }
    table
}
