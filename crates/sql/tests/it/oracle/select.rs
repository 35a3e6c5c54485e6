//! The kinds of SELECT: plain, with GROUP BY over a window or session, DISTINCT, and OVER.

use super::from::{bounded, timed, window_name};
use super::grammar::Feature::{Aggregates, Base, Session, WindowJoin};
use super::grammar::{
    Column, Exact, Expr, Maker, Production, Role, Scope, Ty, Want, Width, Windows, production,
};
use super::join::window_exists;
use super::over::Over;
use super::text::{From, Select, Sql};

/// A SELECT and what it gives.
pub struct Built {
    pub select: Select,
    pub columns: Vec<Column>,
}

/// Makes a SELECT, at most so many subqueries deep.
pub type MakeSelect = fn(&mut Maker, usize) -> Option<Built>;

impl Maker {
    pub fn select(&mut self, depth: usize) -> Built {
        let made = self.produce(SELECT, |maker, make| make(maker, depth));
        made.expect("a plain SELECT is always possible")
    }

    pub fn conditions(&mut self, scope: &Scope, probability: f64) -> Vec<Sql> {
        let mut conditions = Vec::new();
        while conditions.len() < 3 && self.chance(probability / (1.0 + conditions.len() as f64)) {
            conditions.push(self.condition(scope, 1).sql);
        }
        conditions
    }

    /// The items of a SELECT: columns that a scope has, under their names, and other expressions.
    /// `behind` is the time that rows waited for.
    pub fn items(
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

pub const SELECT: &[Production<MakeSelect>] = &[
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
    production("aggregate", Base, 4, aggregate),
    production("over", Base, 4, over),
    production("session", Session, 2, session),
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
