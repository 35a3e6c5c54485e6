//! Rule sets of views and rules, and queries with their CTEs and branches.

use super::data;
use super::from::FROM;
use super::from::WINDOWED;
use super::grammar::Feature::{self, Tables, Union};
use super::grammar::{Column, Exact, Maker, Relation, Role, Ty, Want, Width};
use super::select::SELECT;
use super::table::Reference;
use super::text::{Query, Select};

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
    pub fn query(&mut self, depth: usize) -> (Query, Vec<Column>) {
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
    pub fn cte(&mut self, depth: usize) -> Relation {
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

    pub fn branches(&mut self, depth: usize) -> (Vec<Select>, Vec<Column>) {
        if self.has(Union) && self.chance(0.15) {
            self.used.insert("union_all");
            return self.union(depth);
        }
        let built = self.select(depth);
        (vec![built.select], built.columns)
    }

    /// Branches that give columns of the same kinds, two or three of them; what all branches have by
    /// the same origin keeps it.
    pub fn union(&mut self, depth: usize) -> (Vec<Select>, Vec<Column>) {
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
}
