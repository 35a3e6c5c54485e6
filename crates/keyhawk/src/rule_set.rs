//! A rule directory: `rules/`, `views/` and `events.toml`, read from disk or carried in the binary.

use std::fmt;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use keyhawk_alerts::{AlertRule, Template, WhySpec};
use keyhawk_events::{EventsSchema, ExtraColumn, parse_events_toml};
use keyhawk_sql::{Compiled, Problem, Rule, RuleFiles, SourceFile, compile};
use sha2::{Digest, Sha256};

use crate::tables::history::{AsOf, as_of};
use crate::tables::{self, read_tables, read_versions};

/// The column that topics are keyed by, until a topic says otherwise.
pub const KEY: &str = "api_key";

/// A rule directory that loaded: what the stream and the batch run, and what alerts say.
pub struct RuleSet {
    /// The compiled rules.
    pub compiled: Compiled,
    /// The rules as alerts see them, in the same order.
    pub alerts: Arc<[AlertRule]>,
    /// The table `events`, with the directory's own columns.
    pub schema: Arc<EventsSchema>,
    /// A digest of all of it, hex: another one where a file of it is another.
    pub version: String,
    /// Which versions of the reference tables these are.
    pub tables: Vec<TableVersion>,
}

/// A version of a reference table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TableVersion {
    /// The table's name.
    pub name: String,
    /// The file that holds it.
    pub path: PathBuf,
    /// The SHA-256 of that file in hex.
    pub digest: String,
}

/// Why a rule directory did not load.
#[derive(Debug)]
pub enum Error {
    /// A file or folder could not be read.
    Unreadable {
        /// Which.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// There is no rule in it.
    Empty {
        /// The directory.
        path: PathBuf,
    },
    /// `events.toml` is wrong.
    Columns(keyhawk_events::Error),
    /// A reference table is wrong.
    Tables(tables::Error),
    /// Rules or views are wrong.
    Problems(Vec<Problem>),
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Error::Unreadable { path, source } => write!(
                f,
                "{}: cannot be read: {source}; a rule directory holds rules/ with the .sql files, and where there \
                 are any views/, tables/ and events.toml",
                path.display()
            ),
            Error::Empty { path } => write!(
                f,
                "{0}: no rule in it; rules are the .sql files in {0}/rules",
                path.display()
            ),
            Error::Columns(error) => error.fmt(f),
            Error::Tables(error) => error.fmt(f),
            Error::Problems(problems) => {
                for problem in problems {
                    writeln!(f, "{problem}\n")?;
                }
                write!(f, "{} in the rules", count(problems.len(), "problem"))
            }
        }
    }
}

impl std::error::Error for Error {}

/// `1 problem`, `2 problems`.
pub(crate) fn count(n: usize, noun: &str) -> String {
    if n == 1 {
        format!("1 {noun}")
    } else {
        format!("{n} {noun}s")
    }
}

/// The texts of a rule directory.
#[derive(Debug, Clone, Default)]
pub struct RuleTexts {
    /// Rules and views.
    pub files: RuleFiles,
    /// The columns of `events.toml`.
    pub columns: Vec<ExtraColumn>,
    /// The versions of the reference tables; none where they come from no file.
    pub tables: Vec<TableVersion>,
}

impl RuleTexts {
    /// Reads `dir/rules/*.sql`, `dir/views/*.sql`, `dir/tables/*` and `dir/events.toml`; all but the
    /// rules may be absent.
    pub fn read(dir: &Path) -> Result<Self, Error> {
        Self::read_with(dir, read_tables)
    }

    /// The same with the versions of the reference tables that were in force then, of those that `run`
    /// kept in `history`.
    pub fn read_as_of(dir: &Path, history: &Path, wanted: &AsOf) -> Result<Self, Error> {
        Self::read_with(dir, |dir| read_versions(dir, as_of(history, wanted)?))
    }

    fn read_with(
        dir: &Path,
        tables: impl FnOnce(&Path) -> Result<Vec<tables::Table>, tables::Error>,
    ) -> Result<Self, Error> {
        let rules = sql_files(&dir.join("rules"))?;
        if rules.is_empty() {
            return Err(Error::Empty {
                path: dir.to_owned(),
            });
        }
        let views = match dir.join("views") {
            views if views.exists() => sql_files(&views)?,
            _ => Vec::new(),
        };
        let declared = dir.join("events.toml");
        let columns = if declared.exists() {
            let text = read(&declared)?;
            parse_events_toml(&text, &declared.display().to_string()).map_err(Error::Columns)?
        } else {
            Vec::new()
        };
        let tables = tables(dir).map_err(Error::Tables)?;
        let version = |table: &tables::Table| TableVersion {
            name: table.name.clone(),
            path: table.path.clone(),
            digest: table.digest.clone(),
        };
        Ok(RuleTexts {
            columns,
            tables: tables.iter().map(version).collect(),
            files: RuleFiles {
                views,
                rules,
                tables: tables
                    .into_iter()
                    .map(|table| (table.name, table.rows))
                    .collect(),
            },
        })
    }

    /// The rules and views that Keyhawk ships, as the demo runs them.
    pub fn shipped() -> Self {
        macro_rules! file {
            ($path:literal) => {
                SourceFile {
                    path: concat!("sql/", $path).to_owned(),
                    text: include_str!(concat!("../../../sql/", $path)).to_owned(),
                }
            };
        }
        let files = RuleFiles {
            views: vec![file!("views/usage_10m.sql"), file!("views/usage_1h.sql")],
            rules: vec![
                file!("rules/auth_failures.sql"),
                file!("rules/impossible_travel.sql"),
                file!("rules/new_country.sql"),
                file!("rules/rate_spike.sql"),
            ],
            tables: Vec::new(),
        };
        RuleTexts {
            files,
            ..RuleTexts::default()
        }
    }

    /// Compiles the texts.
    pub fn compile(self) -> Result<RuleSet, Error> {
        let version = self.version();
        let schema = Arc::new(EventsSchema::new(self.columns).map_err(Error::Columns)?);
        let compiled = compile(&self.files, schema.arrow(), KEY).map_err(Error::Problems)?;
        let tables = &self.tables;
        let alerts = compiled.rules.iter();
        let alerts = alerts.map(|rule| alert_rule(rule, tables)).collect();
        Ok(RuleSet {
            compiled,
            alerts,
            schema,
            version,
            tables: self.tables,
        })
    }

    /// A digest of the texts and tables, hex.
    fn version(&self) -> String {
        let mut digest = Sha256::new();
        let mut add = |text: &str| {
            digest.update((text.len() as u64).to_le_bytes());
            digest.update(text);
        };
        for file in self.files.views.iter().chain(&self.files.rules) {
            add(&file.path);
            add(&file.text);
        }
        for (name, rows) in &self.files.tables {
            add(name);
            // The types may be declared elsewhere than in the table's file.
            add(&format!("{:?}", rows.schema()));
        }
        self.tables.iter().for_each(|table| add(&table.digest));
        add(&format!("{:?}", self.columns));
        let digest = digest.finalize();
        digest[..6]
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect()
    }
}

/// A rule as its alerts see it. The compiler has checked the header's words and columns.
fn alert_rule(rule: &Rule, tables: &[TableVersion]) -> AlertRule {
    let header = &rule.header;
    let severity = header
        .severity
        .parse()
        .expect("the compiler has checked the severity");
    let mut alert = AlertRule::new(&rule.name, &rule.version, severity, &header.entity);
    alert.action = header
        .action
        .as_deref()
        .and_then(|action| action.parse().ok());
    alert.dedup_ms = i64::try_from(header.dedup.as_millis()).unwrap_or(i64::MAX);
    alert.lift_after_ms = i64::try_from(header.lift_after.as_millis()).unwrap_or(i64::MAX);
    if let Some(summary) = header
        .summary
        .as_deref()
        .and_then(|text| Template::parse(text).ok())
    {
        alert.summary = summary;
    }
    alert.tags.clone_from(&header.tags);
    alert.runbook = header.runbook.clone().or_else(|| header.first_step.clone());
    let why = header.why.iter().map(|why| WhySpec {
        name: why.name.clone().unwrap_or_else(|| why.observed.clone()),
        observed: why.observed.clone(),
        expected: why.expected.clone(),
        surprise: why.surprise.clone(),
    });
    alert.why = why.collect();
    let read = tables
        .iter()
        .filter(|table| rule.tables.contains(&table.name));
    alert.tables = read
        .map(|table| (table.name.clone(), table.digest.clone()))
        .collect();
    alert
}

fn read(path: &Path) -> Result<String, Error> {
    fs::read_to_string(path).map_err(|source| Error::Unreadable {
        path: path.to_owned(),
        source,
    })
}

/// The `.sql` files of a folder, by name.
fn sql_files(folder: &Path) -> Result<Vec<SourceFile>, Error> {
    let unreadable = |source| Error::Unreadable {
        path: folder.to_owned(),
        source,
    };
    let mut paths = Vec::new();
    for entry in fs::read_dir(folder).map_err(unreadable)? {
        let path = entry.map_err(unreadable)?.path();
        if path.extension().is_some_and(|ending| ending == "sql") {
            paths.push(path);
        }
    }
    paths.sort();
    paths
        .into_iter()
        .map(|path| {
            Ok(SourceFile {
                text: read(&path)?,
                path: path.display().to_string(),
            })
        })
        .collect()
}
