//! What a header says of its query's columns: each that it names must be one that the query selects.

use std::collections::BTreeSet;

use crate::compile::Query;
use crate::header::{RuleHeader, value_place};
use crate::problem::{Problem, SourceFile, nearest};

/// What a header says of the columns of its query.
pub(crate) fn check_header(file: &SourceFile, header: &RuleHeader, query: &Query) -> Vec<Problem> {
    let schema = query.plan.schema();
    let names: Vec<&str> = schema.fields()[..query.visible]
        .iter()
        .map(|field| field.name().as_str())
        .collect();
    let mut problems = Vec::new();
    let mut missing = BTreeSet::new();
    let mut check = |key: &str, column: &str| {
        if names.contains(&column) || !missing.insert((key.to_owned(), column.to_owned())) {
            return;
        }
        let help = match nearest(column, names.iter().copied()) {
            Some(near) => format!("did you mean `{near}`?"),
            None => format!("it selects {}", names.join(", ")),
        };
        let message =
            format!("`{key}` names the column `{column}`, which the rule does not select");
        problems.push(Problem::new(file, value_place(file, key, column), message).help(help));
    };
    check("entity", &header.entity);
    for column in header
        .summary
        .as_deref()
        .map(placeholders)
        .unwrap_or_default()
    {
        check("summary", &column);
    }
    for why in &header.why {
        check("why", &why.observed);
        why.expected
            .iter()
            .chain(&why.surprise)
            .for_each(|column| check("why", column));
    }
    problems
}

/// The columns that a summary's template names.
fn placeholders(template: &str) -> Vec<String> {
    let text = template.replace("{{", "").replace("}}", "");
    text.split('{')
        .skip(1)
        .filter_map(|rest| rest.split_once('}'))
        .map(|(name, _)| name.to_owned())
        .collect()
}
