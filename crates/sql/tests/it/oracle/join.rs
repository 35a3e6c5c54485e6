//! Joins: with reference tables, also by IN and EXISTS, and of two windowed relations.

use super::grammar::{Column, Expr, Maker, Relation, Role, Scope, Want, Width};
use super::select::Built;
use super::text::{From, Query, Select, Sql};

impl Maker {
    /// Conditions that look rows up in a reference table: IN and EXISTS, and their contraries.
    pub fn lookups(&mut self, scope: &Scope) -> Vec<Sql> {
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
}

/// Rows joined with a reference table.
pub fn lookup(m: &mut Maker, depth: usize) -> Option<(From, Scope)> {
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
    let kind = match (m.chance(0.5), swapped) {
        (true, false) => {
            m.used.insert("lookup_left");
            "LEFT JOIN"
        }
        (true, true) => {
            m.used.insert("lookup_right");
            "RIGHT JOIN"
        }
        (false, _) => "JOIN",
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

/// The conditions on which two windowed relations meet.
struct Meeting {
    /// The bounds of both, which are equal.
    bounds: [Sql; 2],
    /// What they are.
    role: Role,
    /// Mostly the key, sometimes more.
    more: Vec<Sql>,
}

impl Meeting {
    fn on(self) -> Vec<Sql> {
        let mut on = vec![Sql::new("{} = {}", self.bounds)];
        on.extend(self.more);
        on
    }
}

fn meeting(m: &mut Maker, left: &Scope, right: &Scope) -> Option<Meeting> {
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
    let (bounds, role) = ([a.sql.clone(), b.sql.clone()], a.role.clone());
    let mut on = Vec::new();
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
    Some(Meeting {
        bounds,
        role,
        more: on,
    })
}

/// Two windowed relations joined on a bound of their window.
pub fn window_join(m: &mut Maker) -> Option<(From, Scope)> {
    let [left, right] = window_pair(m)?;
    let (left_alias, right_alias) = (m.name("l"), m.name("r"));
    let left_scope = qualified(&left.columns, &left_alias);
    let right_scope = qualified(&right.columns, &right_alias);
    let meeting = meeting(m, &left_scope, &right_scope)?;
    let leader = meeting.role.clone();
    let on = meeting.on();
    let kind = m.word(&["JOIN", "JOIN", "LEFT JOIN", "RIGHT JOIN"]);
    let mut sides = [left_scope.columns, right_scope.columns];
    let unpartnered = match kind {
        "LEFT JOIN" => Some(1),
        "RIGHT JOIN" => Some(0),
        _ => None,
    };
    if let Some(side) = unpartnered {
        // Null where there is no partner: then it orders nothing.
        m.used.insert("null_bounds");
        for column in &mut sides[side] {
            if is_bound(column) || column.role == Role::Key {
                column.role = Role::Held;
            }
        }
    }
    let mut columns = sides.concat();
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
pub fn window_exists(m: &mut Maker) -> Option<Built> {
    let [left, right] = window_pair(m)?;
    let (left_alias, right_alias) = (m.name("l"), m.name("r"));
    let scope = qualified(&left.columns, &left_alias);
    let inner = qualified(&right.columns, &right_alias);
    let meeting = meeting(m, &scope, &inner)?;
    let leader = meeting.role.clone();
    if meeting
        .more
        .iter()
        .any(|condition| condition.to_string().contains('['))
    {
        return None;
    }
    let from = format!("FROM {} AS {right_alias}", right.name);
    let exists = if m.chance(0.3) && !meeting.more.is_empty() {
        m.used.insert("in_view");
        let [bound, other] = meeting.bounds;
        let more = joined(&meeting.more);
        format!("{bound} IN (SELECT {other} {from} WHERE {more})")
    } else {
        let not = m.word(&["", "NOT "]);
        let on = joined(&meeting.on());
        format!("{not}EXISTS (SELECT 1 {from} WHERE {on})")
    };
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

/// Conditions with AND between.
fn joined(conditions: &[Sql]) -> String {
    let conditions: Vec<String> = conditions.iter().map(ToString::to_string).collect();
    conditions.join(" AND ")
}
