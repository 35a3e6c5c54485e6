//! What stands in FROM: tables, views and CTEs by name, subqueries, and windows over them.

use super::grammar::Feature::{Base, Hop, Tables, WindowJoin};
use super::grammar::{
    Column, Maker, Part, Production, Relation, Role, Scope, Ty, Windows, production,
};
use super::join::{lookup, window_join};
use super::text::{From, Query, Sql};

/// Makes what stands in FROM, at most so many subqueries deep, and what is in scope above it.
pub type MakeFrom = fn(&mut Maker, usize) -> Option<(From, Scope)>;

impl Maker {
    /// A table, view or CTE by its name, perhaps under another.
    pub fn named(&mut self, relation: &Relation) -> (From, Scope) {
        if self.chance(0.7) {
            let from = From::Text(relation.name.clone());
            return (from, self.scope_of(&relation.columns, None));
        }
        let alias = self.name("t");
        let from = From::Text(format!("{} AS {alias}", relation.name));
        let scope = self.scope_of(&relation.columns, Some(&alias));
        (from, scope)
    }

    /// Columns as they are written under an alias, half of them qualified.
    pub fn scope_of(&mut self, columns: &[Column], alias: Option<&str>) -> Scope {
        let columns = columns.iter().map(|column| {
            let mut column = column.clone();
            column.sql = match alias {
                Some(alias) if self.chance(0.5) => Sql::text(format!("{alias}.{}", column.name)),
                _ => Sql::text(column.name.clone()),
            };
            column
        });
        Scope {
            columns: columns.collect(),
        }
    }

    pub fn any_relation(&mut self) -> Relation {
        // Views and CTEs are of more interest than events, of which there is always one.
        let known: Vec<Relation> = self
            .relations
            .iter()
            .chain(&self.cte_relations)
            .cloned()
            .collect();
        if known.len() > 1 && self.chance(0.6) {
            let at = 1 + self.below(known.len() - 1);
            return known[at].clone();
        }
        known[0].clone()
    }

    pub fn from(&mut self, depth: usize) -> (From, Scope) {
        let made = self.produce(FROM, |maker, make| make(maker, depth));
        made.expect("there is always the table of events")
    }

    /// What a window aggregate reads: rows with the bounds of a window.
    pub fn windowed(&mut self, depth: usize) -> Option<(From, Scope)> {
        self.produce(WINDOWED, |maker, make| make(maker, depth))
    }
}

pub const FROM: &[Production<MakeFrom>] = &[
    production("from_name", Base, 6, |m, _| {
        let relation = m.any_relation();
        Some(m.named(&relation))
    }),
    production("from_subquery", Base, 2, |m, depth| {
        if depth == 0 {
            return None;
        }
        let (branches, columns) = m.branches(depth - 1);
        let alias = m.name("s");
        let query = Query {
            ctes: Vec::new(),
            branches,
        };
        let scope = m.scope_of(&columns, Some(&alias));
        Some((From::Subquery(Box::new(query), alias), scope))
    }),
    production("from_window", Base, 2, |m, depth| m.windowed(depth)),
    production("from_lookup", Tables, 3, lookup),
    production("from_window_join_rows", WindowJoin, 3, |m, _| {
        window_join(m)
    }),
];

const SIZES: [(&str, bool); 10] = [
    ("1 second", true),
    ("250 milliseconds", false),
    ("1 minute", true),
    ("1 minute", true),
    ("90 seconds", true),
    ("5 minutes", true),
    ("7 minutes", true),
    ("10 minutes", true),
    ("1 hour", true),
    ("1 day", true),
];

/// A relation by name with a time to cut windows along.
pub fn timed(m: &mut Maker, depth: usize) -> Option<(Relation, Column)> {
    let mut relation = m.any_relation();
    if depth > 0 && m.chance(0.15) {
        relation = m.cte(depth - 1);
    }
    for _ in 0..2 {
        let orders: Vec<Column> = relation
            .columns
            .iter()
            .filter(|column| column.role.orders())
            .cloned()
            .collect();
        if let Some(time) = m.pick(&orders) {
            return Some((relation, time.clone()));
        }
        relation = m.relations[0].clone();
    }
    None
}

/// The window that a time is cut into, as the planner tells windows apart.
pub fn window_name(time: &Column, kind: &str) -> String {
    match &time.role {
        Role::Bound { part, window, .. } => format!("{kind} of {part:?} of {window}"),
        _ => kind.to_owned(),
    }
}

/// Rows of a relation with the bounds of a window over it.
pub fn bounded(
    m: &mut Maker,
    relation: &Relation,
    call: String,
    window: &str,
    kind: Windows,
    whole_seconds: bool,
) -> (From, Scope) {
    const BOUNDS: [(&str, Part); 3] = [
        ("window_start", Part::Start),
        ("window_end", Part::End),
        ("window_time", Part::Time),
    ];
    let mut columns = relation.columns.clone();
    columns.retain(|column| BOUNDS.iter().all(|(name, _)| column.name != *name));
    for (name, part) in BOUNDS {
        let role = Role::Bound {
            part,
            kind,
            window: window.to_owned(),
            whole_seconds,
        };
        columns.push(Column::new(name, Ty::Time, role));
    }
    if m.chance(0.7) {
        let scope = m.scope_of(&columns, None);
        return (From::Text(call), scope);
    }
    let alias = m.name("w");
    let scope = m.scope_of(&columns, Some(&alias));
    (From::Text(format!("{call} AS {alias}")), scope)
}

pub const WINDOWED: &[Production<MakeFrom>] = &[
    production("tumble", Base, 6, |m, depth| {
        let (relation, time) = timed(m, depth)?;
        let (size, whole_seconds) = SIZES[m.below(SIZES.len())];
        let call = format!(
            "tumble({}, {}, INTERVAL '{size}')",
            relation.name, time.name
        );
        let window = window_name(&time, &format!("tumble {size}"));
        Some(bounded(
            m,
            &relation,
            call,
            &window,
            Windows::Tumble,
            whole_seconds,
        ))
    }),
    production("windowed_view", Base, 2, |m, _| {
        let known: Vec<Relation> = m
            .relations
            .iter()
            .chain(&m.cte_relations)
            .filter(|relation| relation.columns.iter().any(|column| column.role.groups()))
            .cloned()
            .collect();
        let relation = m.pick(&known)?.clone();
        Some(m.named(&relation))
    }),
    production("hop", Hop, 4, |m, depth| {
        let (relation, time) = timed(m, depth)?;
        let sizes = [
            ("1 minute", "5 minutes"),
            ("1 minute", "90 seconds"),
            ("10 seconds", "1 minute"),
            ("5 minutes", "5 minutes"),
            ("1 hour", "1 day"),
            ("7 minutes", "10 minutes"),
        ];
        let (slide, size) = sizes[m.below(sizes.len())];
        let call = format!(
            "hop({}, {}, INTERVAL '{slide}', INTERVAL '{size}')",
            relation.name, time.name
        );
        let window = window_name(&time, &format!("hop {slide} {size}"));
        Some(bounded(m, &relation, call, &window, Windows::Hop, true))
    }),
    production("from_window_join", WindowJoin, 1, |m, _| window_join(m)),
];
