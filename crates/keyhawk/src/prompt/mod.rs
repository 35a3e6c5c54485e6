//! The prompt: questions in, tables out.
//!
//! ```text
//!   terminal ─ editor ─┐                        ┌─▶ columns that it reads ─▶ files, unless known already
//!   pipe, -c ──────────┴─▶ Session: a question ─┤                                   │
//!                              \d \? \q         └─▶ answer ◀── rows of these ◀───────┘
//! ```
//!
//! State: the columns of `events` that were read last, kept while questions read no others.

mod editor;
mod show;

use std::collections::BTreeSet;
use std::io;
use std::time::Instant;

use arrow::array::RecordBatch;
use keyhawk_sql::{Kind, Prompt, Relation, is_complete, nearest, questions};

pub(crate) use editor::{Editor, Line, width};

use crate::rule_set::count;

/// What the prompt says first.
pub(crate) const GREETING: &str =
    "A question ends with ; and may have several lines. \\d lists tables, \\? helps, \\q ends.";

const HELP: &str = r"SELECT …;         a question, in as many lines as you like
\d                tables and views
\d NAME           the columns of one of them
\?                this
\q, Ctrl-D        end
Ctrl-C            drop what was typed; end, while a question is answered
Tab, Up           complete a name; earlier questions

Window tables, in FROM:
  tumble(events, event_time, INTERVAL '10 minutes')
  hop(events, event_time, INTERVAL '1 minute', INTERVAL '10 minutes')
  session(events, event_time, INTERVAL '5 minutes', api_key)
They add window_start, window_end and window_time to group by.";

/// Reads columns of `events`; says what went wrong as a sentence.
pub(crate) type Read<'a> =
    Box<dyn FnMut(&BTreeSet<String>) -> Result<Vec<RecordBatch>, String> + 'a>;

/// A conversation.
pub(crate) struct Session<'a> {
    prompt: Prompt,
    runtime: tokio::runtime::Runtime,
    read: Read<'a>,
    known: Option<(BTreeSet<String>, Vec<RecordBatch>)>,
    /// Columns of the terminal, where there is one.
    width: Option<usize>,
}

/// What is said to a question or command.
pub(crate) enum Reply {
    /// A table, or a list.
    Shown {
        /// With its last line break.
        text: String,
        /// How many rows, and how long it took.
        remark: Option<String>,
    },
    /// The end.
    Quit,
}

impl<'a> Session<'a> {
    /// A conversation about what `prompt` has, with the rows that `read` gives.
    ///
    /// # Errors
    /// The system has nothing to run on.
    pub(crate) fn new(prompt: Prompt, read: Read<'a>, width: Option<usize>) -> io::Result<Self> {
        Ok(Session {
            prompt,
            runtime: tokio::runtime::Builder::new_current_thread().build()?,
            read,
            known: None,
            width,
        })
    }

    /// The names that a question may hold, for completion.
    pub(crate) fn names(&self) -> BTreeSet<String> {
        let relations = self.prompt.relations().iter();
        let columns = relations.flat_map(|relation| {
            let columns = relation.schema.fields().iter();
            columns
                .map(|field| field.name().clone())
                .chain([relation.name.clone()])
        });
        let windows = ["tumble", "hop", "session"].map(str::to_owned);
        columns
            .chain(self.prompt.functions())
            .chain(windows)
            .collect()
    }

    /// Whether a text is to be answered, and not to be gone on with.
    pub(crate) fn is_whole(text: &str) -> bool {
        let text = text.trim_start();
        text.is_empty() || text.starts_with('\\') || is_complete(text)
    }

    /// Replies to a command, or to each question of a text, in turn.
    ///
    /// # Errors
    /// What is wrong, as it is shown; what comes after it is not answered.
    pub(crate) fn reply(
        &mut self,
        text: &str,
        say: &mut dyn FnMut(Reply) -> Result<(), String>,
    ) -> Result<(), String> {
        if let Some(command) = text.trim().strip_prefix('\\') {
            return say(self.command(command)?);
        }
        for question in questions(text) {
            let reply = self.answer(question)?;
            say(reply)?;
        }
        Ok(())
    }

    fn answer(&mut self, text: &str) -> Result<Reply, String> {
        let begun = Instant::now();
        let question = self
            .prompt
            .plan(text)
            .map_err(|problem| problem.to_string())?;
        let columns = question.columns();
        if !columns.is_empty() {
            let is_known = |known: &BTreeSet<String>| columns.is_subset(known);
            if !self
                .known
                .as_ref()
                .is_some_and(|(known, _)| is_known(known))
            {
                // The old rows go before the new ones come.
                self.known = None;
                self.known = Some((columns.clone(), (self.read)(columns)?));
            }
        }
        let rows = match &self.known {
            Some((_, rows)) if !columns.is_empty() => rows.as_slice(),
            _ => &[],
        };
        let answer = self.runtime.block_on(self.prompt.answer(&question, rows));
        let answer = answer.map_err(|problem| problem.to_string())?;
        let (text, remark) =
            show::answer(&answer, self.width).map_err(|error| error.to_string())?;
        Ok(Reply::Shown {
            text,
            remark: Some(format!("{remark}, {:.2} s", begun.elapsed().as_secs_f64())),
        })
    }

    fn command(&self, command: &str) -> Result<Reply, String> {
        let mut words = command.trim_end_matches(';').split_whitespace();
        let shown = |text| Ok(Reply::Shown { text, remark: None });
        match (words.next(), words.next(), words.next()) {
            (Some("q" | "quit"), None, _) => Ok(Reply::Quit),
            (Some("?" | "h" | "help"), None, _) => {
                let functions = self.prompt.functions().join(", ");
                shown(format!("{HELP}\n\nKeyhawk's functions: {functions}\n"))
            }
            (Some("d"), None, _) => shown(show::relations(self.prompt.relations())),
            (Some("d"), Some(name), None) => shown(show::columns(self.relation(name)?)),
            _ => Err(format!(
                "there is no command `\\{command}`; there are \\d, \\d NAME, \\? and \\q"
            )),
        }
    }

    fn relation(&self, name: &str) -> Result<&Relation, String> {
        let relations = self.prompt.relations();
        let found = relations
            .iter()
            .find(|relation| relation.name.eq_ignore_ascii_case(name));
        found.ok_or_else(|| {
            let names = relations.iter().map(|relation| relation.name.as_str());
            match nearest(name, names.clone()) {
                Some(near) => format!("no table or view `{name}`; did you mean `{near}`?"),
                None => format!(
                    "no table or view `{name}`; there are {}",
                    names.collect::<Vec<_>>().join(", ")
                ),
            }
        })
    }

    /// What there is, in a sentence.
    pub(crate) fn summary(&self) -> String {
        let of = |kind| {
            let relations = self.prompt.relations().iter();
            relations.filter(|relation| relation.kind == kind).count()
        };
        format!(
            "events, {}, {}",
            count(of(Kind::View), "view"),
            count(of(Kind::Table), "reference table")
        )
    }
}
