//! Queries: what stands in FROM, the kinds of SELECT, and rule sets of views and rules.

use super::data;
use super::grammar::Feature::{
    self, Aggregates, Base, Hop, NullBounds, Session, Tables, Union, WindowJoin,
};
use super::grammar::{
    Column, Exact, Expr, Maker, Part, Production, Relation, Role, Scope, Ty, Want, Width, Windows,
    production,
};
use super::over::Over;
use super::table::Reference;
use super::text::{From, Query, Select, Sql};

/// A rule set: views and rules by name, as trees.
#[derive(Debug, Clone, PartialEq)]
pub struct RuleSet {
    pub tables: Vec<Reference>,
    pub views: Vec<(String, Query)>,
    pub rules: Vec<(String, Query)>,
}

/// The productions of FROM and of SELECT, for the test that counts them.
pub fn names() -> Vec<(&'static str, Feature)> {
    let of_from = FROM
        .iter()
        .map(|production| (production.name, production.feature));
    let of_window = WINDOWED
        .iter()
        .map(|production| (production.name, production.feature));
    let of_select = SELECT
        .iter()
        .map(|production| (production.name, production.feature));
    of_from.chain(of_window).chain(of_select).collect()
}

/// The table of events, as far as random tables fill it.
pub fn events() -> Relation {
    let columns: &[(&str, Ty, Role)] = &[
        ("event_time", Ty::Time, Role::Time),
        ("record_time", Ty::Time, Role::Plain),
        ("api_key", Ty::Text, Role::Key),
        ("client_ip", Ty::Text, Role::Plain),
        ("auth_result", Ty::Text, Role::Plain),
        ("method", Ty::Text, Role::Plain),
        ("path", Ty::Text, Role::Plain),
        ("user_agent", Ty::Text, Role::Plain),
        ("scopes", Ty::Texts, Role::Plain),
        ("country", Ty::Text, Role::Plain),
        ("city", Ty::Text, Role::Plain),
        ("status", Ty::Int(Width::Small), Role::Plain),
        ("asn", Ty::Int(Width::Small), Role::Plain),
        ("response_bytes", Ty::Int(Width::Small), Role::Plain),
        ("page", Ty::Int(Width::Wild), Role::Plain),
        ("page_size", Ty::Int(Width::Wild), Role::Plain),
        ("amount", Ty::Decimal, Role::Plain),
        ("latitude", Ty::Float(Exact::Grid), Role::Plain),
        ("longitude", Ty::Float(Exact::Same), Role::Plain),
        ("accuracy_radius_km", Ty::Float(Exact::Grid), Role::Plain),
        ("is_hosting", Ty::Bool, Role::Plain),
        ("is_anonymous", Ty::Bool, Role::Plain),
        ("_offset", Ty::Int(Width::Small), Role::Plain),
        ("_partition", Ty::Odd, Role::Plain),
    ];
    Relation {
        name: "events".to_owned(),
        columns: columns
            .iter()
            .map(|(name, ty, role)| Column::new(name, ty.clone(), role.clone()))
            .collect(),
    }
}

/// A reference table, as queries see it.
fn reference(table: &Reference) -> Relation {
    let types = [
        Ty::Text,
        Ty::Text,
        Ty::Int(Width::Small),
        Ty::Float(Exact::Grid),
        Ty::Time,
        Ty::Text,
    ];
    let columns = table.columns.iter().zip(types);
    Relation {
        name: table.name.clone(),
        columns: columns
            .map(|((name, _), ty)| Column::new(name, ty, Role::Plain))
            .collect(),
    }
}

/// A SELECT and what it gives.
struct Built {
    select: Select,
    columns: Vec<Column>,
}

type MakeFrom = fn(&mut Maker, usize) -> Option<(From, Scope)>;
type MakeSelect = fn(&mut Maker, usize) -> Option<Built>;

/// The narrowest type that a kind of expression may have.
fn type_of(want: Want) -> Ty {
    match want {
        Want::Text => Ty::Text,
        Want::Int(_) => Ty::Int(Width::Small),
        Want::Float(_) => Ty::Float(Exact::Grid),
        Want::Bool => Ty::Bool,
        Want::Time => Ty::Time,
        Want::Decimal => Ty::Decimal,
        Want::Texts => Ty::Texts,
    }
}

/// The kind of expression that stands beside one of a type.
fn want_of(ty: &Ty) -> Want {
    match ty {
        Ty::Int(_) => Want::Int(Width::Wild),
        Ty::Float(_) => Want::Float(Exact::Loose),
        Ty::Bool => Want::Bool,
        Ty::Time => Want::Time,
        Ty::Decimal => Want::Decimal,
        Ty::Texts => Want::Texts,
        _ => Want::Text,
    }
}

impl Maker {
    /// A random rule set over events.
    pub fn rule_set(&mut self) -> (RuleSet, Vec<(String, Vec<&'static str>)>) {
        self.relations = vec![events()];
        self.tables.clear();
        let mut set = RuleSet {
            tables: Vec::new(),
            views: Vec::new(),
            rules: Vec::new(),
        };
        if self.has(Tables) {
            for _ in 0..[0, 1, 1, 2][self.below(4)] {
                let name = self.name("r");
                let table = data::reference(&mut self.random, &name);
                self.tables.push(reference(&table));
                set.tables.push(table);
            }
        }
        let mut used = Vec::new();
        let views = [0, 0, 1, 1, 2, 3][self.below(6)];
        let rules = [1, 1, 2, 3][self.below(4)];
        for place in 0..views + rules {
            let is_view = place < views;
            self.used.clear();
            let (query, columns) = self.query(2);
            let name = self.name(if is_view { "view_" } else { "rule_" });
            used.push((name.clone(), self.used.iter().copied().collect()));
            if is_view {
                self.relations.push(Relation {
                    name: name.clone(),
                    columns,
                });
                set.views.push((name, query));
            } else {
                set.rules.push((name, query));
            }
        }
        (set, used)
    }

    /// A query of a file: CTEs and all.
    fn query(&mut self, depth: usize) -> (Query, Vec<Column>) {
        self.ctes.clear();
        self.cte_relations.clear();
        for _ in 0..[0, 0, 0, 1, 1, 2][self.below(6)] {
            self.used.insert("cte");
            self.cte(depth.saturating_sub(1));
        }
        let (branches, columns) = self.branches(depth);
        let ctes = std::mem::take(&mut self.ctes);
        (Query { ctes, branches }, columns)
    }

    /// Adds a CTE to the query at hand.
    fn cte(&mut self, depth: usize) -> Relation {
        let (branches, columns) = self.branches(depth);
        let name = self.name("cte_");
        let query = Query {
            ctes: Vec::new(),
            branches,
        };
        self.ctes.push((name.clone(), query));
        let relation = Relation { name, columns };
        self.cte_relations.push(relation.clone());
        relation
    }

    fn branches(&mut self, depth: usize) -> (Vec<Select>, Vec<Column>) {
        if self.has(Union) && self.chance(0.15) {
            self.used.insert("union_all");
            return self.union(depth);
        }
        let built = self.select(depth);
        (vec![built.select], built.columns)
    }

    /// Branches that give columns of the same kinds, two or three of them; what all branches have by
    /// the same origin keeps it.
    fn union(&mut self, depth: usize) -> (Vec<Select>, Vec<Column>) {
        let first = self.any_relation();
        let mut columns: Vec<Column> = first
            .columns
            .iter()
            .filter(|column| column.role == Role::Key || column.role.orders())
            .cloned()
            .collect();
        for _ in 0..1 + self.below(3) {
            let want = self.any_want();
            let name = self.name("u");
            columns.push(Column::new(&name, type_of(want), Role::Plain));
        }
        let mut selects = Vec::new();
        for branch in 0..2 + self.below(2) {
            let relation = if branch == 0 || self.chance(0.5) {
                first.clone()
            } else {
                self.any_relation()
            };
            let (from, scope) = self.named(&relation);
            let mut items = Vec::new();
            for column in &mut columns {
                let alike = scope.find(|other| other.role == column.role);
                let same = match column.role {
                    Role::Plain => None,
                    _ => self.pick(&alike).map(|other| other.sql.clone()),
                };
                let sql = match same {
                    Some(sql) => sql,
                    None => {
                        if column.role == Role::Key {
                            column.role = Role::Plain;
                        } else if column.role.orders() {
                            column.role = Role::Held;
                        }
                        let expr = self.scalar(&scope, want_of(&column.ty), depth.min(1));
                        column.ty = match (&column.ty, expr.ty) {
                            (Ty::Int(a), Ty::Int(b)) => Ty::Int(*a.max(&b)),
                            (Ty::Float(a), Ty::Float(b)) => Ty::Float(*a.max(&b)),
                            (known, _) => known.clone(),
                        };
                        expr.sql
                    }
                };
                items.push((sql, Some(column.name.clone())));
            }
            let filters = self.conditions(&scope, 0.6);
            selects.push(Select {
                items,
                from,
                filters,
                ..Select::default()
            });
        }
        let columns = columns
            .into_iter()
            .map(|column| Column::new(&column.name, column.ty, column.role));
        (selects, columns.collect())
    }

    fn select(&mut self, depth: usize) -> Built {
        let made = self.produce(SELECT, |maker, make| make(maker, depth));
        made.expect("a plain SELECT is always possible")
    }

    /// A table, view or CTE by its name, perhaps under another.
    fn named(&mut self, relation: &Relation) -> (From, Scope) {
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
    fn scope_of(&mut self, columns: &[Column], alias: Option<&str>) -> Scope {
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

    fn any_relation(&mut self) -> Relation {
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

    fn from(&mut self, depth: usize) -> (From, Scope) {
        let made = self.produce(FROM, |maker, make| make(maker, depth));
        made.expect("there is always the table of events")
    }

    /// What a window aggregate reads: rows with the bounds of a window.
    fn windowed(&mut self, depth: usize) -> Option<(From, Scope)> {
        self.produce(WINDOWED, |maker, make| make(maker, depth))
    }

    /// Conditions that look rows up in a reference table: IN and EXISTS, and their contraries.
    fn lookups(&mut self, scope: &Scope) -> Vec<Sql> {
        let tables = self.tables.clone();
        let Some(table) = self.pick(&tables) else {
            return Vec::new();
        };
        // A column of the outer query that came from the table would be taken for the table's own.
        let own = format!("{}_", table.name);
        let clashes = |column: &Column| column.name.starts_with(&own);
        if !self.chance(0.15) || scope.columns.iter().any(clashes) {
            return Vec::new();
        }
        let alias = self.name("r");
        let inner = qualified(&table.columns, &alias);
        let not = self.word(&["", "NOT "]);
        let from = format!("{} AS {alias}", table.name);
        if self.chance(0.5) {
            self.used.insert("in_table");
            let want = [Want::Text, Want::Int(Width::Wild)][self.below(2)];
            let own = self
                .column(&inner, want)
                .expect("a table has texts and integers");
            let Some(value) = self.column(scope, want) else {
                return Vec::new();
            };
            let template = match want {
                Want::Text if self.chance(0.2) => self.word(&["upper({})", "coalesce({}, 'DE')"]),
                _ => "{}",
            };
            let value = Expr::new(template, [value.clone()], value.ty);
            let filter = if self.chance(0.3) {
                format!(" WHERE {}", self.condition(&inner, 1).sql)
            } else {
                String::new()
            };
            let template = format!("{{}} {not}IN (SELECT {} FROM {from}{filter})", own.sql);
            return vec![Sql::new(&template, [value.sql])];
        }
        self.used.insert("exists_in_table");
        // Names of the outer query must not be taken for the table's, which all begin with its name.
        let Some(on) = equality(self, scope, &inner) else {
            return Vec::new();
        };
        let mut residual = String::new();
        if self.chance(0.3) {
            let mut both = scope.clone();
            both.columns.extend(inner.columns.iter().cloned());
            let condition = self.condition(&both, 1).sql.to_string();
            // DataFusion's planner sees no columns of the outer query in brackets.
            if !condition.contains('[') {
                residual = format!(" AND {condition}");
            }
        }
        let template = format!("{not}EXISTS (SELECT 1 FROM {from} WHERE {{}}{residual})");
        vec![Sql::new(&template, [on])]
    }

    fn conditions(&mut self, scope: &Scope, probability: f64) -> Vec<Sql> {
        let mut conditions = Vec::new();
        while conditions.len() < 3 && self.chance(probability / (1.0 + conditions.len() as f64)) {
            conditions.push(self.condition(scope, 1).sql);
        }
        conditions
    }

    /// The items of a SELECT: columns that a scope has, under their names, and other expressions.
    /// `behind` is the time that rows waited for.
    fn items(
        &mut self,
        scope: &Scope,
        must: &[Column],
        behind: Option<&Role>,
    ) -> (Vec<(Sql, Option<String>)>, Vec<Column>) {
        let mut items: Vec<(Sql, Option<String>)> = Vec::new();
        let mut columns: Vec<Column> = Vec::new();
        let mut chosen: Vec<Column> = Vec::new();
        for column in &scope.columns {
            let keep = match &column.role {
                Role::Key => 0.9,
                Role::Time | Role::Bound { .. } => 0.75,
                _ => 0.12,
            };
            if must.iter().any(|other| other.sql == column.sql) || self.chance(keep) {
                chosen.push(column.clone());
            }
        }
        if !chosen.is_empty() && self.chance(0.2) {
            let at = self.below(chosen.len());
            chosen.rotate_left(at);
        }
        for column in chosen {
            let renamed = column.name.is_empty()
                || columns.iter().any(|other| other.name == column.name)
                || self.chance(0.15);
            let name = if renamed {
                self.name("c")
            } else {
                column.name.clone()
            };
            let is_bare = column.sql == Sql::text(name.clone());
            items.push((column.sql.clone(), (!is_bare).then(|| name.clone())));
            let role = behind.map_or(column.role.clone(), |leader| column.role.behind(leader));
            columns.push(Column::new(&name, column.ty, role));
        }
        let least = usize::from(items.is_empty());
        for _ in 0..least + self.below(4) {
            let expr = self.any(scope, 2);
            let name = self.name("c");
            // It may be a column by itself, which stays what it is.
            let own = scope.columns.iter().find(|column| column.sql == expr.sql);
            let role = own.map_or(Role::Plain, |column| column.role.clone());
            let role = behind.map_or(role.clone(), |leader| role.behind(leader));
            items.push((expr.sql, Some(name.clone())));
            columns.push(Column::new(&name, expr.ty, role));
        }
        (items, columns)
    }
}

const FROM: &[Production<MakeFrom>] = &[
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
    production("from_lookup", Tables, 3, |m, depth| lookup(m, depth)),
    production("from_window_join_rows", WindowJoin, 3, |m, _| {
        window_join(m)
    }),
];

/// Rows joined with a reference table.
fn lookup(m: &mut Maker, depth: usize) -> Option<(From, Scope)> {
    let tables = m.tables.clone();
    let table = m.pick(&tables)?.clone();
    let left_alias = m.name("l");
    let (left, left_columns) = if depth > 0 && m.chance(0.2) {
        let (branches, columns) = m.branches(depth - 1);
        let query = Query {
            ctes: Vec::new(),
            branches,
        };
        (From::Subquery(Box::new(query), left_alias.clone()), columns)
    } else {
        let relation = m.any_relation();
        let from = From::Text(format!("{} AS {left_alias}", relation.name));
        (from, relation.columns)
    };
    let right_alias = m.name("r");
    let mut right_columns = table.columns.clone();
    let right = if m.chance(0.25) {
        m.used.insert("lookup_of_subquery");
        let scope = m.scope_of(&table.columns, None);
        let filter = m.condition(&scope, 1);
        let names: Vec<&str> = table
            .columns
            .iter()
            .map(|column| column.name.as_str())
            .collect();
        From::Text(format!(
            "(SELECT {} FROM {} WHERE {}) AS {right_alias}",
            names.join(", "),
            table.name,
            filter.sql
        ))
    } else {
        From::Text(format!("{} AS {right_alias}", table.name))
    };
    let left_scope = qualified(&left_columns, &left_alias);
    let right_scope = qualified(&right_columns, &right_alias);
    let mut on = vec![equality(m, &left_scope, &right_scope)?];
    if m.chance(0.2) {
        on.extend(equality(m, &left_scope, &right_scope));
    }
    let mut both = left_scope.clone();
    both.columns.extend(right_scope.columns.iter().cloned());
    if m.chance(0.25) {
        m.used.insert("lookup_residual");
        on.push(m.condition(&both, 1).sql);
    }
    right_columns.clear();
    let swapped = m.chance(0.15);
    let kind = if !swapped && m.chance(0.5) {
        m.used.insert("lookup_left");
        "LEFT JOIN"
    } else {
        "JOIN"
    };
    let (left, right) = if swapped {
        (right, left)
    } else {
        (left, right)
    };
    let from = From::Join {
        left: Box::new(left),
        kind,
        right: Box::new(right),
        on,
    };
    Some((from, both))
}

/// Columns that are all qualified by an alias.
fn qualified(columns: &[Column], alias: &str) -> Scope {
    let columns = columns.iter().map(|column| Column {
        sql: Sql::text(format!("{alias}.{}", column.name)),
        ..column.clone()
    });
    Scope {
        columns: columns.collect(),
    }
}

/// `left = right`, between an expression of one side and a column of a reference table.
fn equality(m: &mut Maker, left: &Scope, right: &Scope) -> Option<Sql> {
    let want = [Want::Text, Want::Text, Want::Int(Width::Wild), Want::Time][m.below(4)];
    let own = m.column(right, want)?;
    let keys = left.find(|column| column.role == Role::Key);
    let other = match m.pick(&keys) {
        Some(key) if want == Want::Text && m.chance(0.5) => key.sql.clone(),
        _ => m.column(left, want)?.sql,
    };
    let other = if want == Want::Text && m.chance(0.2) {
        m.used.insert("lookup_by_expression");
        let template = m.word(&["upper({})", "coalesce({}, 'DE')", "split_part({}, '/', 1)"]);
        Sql::new(template, [other])
    } else {
        other
    };
    Some(Sql::new("{} = {}", [other, own.sql]))
}

/// Two relations with the bounds of the same windows.
fn window_pair(m: &mut Maker) -> Option<[Relation; 2]> {
    let known: Vec<Relation> = m
        .relations
        .iter()
        .chain(&m.cte_relations)
        .filter(|relation| relation.columns.iter().any(is_bound))
        .cloned()
        .collect();
    let left = m.pick(&known)?.clone();
    let meets = |relation: &&Relation| {
        let alike = |column: &Column| left.columns.iter().any(|other| other.role == column.role);
        relation
            .columns
            .iter()
            .any(|column| is_bound(column) && column.role.orders() && alike(column))
    };
    let meeting: Vec<Relation> = known.iter().filter(meets).cloned().collect();
    let right = m.pick(&meeting)?.clone();
    Some([left, right])
}

fn is_bound(column: &Column) -> bool {
    matches!(column.role, Role::Bound { .. })
}

/// The conditions on which two windowed relations meet: a bound, mostly the key, sometimes more; and
/// the role of the bound.
fn meeting(m: &mut Maker, left: &Scope, right: &Scope) -> Option<(Vec<Sql>, Role)> {
    let bounds: Vec<(&Column, &Column)> = left
        .columns
        .iter()
        .filter(|column| is_bound(column) && column.role.orders())
        .flat_map(|a| {
            right
                .columns
                .iter()
                .filter(move |b| b.role == a.role)
                .map(move |b| (a, b))
        })
        .collect();
    let (a, b) = *m.pick(&bounds)?;
    let role = a.role.clone();
    let mut on = vec![Sql::new("{} = {}", [a.sql.clone(), b.sql.clone()])];
    let key = |scope: &Scope| {
        let keys = scope.find(|column| column.role == Role::Key);
        keys.first().map(|column| column.sql.clone())
    };
    if let (Some(a), Some(b)) = (key(left), key(right))
        && m.chance(0.8)
    {
        on.push(Sql::new("{} = {}", [a, b]));
    } else if m.chance(0.7) {
        let want = [Want::Text, Want::Int(Width::Wild)][m.below(2)];
        if let (Some(a), Some(b)) = (m.column(left, want), m.column(right, want)) {
            on.push(Sql::new("{} = {}", [a.sql, b.sql]));
        }
    }
    if m.chance(0.25) {
        m.used.insert("window_join_residual");
        let mut both = left.clone();
        both.columns.extend(right.columns.iter().cloned());
        on.push(m.condition(&both, 1).sql);
    }
    Some((on, role))
}

/// Two windowed relations joined on a bound of their window.
fn window_join(m: &mut Maker) -> Option<(From, Scope)> {
    let [left, right] = window_pair(m)?;
    let (left_alias, right_alias) = (m.name("l"), m.name("r"));
    let left_scope = qualified(&left.columns, &left_alias);
    let right_scope = qualified(&right.columns, &right_alias);
    let (on, leader) = meeting(m, &left_scope, &right_scope)?;
    let kind = m.word(&["JOIN", "JOIN", "LEFT JOIN"]);
    let is_left = kind == "LEFT JOIN";
    let mut columns = left_scope.columns;
    let null_bounds = m.has(NullBounds);
    columns.extend(right_scope.columns.into_iter().filter_map(|mut column| {
        // Null where there is no partner: then it orders nothing.
        if is_left && (is_bound(&column) || column.role == Role::Key) {
            column.role = Role::Held;
            return null_bounds.then_some(column);
        }
        Some(column)
    }));
    for column in &mut columns {
        column.role = column.role.behind(&leader);
    }
    let from = From::Join {
        left: Box::new(From::Text(format!("{} AS {left_alias}", left.name))),
        kind,
        right: Box::new(From::Text(format!("{} AS {right_alias}", right.name))),
        on,
    };
    Some((from, Scope { columns }))
}

/// A windowed relation, and only those of its rows that have a partner in another, or only those that
/// have none.
fn window_exists(m: &mut Maker) -> Option<Built> {
    let [left, right] = window_pair(m)?;
    let (left_alias, right_alias) = (m.name("l"), m.name("r"));
    let scope = qualified(&left.columns, &left_alias);
    let inner = qualified(&right.columns, &right_alias);
    let (on, leader) = meeting(m, &scope, &inner)?;
    let on: Vec<String> = on.iter().map(ToString::to_string).collect();
    if on.iter().any(|condition| condition.contains('[')) {
        return None;
    }
    let not = m.word(&["", "NOT "]);
    let exists = format!(
        "{not}EXISTS (SELECT 1 FROM {} AS {right_alias} WHERE {})",
        right.name,
        on.join(" AND ")
    );
    let mut filters = m.conditions(&scope, 0.4);
    filters.push(Sql::text(exists));
    let (items, columns) = m.items(&scope, &[], Some(&leader));
    Some(Built {
        select: Select {
            items,
            from: From::Text(format!("{} AS {left_alias}", left.name)),
            filters,
            ..Select::default()
        },
        columns,
    })
}

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
fn timed(m: &mut Maker, depth: usize) -> Option<(Relation, Column)> {
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
fn window_name(time: &Column, kind: &str) -> String {
    match &time.role {
        Role::Bound { part, window, .. } => format!("{kind} of {part:?} of {window}"),
        _ => kind.to_owned(),
    }
}

/// Rows of a relation with the bounds of a window over it.
fn bounded(
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

const WINDOWED: &[Production<MakeFrom>] = &[
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

/// The columns of one of the windows in a scope, and of no other.
fn one_window(m: &mut Maker, scope: &Scope) -> Option<Vec<Column>> {
    let windows: Vec<String> = scope
        .columns
        .iter()
        .filter_map(|column| match &column.role {
            role @ Role::Bound { window, .. } if role.groups() => Some(window.clone()),
            _ => None,
        })
        .collect();
    let window = m.pick(&windows)?.clone();
    let of = |column: &&Column| matches!(&column.role, Role::Bound { window: found, .. } if *found == window);
    let mut bounds: Vec<Column> = scope.columns.iter().filter(of).cloned().collect();
    // Mostly start and end; sometimes one bound alone.
    if m.chance(0.3) {
        let only = m.below(bounds.len());
        bounds = vec![bounds[only].clone()];
    }
    Some(bounds)
}

const SELECT: &[Production<MakeSelect>] = &[
    production("plain", Base, 3, |m, depth| {
        let (from, scope) = m.from(depth);
        let mut filters = m.conditions(&scope, 0.8);
        filters.extend(m.lookups(&scope));
        let (mut items, mut columns) = m.items(&scope, &[], None);
        if m.chance(0.1) && !matches!(from, From::Join { .. }) {
            m.used.insert("star");
            let expr = m.any(&scope, 2);
            let name = m.name("c");
            let own = scope.columns.iter().find(|column| column.sql == expr.sql);
            let role = own.map_or(Role::Plain, |column| column.role.clone());
            items = vec![(Sql::text("*"), None), (expr.sql, Some(name.clone()))];
            let all = scope
                .columns
                .iter()
                .map(|column| Column::new(&column.name, column.ty.clone(), column.role.clone()));
            columns = all.collect();
            columns.push(Column::new(&name, expr.ty, role));
        }
        Some(Built {
            select: Select {
                items,
                from,
                filters,
                ..Select::default()
            },
            columns,
        })
    }),
    production("aggregate", Base, 4, |m, depth| aggregate(m, depth)),
    production("over", Base, 4, |m, depth| over(m, depth)),
    production("session", Session, 2, |m, depth| session(m, depth)),
    production("window_exists", WindowJoin, 1, |m, _| window_exists(m)),
    production("distinct", Aggregates, 1, |m, depth| {
        let (from, scope) = m.windowed(depth)?;
        let bounds = one_window(m, &scope)?;
        let filters = m.conditions(&scope, 0.5);
        let keys = scope.find(|column| column.role == Role::Key || column.role == Role::Plain);
        let mut chosen: Vec<Column> = Vec::new();
        for _ in 0..1 + m.below(3) {
            let key = (*m.pick(&keys)?).clone();
            let plain = !matches!(key.ty, Ty::Output | Ty::Float(Exact::Loose));
            if plain && chosen.iter().all(|other| other.name != key.name) {
                chosen.push(key);
            }
        }
        chosen.extend(bounds);
        for at in 1..chosen.len() {
            if chosen[..at]
                .iter()
                .any(|other| other.name == chosen[at].name)
            {
                chosen[at].name = m.name("c");
            }
        }
        let items = chosen
            .iter()
            .map(|column| (column.sql.clone(), Some(column.name.clone())));
        let columns = chosen
            .iter()
            .map(|column| Column::new(&column.name, column.ty.clone(), column.role.clone()));
        Some(Built {
            select: Select {
                distinct: true,
                items: items.collect(),
                from,
                filters,
                ..Select::default()
            },
            columns: columns.collect(),
        })
    }),
];

/// An expression that rows may be grouped by, with the column that it makes.
fn group_key(m: &mut Maker, scope: &Scope) -> Option<Column> {
    let keys = scope.find(|column| column.role == Role::Key);
    if !keys.is_empty() && m.chance(0.5) {
        return m.pick(&keys).map(|key| (*key).clone());
    }
    if m.chance(0.6) {
        let plain = scope.find(|column| {
            matches!(column.role, Role::Key | Role::Plain | Role::Held)
                && !matches!(column.ty, Ty::Output | Ty::Float(Exact::Loose))
        });
        return m.pick(&plain).map(|column| (*column).clone());
    }
    m.used.insert("group_by_expression");
    let wants = [
        Want::Text,
        Want::Int(Width::Wild),
        Want::Float(Exact::Same),
        Want::Bool,
        Want::Decimal,
        Want::Texts,
    ];
    let want = wants[m.below(wants.len())];
    let leaves = scope.leaves();
    let expr = m.scalar(scope, want, 1);
    // A literal is no key, and a bare number in GROUP BY would name a column of the SELECT.
    let names_something = leaves
        .iter()
        .any(|leaf| expr.sql.to_string().contains(&leaf.sql.to_string()));
    names_something.then(|| Column {
        sql: expr.sql,
        name: String::new(),
        ty: expr.ty,
        role: Role::Plain,
    })
}

fn aggregate(m: &mut Maker, depth: usize) -> Option<Built> {
    let (from, scope) = m.windowed(depth)?;
    let mut filters = m.conditions(&scope, 0.6);
    filters.extend(m.lookups(&scope));
    let bounds = one_window(m, &scope)?;
    let mut groups: Vec<Column> = Vec::new();
    for _ in 0..[0, 1, 1, 1, 2, 3][m.below(6)] {
        if let Some(key) = group_key(m, &scope)
            && groups.iter().all(|other| other.sql != key.sql)
        {
            groups.push(key);
        }
    }
    let leader = bounds[0].role.clone();
    groups.extend(bounds);
    let at = m.below(groups.len());
    groups.rotate_left(at);
    Some(grouped(m, from, &scope, filters, groups, &leader))
}

/// A SELECT with GROUP BY, its aggregates, and HAVING.
fn grouped(
    m: &mut Maker,
    from: From,
    scope: &Scope,
    filters: Vec<Sql>,
    groups: Vec<Column>,
    leader: &Role,
) -> Built {
    let mut inner = Scope {
        columns: groups.clone(),
    };
    let aggregates: Vec<Column> = (0..m.below(5))
        .map(|_| {
            let Expr { sql, ty } = m.aggregate(scope);
            Column {
                sql,
                name: String::new(),
                ty,
                role: Role::Plain,
            }
        })
        .collect();
    inner.columns.extend(aggregates.iter().cloned());
    let having = if aggregates.is_empty() {
        Vec::new()
    } else {
        m.conditions(&inner, 0.35)
    };
    if !having.is_empty() {
        m.used.insert("having");
    }
    let (items, columns) = m.items(&inner, &aggregates, Some(leader));
    Built {
        select: Select {
            items,
            from,
            filters,
            groups: groups.into_iter().map(|group| group.sql).collect(),
            having,
            ..Select::default()
        },
        columns,
    }
}

/// Sessions of a key, or of any columns.
fn session(m: &mut Maker, depth: usize) -> Option<Built> {
    let (relation, time) = timed(m, depth)?;
    let mut keys: Vec<Column> = Vec::new();
    let plain = |column: &&Column| {
        matches!(column.role, Role::Key | Role::Plain)
            && !matches!(column.ty, Ty::Output | Ty::Struct(_) | Ty::Float(_))
    };
    for _ in 0..1 + usize::from(m.chance(0.25)) {
        let topic = relation
            .columns
            .iter()
            .find(|column| column.role == Role::Key);
        let any: Vec<&Column> = relation.columns.iter().filter(plain).collect();
        let key = match topic {
            Some(key) if m.chance(0.6) => key.clone(),
            _ => (*m.pick(&any)?).clone(),
        };
        if keys.iter().all(|other| other.name != key.name) {
            keys.push(key);
        }
    }
    let gap = m.word(&[
        "10 seconds",
        "1 minute",
        "5 minutes",
        "1 hour",
        "250 milliseconds",
    ]);
    let longest = m.word(&[
        "",
        "",
        ", max => INTERVAL '30 minutes'",
        ", max => INTERVAL '90 seconds'",
    ]);
    let names: Vec<&str> = keys.iter().map(|key| key.name.as_str()).collect();
    let call = format!(
        "session({}, {}, INTERVAL '{gap}', {}{longest})",
        relation.name,
        time.name,
        names.join(", ")
    );
    let window = window_name(&time, &format!("session {gap}{longest}"));
    let kind = Windows::Session(!longest.is_empty());
    let (from, scope) = bounded(m, &relation, call, &window, kind, false);
    // The bounds are known when the session has ended: nothing below the aggregate reads them.
    let (bounds, rows): (Vec<Column>, Vec<Column>) = scope.columns.into_iter().partition(
        |column| matches!(&column.role, Role::Bound { window: of, .. } if *of == window),
    );
    let rows = Scope { columns: rows };
    let filters = m.conditions(&rows, 0.6);
    let mut groups: Vec<Column> = keys
        .iter()
        .filter_map(|key| {
            let mut columns = rows.columns.iter();
            columns.find(|column| column.name == key.name).cloned()
        })
        .collect();
    let leader = bounds[0].role.clone();
    // The start alone does not tell the end.
    let chosen: &[usize] = match m.below(4) {
        0 => &[1],
        1 => &[2],
        2 => &[0, 1, 2],
        _ => &[0, 1],
    };
    groups.extend(chosen.iter().map(|&at| bounds[at].clone()));
    let at = m.below(groups.len());
    groups.rotate_left(at);
    Some(grouped(m, from, &rows, filters, groups, &leader))
}

fn over(m: &mut Maker, depth: usize) -> Option<Built> {
    let (from, scope) = m.from(depth);
    let orders: Vec<Column> = scope
        .columns
        .iter()
        .filter(|column| column.role.orders())
        .cloned()
        .collect();
    let order = m.pick(&orders)?.clone();
    let mut filters = m.conditions(&scope, 0.5);
    filters.extend(m.lookups(&scope));
    let mut overs: Vec<(Over, Option<String>)> = Vec::new();
    for _ in 0..1 + usize::from(m.chance(0.25)) {
        let mut keys: Vec<Sql> = Vec::new();
        for _ in 0..1 + usize::from(m.chance(0.3)) {
            if let Some(key) = group_key(m, &scope)
                && !keys.contains(&key.sql)
            {
                keys.push(key.sql);
            }
        }
        if keys.is_empty() {
            continue;
        }
        let over = Over {
            keys,
            order: order.sql.clone(),
            order_role: order.role.clone(),
        };
        let name = m.chance(0.2).then(|| m.name("o"));
        overs.push((over, name));
    }
    if overs.is_empty() {
        return None;
    }
    if overs.len() > 1 {
        m.used.insert("two_partitions");
    }
    let mut functions: Vec<Column> = Vec::new();
    for _ in 0..1 + m.below(3) {
        let at = m.below(overs.len());
        let (over, name) = overs[at].clone();
        if let Some(Expr { sql, ty }) = m.over(&scope, &over, name.as_deref()) {
            functions.push(Column {
                sql,
                name: String::new(),
                ty,
                role: Role::Plain,
            });
        }
    }
    let mut inner = scope.clone();
    inner.columns.extend(functions.iter().cloned());
    let mut qualify = Vec::new();
    if m.chance(0.25) {
        let only = Scope {
            // DataFusion's planner does not know the names of a WINDOW clause in QUALIFY.
            columns: functions
                .iter()
                .filter(|function| function.sql.to_string().contains(" OVER ("))
                .cloned()
                .collect(),
        };
        let condition = m.condition(&only, 1);
        if condition.sql.to_string().contains(" OVER ") {
            m.used.insert("qualify");
            qualify.push(condition.sql);
        }
    }
    let (items, columns) = m.items(&inner, &functions, Some(&order.role));
    let windows = overs.iter().filter_map(|(over, name)| {
        let name = name.clone()?;
        let is_used = functions
            .iter()
            .any(|function| function.sql.to_string().contains(&format!(" OVER {name}")));
        is_used.then(|| (name, over.sql()))
    });
    Some(Built {
        select: Select {
            items,
            from,
            filters,
            windows: windows.collect(),
            qualify,
            ..Select::default()
        },
        columns,
    })
}
