//! `sql`: questions about history, at a prompt, from a pipe, or one on the command line.

use std::collections::BTreeSet;
use std::io::{self, BufRead, IsTerminal, Write};
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;

use arrow::array::RecordBatch;
use keyhawk_events::EventsSchema;
use keyhawk_sql::Prompt;

use crate::cli::SqlArgs;
use crate::commands::files::{Progress, located, reading};
use crate::commands::{CommandResult, Failure, cores, status};
use crate::history::Source;
use crate::prompt::{Editor, GREETING, Line, Reply, Session, width};
use crate::replay::{Reading, open_columns, read_all};
use crate::rule_set::{RuleTexts, count};

pub(crate) fn run(args: &SqlArgs) -> CommandResult {
    if args.input.iter().any(|input| input == Path::new("-")) {
        return Err(Failure::of(
            "-: the files are read again for other columns, so that events cannot come from a pipe; \
             write them to a file, or make history of them with `keyhawk archive`",
        ));
    }
    let texts = match &args.rules {
        Some(dir) => RuleTexts::read(dir).map_err(Failure::of)?,
        None => RuleTexts::default(),
    };
    let table = Arc::new(EventsSchema::new(texts.columns).map_err(Failure::of)?);
    let files = located(&args.input)?;
    let reading = reading(args.config.as_deref(), args.topic.as_deref())?;
    // What is wrong with a file is said before the first question.
    open_columns(&files, &table, &BTreeSet::new(), &reading).map_err(Failure::of)?;
    let (prompt, problems) = Prompt::new(table.arrow(), &texts.files.tables, &texts.files.views);
    for problem in problems {
        anstream::eprintln!("{problem}\n");
    }
    let read = Box::new(|columns: &BTreeSet<String>| events(&files, &table, columns, &reading));
    let mut session = Session::new(prompt, read, width()).map_err(Failure::of)?;
    if let Some(query) = &args.query {
        return script(&mut session, query.as_bytes());
    }
    match io::stdin().is_terminal() {
        true => converse(&mut session, files.len()),
        false => script(&mut session, io::stdin().lock()),
    }
}

/// All rows of the files that are not late, with these columns.
fn events(
    files: &[Source],
    table: &Arc<EventsSchema>,
    columns: &BTreeSet<String>,
    reading: &Reading,
) -> Result<Vec<RecordBatch>, String> {
    let mut inputs =
        open_columns(files, table, columns, reading).map_err(|error| format!("error: {error}"))?;
    let progress = Progress::new(files);
    for input in &mut inputs {
        let progress = progress.clone();
        input.report_to(Arc::new(move |counts| progress.add(counts)));
    }
    let read = read_all(inputs, cores());
    progress.finish();
    let (rows, _) = read.map_err(|error| format!("error: {error}"))?;
    Ok(rows)
}

/// Talks with a person: what is wrong is said, and the talk goes on.
fn converse(session: &mut Session<'_>, files: usize) -> CommandResult {
    anstream::println!(
        "{}: {}. {GREETING}",
        count(files, "file"),
        session.summary()
    );
    let mut editor = Editor::new(session.names()).map_err(Failure::of)?;
    loop {
        let text = match editor.line().map_err(Failure::of)? {
            Line::Text(text) => text,
            Line::Dropped => continue,
            Line::End => return Ok(ExitCode::SUCCESS),
        };
        let mut is_over = false;
        let said = session.reply(&text, &mut |reply| {
            match reply {
                Reply::Quit => is_over = true,
                Reply::Shown { text, remark } => {
                    anstream::print!("{text}");
                    if let Some(remark) = remark {
                        anstream::println!("{remark}\n");
                    }
                }
            }
            Ok(())
        });
        if let Err(problem) = said {
            anstream::eprintln!("{problem}\n");
        }
        if is_over {
            return Ok(ExitCode::SUCCESS);
        }
    }
}

/// Answers one question after another, and ends at the first that cannot be: tables on standard output,
/// remarks on standard error.
fn script(session: &mut Session<'_>, text: impl BufRead) -> CommandResult {
    let mut pending = String::new();
    for line in text.lines() {
        pending.push_str(&line.map_err(|error| Failure::of(format!("standard input: {error}")))?);
        pending.push('\n');
        if Session::is_whole(&pending) {
            let is_over = reply(session, &pending)?;
            pending.clear();
            if is_over {
                return Ok(status(true));
            }
        }
    }
    // The last one may lack its semicolon.
    reply(session, &pending)?;
    Ok(status(true))
}

/// Whether it was the end.
fn reply(session: &mut Session<'_>, text: &str) -> Result<bool, Failure> {
    let mut is_over = false;
    session
        .reply(text, &mut |reply| {
            match reply {
                Reply::Quit => is_over = true,
                Reply::Shown { text, remark } => {
                    let mut out = io::stdout().lock();
                    let written = out.write_all(text.as_bytes()).and_then(|()| out.flush());
                    // A pager that was left is no mistake, but nobody reads the rest.
                    written.map_err(|error| format!("standard output: {error}"))?;
                    if let Some(remark) = remark {
                        anstream::eprintln!("{remark}");
                    }
                }
            }
            Ok(())
        })
        .map_err(Failure::of)?;
    Ok(is_over)
}
