//! Errors of DataFusion's parser and planner, told to the author of a rule: the place, the sentence
//! that matters, and what to write instead.

use datafusion::common::{DataFusionError, SchemaError};
use datafusion::sql::sqlparser::parser::ParserError;
use datafusion::sql::sqlparser::tokenizer::{Location, Span};

use crate::problem::{Place, Problem, SourceFile, find, nearest, token_at, words};

/// The problem that an error means; its place is the one that the error names, if any.
pub(crate) fn plan_problem(file: &SourceFile, error: &DataFusionError) -> Problem {
    if let DataFusionError::SchemaError(error, _) = error.find_root() {
        return schema_problem(file, error);
    }
    let message = match error.find_root() {
        DataFusionError::Plan(message) | DataFusionError::NotImplemented(message) => {
            message.clone()
        }
        DataFusionError::SQL(error, _) => match error.as_ref() {
            ParserError::TokenizerError(message) | ParserError::ParserError(message) => {
                message.clone()
            }
            ParserError::RecursionLimitExceeded => "the query is nested too deeply".to_owned(),
        },
        other => other.strip_backtrace(),
    };
    if let Some(problem) = known(file, &message) {
        return problem;
    }
    let span = error.diagnostic().and_then(|diagnostic| diagnostic.span);
    let place = span.and_then(|span| Place::of_span(span_of(&span)));
    let at_end = || {
        message
            .ends_with("found: EOF")
            .then(|| token_at(file, 0, 0))
    };
    let place = place
        .or_else(|| in_message(file, &message))
        .or_else(at_end)
        .unwrap_or_else(|| {
            let quoted: Vec<String> = message
                .split(['`', '\'', '"'])
                .skip(1)
                .step_by(2)
                .map(str::to_owned)
                .collect();
            find(file, &quoted)
        });
    let message = essence(&message);
    // Our own messages, and DataFusion's on functions, end with what to write instead.
    let cut = [
        "; did you mean",
        "; there are",
        "; write",
        "; mend",
        "\nDid you mean",
        " Did you mean",
    ]
    .iter()
    .filter_map(|cut| message.find(cut))
    .min();
    match cut {
        Some(at) => {
            let help = message[at..].trim_start_matches([';', ' ', '\n']);
            let help = match help.strip_prefix("Did you mean ") {
                Some(name) => format!("did you mean {}", name.replace('\'', "`")),
                None => help.to_owned(),
            };
            Problem::new(file, place, message[..at].trim_end_matches('.')).help(help)
        }
        None if message.starts_with("Column in SELECT must be in GROUP BY") => {
            Problem::new(file, place, message).help("add it to GROUP BY, or take max(…) of it")
        }
        None => Problem::new(file, place, message),
    }
}

/// Problems of names.
fn schema_problem(file: &SourceFile, error: &SchemaError) -> Problem {
    let twice = match error {
        SchemaError::FieldNotFound {
            field,
            valid_fields,
        } => {
            let place = field
                .spans()
                .first()
                .and_then(|span| Place::of_span(span_of(&span)));
            let place = place.unwrap_or_else(|| find(file, std::slice::from_ref(&field.name)));
            let known = valid_fields.iter().map(|column| column.name.as_str());
            let names: Vec<&str> = known.filter(|name| !name.starts_with("__")).collect();
            let problem = Problem::new(file, place, format!("there is no column `{}`", field.name));
            return match nearest(&field.name, names.iter().copied()) {
                Some(near) => problem.help(format!("did you mean `{near}`?")),
                None => problem.help(format!("there are {}", names.join(", "))),
            };
        }
        SchemaError::AmbiguousReference { field } => &field.name,
        SchemaError::DuplicateQualifiedField { name, .. } => name,
        SchemaError::DuplicateUnqualifiedField { name } => name,
    };
    two_columns(file, twice)
}

fn two_columns(file: &SourceFile, name: &str) -> Problem {
    if let Some((function, _)) = name.split_once('(') {
        let place = find(file, &[function.to_owned()]);
        let message = format!("two columns are `{name}`: a cast alone does not tell them apart");
        return Problem::new(file, place, message).help(
            "cast around the function, as in CAST(max(x) AS DOUBLE), or compute one of them in a view",
        );
    }
    Problem::new(
        file,
        find(file, &[name.to_owned()]),
        format!("two columns are named `{name}`"),
    )
    .help("give one of them another name with AS")
}

/// Messages that say it better in our words.
fn known(file: &SourceFile, message: &str) -> Option<Problem> {
    let at = |near: &str| find(file, &[near.to_owned()]);
    if message.contains("require unique expression names") {
        let name = message.split('"').nth(1)?;
        return Some(two_columns(file, name.rsplit('.').next().unwrap_or(name)));
    }
    if let Some(name) = message
        .strip_prefix("Invalid function '")
        .and_then(|rest| rest.split('\'').next())
        && message.contains(&format!("Did you mean '{name}'"))
    {
        let words = words(file);
        if words.contains("qualify") && words.contains("window") {
            let problem = Problem::new(
                file,
                at("QUALIFY"),
                "QUALIFY does not know the names that WINDOW gives",
            );
            return Some(problem.help("write OVER (PARTITION BY … ORDER BY …) in QUALIFY"));
        }
    }
    if message.starts_with("Recursive CTE") {
        let problem = Problem::new(file, at("RECURSIVE"), "recursive queries are not supported");
        return Some(problem.help("write it without RECURSIVE"));
    }
    if message.starts_with("FILTER clause can only be used with aggregate window functions") {
        let problem = Problem::new(file, at("FILTER"), "a window function takes no FILTER");
        return Some(problem.help("write CASE WHEN … END as its argument"));
    }
    let field = message
        .strip_prefix("Field ")
        .and_then(|rest| rest.split_once(" not found in struct"));
    if let Some((field, _)) = field {
        let message = format!("the value has no field `{field}`");
        return Some(Problem::new(file, at(&format!("'{field}'")), message));
    }
    None
}

/// The part of a message that its reader can do something with.
fn essence(message: &str) -> String {
    let mut text = message.split("\n\nbacktrace").next().unwrap_or_default();
    text = text.rsplit("coercion failed with: ").next().unwrap_or(text);
    for prefix in [
        "Execution error: ",
        "Internal error: ",
        "Error during planning: ",
        "Arrow error: ",
    ] {
        text = text.strip_prefix(prefix).unwrap_or(text);
    }
    for end in [
        " at Line: ",
        ". No function matches",
        ", errors: ",
        "\n\tCandidate",
        ": While expanding wildcard",
    ] {
        text = text.split(end).next().unwrap_or(text);
    }
    text.trim_end_matches('.').to_owned()
}

/// The place in a message of the SQL parser: `… at Line: 3, Column: 7`.
fn in_message(file: &SourceFile, message: &str) -> Option<Place> {
    let rest = message.split("Line: ").nth(1)?;
    let number = |text: &str| {
        text.chars()
            .take_while(char::is_ascii_digit)
            .collect::<String>()
            .parse()
            .ok()
    };
    let line = number(rest)?;
    let column = number(rest.split("Column: ").nth(1)?)?;
    Some(token_at(file, line, column))
}

/// DataFusion's span as the parser has it.
fn span_of(span: &datafusion::common::Span) -> Span {
    let location = |at: datafusion::common::Location| Location::new(at.line, at.column);
    Span::new(location(span.start), location(span.end))
}
