//! The names in an expression, checked against the schema of the JSON view before any event comes.

use std::collections::BTreeMap;
use std::sync::Arc;

use cel::common::ast::{EntryExpr, Expr, LiteralValue, operators};
use cel::{Context, Env, IdedExpr, Program, Value};
use serde_json::Value as Json;

use super::FilterError;
use crate::view::json::Kind;
use crate::view::schema;

/// The field that says which kind of event it is.
const KIND: &str = "kind";

/// A name that an expression spells: a field of an event, a field of that, and so on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Path {
    name: String,
    segments: Vec<String>,
}

impl Path {
    /// As it is written, with dots.
    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// Between the dots.
    pub(super) fn segments(&self) -> &[String] {
        &self.segments
    }
}

/// The names of an expression.
pub(super) struct Names<'a> {
    /// All of them that begin with a field of an event, and of each the parts before its dots, too.
    pub(super) paths: Vec<Path>,
    /// The parts between the outermost `&&` that name the kind and nothing else.
    of_kind: Vec<&'a IdedExpr>,
}

impl Names<'_> {
    /// Whether the expression can hold for events of a kind. If one side of `&&` is false, the whole is, whatever
    /// the other is, an error included.
    pub(super) fn may_hold_for(&self, kind: Kind, language: &Arc<Env>) -> bool {
        let mut context = Context::with_env(Arc::clone(language));
        context.add_variable_from_value(KIND, kind.name());
        !self.of_kind.iter().any(|part| Value::resolve(part, &context) == Ok(Value::Bool(false)))
    }

    fn add(&mut self, path: Path) {
        if !self.paths.contains(&path) {
            self.paths.push(path);
        }
    }
}

/// Checks every name; gives what of an event the expression needs.
pub(super) fn check<'a>(source: &'a str, program: &'a Program) -> Result<Names<'a>, FilterError> {
    let root: Json = serde_json::from_str(&schema::generate()).unwrap_or_default();
    let names = Names { paths: Vec::new(), of_kind: Vec::new() };
    let mut check = Check { source, program, root: &root, bound: Vec::new(), names };
    let result = check.conjunct(program.expression())?;
    must_be_bool(program.expression(), result)?;
    Ok(check.names)
}

struct Check<'a, 's> {
    source: &'a str,
    program: &'a Program,
    root: &'s Json,
    /// Variables of the macros (`exists`, `all`, ...) around the place.
    bound: Vec<String>,
    names: Names<'a>,
}

/// What the schema says of a place: its fields, and whether it may have others.
struct Place<'a> {
    fields: BTreeMap<&'a str, &'a Json>,
    open: bool,
}

/// Top-level fields. The schema has the same; a test compares.
pub(super) const FIELDS: [&str; 23] = [
    "schema",
    "seq",
    "ts",
    "ktime_ns",
    "boot_id",
    "host",
    "kind",
    "cpu",
    "process",
    "exec",
    "fork",
    "exit",
    "prctl",
    "ptrace",
    "go_call",
    "authz",
    "go_panic",
    "go_exit",
    "go_signal",
    "control",
    "repeats",
    "missing",
    "lost_before",
];

/// Operators and functions whose result is never true or false.
const NOT_BOOL: [(&str, &str); 9] = [
    ("_+_", "a sum"),
    ("_-_", "a difference"),
    ("_*_", "a product"),
    ("_/_", "a quotient"),
    ("_%_", "a remainder"),
    ("-_", "a number"),
    ("size", "a size"),
    ("string", "a string"),
    ("int", "a number"),
];

/// What people write, and the glossary's word for it.
const ALIASES: [(&str, &str); 3] = [("pid", "tgid"), ("parent", "ppid"), ("args", "argv")];

impl<'a, 's> Check<'a, 's> {
    /// Checks an expression, or a part between `&&` outside of all other operators.
    fn conjunct(&mut self, node: &'a IdedExpr) -> Result<Option<&'s Json>, FilterError> {
        if let Expr::Call(call) = &node.expr
            && call.func_name == operators::LOGICAL_AND
            && let (None, [left, right]) = (&call.target, call.args.as_slice())
        {
            self.conjunct(left)?;
            self.conjunct(right)?;
            return Ok(None);
        }
        let before = std::mem::take(&mut self.names.paths);
        let schema = self.expression(node)?;
        let own = std::mem::replace(&mut self.names.paths, before);
        if let [path] = own.as_slice()
            && path.name == KIND
        {
            self.names.of_kind.push(node);
        }
        for path in own {
            self.names.add(path);
        }
        Ok(schema)
    }

    /// Checks an expression; gives the schema of what it stands for where that is known.
    fn expression(&mut self, node: &IdedExpr) -> Result<Option<&'s Json>, FilterError> {
        match &node.expr {
            Expr::Unspecified | Expr::Literal(_) => Ok(None),
            Expr::Ident(name) => self.ident(node, name),
            Expr::Select(select) => {
                let schema = self.expression(&select.operand)?;
                if let Some(path) = self.path(node) {
                    self.names.add(path);
                }
                let Some(schema) = schema else { return Ok(None) };
                let place = self.place(schema);
                match place.fields.get(select.field.as_str()) {
                    Some(field) => Ok(Some(field)),
                    None if place.open => Ok(None),
                    None => {
                        let valid: Vec<&str> = place.fields.into_keys().collect();
                        Err(self.unknown(node, &select.field, &text(&select.operand), &valid))
                    }
                }
            }
            Expr::Call(call) => {
                if let Some(target) = &call.target {
                    self.expression(target)?;
                }
                for argument in &call.args {
                    self.expression(argument)?;
                }
                Ok(None)
            }
            Expr::List(list) => {
                for element in &list.elements {
                    self.expression(element)?;
                }
                Ok(None)
            }
            Expr::Map(map) => {
                for entry in &map.entries {
                    self.entry(&entry.expr)?;
                }
                Ok(None)
            }
            Expr::Struct(structure) => {
                for entry in &structure.entries {
                    self.entry(&entry.expr)?;
                }
                Ok(None)
            }
            Expr::Comprehension(macro_) => {
                self.expression(&macro_.iter_range)?;
                self.expression(&macro_.accu_init)?;
                let depth = self.bound.len();
                self.bound.push(macro_.accu_var.clone());
                self.bound.push(macro_.iter_var.clone());
                self.bound.extend(macro_.iter_var2.clone());
                for part in [&macro_.loop_cond, &macro_.loop_step, &macro_.result] {
                    self.expression(part)?;
                }
                self.bound.truncate(depth);
                Ok(None)
            }
        }
    }

    /// The path that a node spells, if it begins with a field of an event.
    fn path(&self, node: &IdedExpr) -> Option<Path> {
        match &node.expr {
            Expr::Ident(name) if !self.is_bound(name) => {
                Some(Path { name: name.clone(), segments: vec![name.clone()] })
            }
            // A test for a field is no name, only what it looks in is.
            Expr::Select(select) if !select.test => {
                let mut path = self.path(&select.operand)?;
                path.name = format!("{}.{}", path.name, select.field);
                path.segments.push(select.field.clone());
                Some(path)
            }
            _ => None,
        }
    }

    /// Whether a name is one that the expression itself makes.
    fn is_bound(&self, name: &str) -> bool {
        name.starts_with('@') || self.bound.iter().any(|bound| bound == name)
    }

    fn entry(&mut self, entry: &EntryExpr) -> Result<(), FilterError> {
        match entry {
            EntryExpr::StructField(field) => self.expression(&field.value)?,
            EntryExpr::MapEntry(entry) => {
                self.expression(&entry.key)?;
                self.expression(&entry.value)?
            }
        };
        Ok(())
    }

    fn ident(&mut self, node: &IdedExpr, name: &str) -> Result<Option<&'s Json>, FilterError> {
        if self.is_bound(name) {
            return Ok(None);
        }
        let Some(field) = FIELDS.into_iter().find(|field| *field == name) else {
            return Err(self.unknown(node, name, "an event", &FIELDS));
        };
        if let Some(path) = self.path(node) {
            self.names.add(path);
        }
        Ok(self.root.get("properties").and_then(|properties| properties.get(field)))
    }

    fn place(&self, schema: &'s Json) -> Place<'s> {
        let mut place = Place { fields: BTreeMap::new(), open: false };
        self.collect(schema, &mut place);
        place
    }

    fn collect(&self, schema: &'s Json, place: &mut Place<'s>) {
        if let Some(target) = schema.get("$ref").and_then(Json::as_str) {
            if let Some(target) = target.strip_prefix('#').and_then(|path| self.root.pointer(path)) {
                self.collect(target, place);
            }
            return;
        }
        for union in ["anyOf", "oneOf"] {
            for part in schema.get(union).and_then(Json::as_array).into_iter().flatten() {
                self.collect(part, place);
            }
        }
        if let Some(fields) = schema.get("properties").and_then(Json::as_object) {
            place.fields.extend(fields.iter().map(|(name, field)| (name.as_str(), field)));
        }
        place.open |= schema.get("additionalProperties").is_some_and(|more| *more != Json::Bool(false));
    }

    fn unknown(&self, node: &IdedExpr, written: &str, place: &str, valid: &[&str]) -> FilterError {
        let name = ALIASES.iter().find(|row| row.0 == written).map_or(written, |row| row.1);
        let nearest =
            valid.iter().min_by_key(|valid| (distance(name, valid), !valid.contains(name))).filter(|valid| {
                distance(name, valid) <= 2.max(name.len() / 3)
                    || valid.contains(name)
                    || name.contains(**valid)
            });
        let hint = match nearest {
            Some(nearest) => format!("did you mean `{nearest}`?"),
            None => format!("it has {}", valid.join(", ")),
        };
        FilterError::UnknownField {
            column: self.column(node, written),
            name: written.to_owned(),
            place: place.to_owned(),
            hint,
        }
    }

    /// Column of a name: the parser knows where its node is written.
    fn column(&self, node: &IdedExpr, name: &str) -> usize {
        let (start, end) = self.program.source_info().offset_for(node.id).unwrap_or((0, 0));
        let start = usize::try_from(start).unwrap_or(0);
        let from = match &node.expr {
            // The node of a selection is its dot.
            Expr::Select(_) => start.min(usize::try_from(end).unwrap_or(0)),
            _ => start,
        };
        let chars: Vec<char> = self.source.chars().collect();
        let wanted: Vec<char> = name.chars().collect();
        let rest = chars.get(from..).unwrap_or_default();
        let found = rest.windows(wanted.len().max(1)).position(|window| window == wanted).unwrap_or(0);
        from.saturating_add(found).saturating_add(1)
    }
}

/// The path that a node spells.
fn text(node: &IdedExpr) -> String {
    match &node.expr {
        Expr::Ident(name) => name.clone(),
        Expr::Select(select) => format!("{}.{}", text(&select.operand), select.field),
        _ => "an expression".into(),
    }
}

/// Levenshtein distance.
fn distance(a: &str, b: &str) -> usize {
    let mut row: Vec<usize> = (0..=b.chars().count()).collect();
    for (at, left) in a.chars().enumerate() {
        let mut diagonal = at;
        let mut last = at.saturating_add(1);
        for (cell, right) in row.iter_mut().skip(1).zip(b.chars()) {
            let above = *cell;
            *cell = last
                .saturating_add(1)
                .min(above.saturating_add(1))
                .min(diagonal + usize::from(left != right));
            diagonal = above;
            last = *cell;
        }
        if let Some(first) = row.first_mut() {
            *first = at.saturating_add(1);
        }
    }
    row.last().copied().unwrap_or(0)
}

/// Whether the whole expression can be true or false.
fn must_be_bool(node: &IdedExpr, schema: Option<&Json>) -> Result<(), FilterError> {
    let gives = match &node.expr {
        Expr::Literal(LiteralValue::Boolean(_)) | Expr::Unspecified | Expr::Comprehension(_) => {
            return Ok(());
        }
        Expr::Literal(_) => "a constant".to_owned(),
        Expr::List(_) => "a list".into(),
        Expr::Map(_) | Expr::Struct(_) => "an object".into(),
        Expr::Call(call) => match NOT_BOOL.iter().find(|row| row.0 == call.func_name) {
            Some(row) => row.1.into(),
            None => return Ok(()),
        },
        Expr::Select(select) if select.test => return Ok(()),
        Expr::Ident(_) | Expr::Select(_) => {
            let kind = schema.and_then(|schema| schema.get("type"));
            let boolean = kind.is_none_or(|kind| match kind {
                Json::Array(kinds) => kinds.iter().any(|kind| kind == "boolean"),
                kind => kind == "boolean",
            });
            let object =
                schema.is_some_and(|schema| schema.get("$ref").is_some() || schema.get("anyOf").is_some());
            if boolean && !object {
                return Ok(());
            }
            format!("the field `{}`", text(node))
        }
    };
    Err(FilterError::NotBool { gives })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn distances() {
        assert_eq!(distance("proces", "process"), 1);
        assert_eq!(distance("pid", "ppid"), 1);
        assert_eq!(distance("", "abc"), 3);
        assert_eq!(distance("kitten", "sitting"), 3);
    }

    #[test]
    fn the_list_of_fields_is_the_schema_s() {
        let root: Json = serde_json::from_str(&schema::generate()).unwrap_or_default();
        let mut of_schema: Vec<&str> = root
            .get("properties")
            .and_then(Json::as_object)
            .into_iter()
            .flatten()
            .map(|row| row.0.as_str())
            .collect();
        let mut own = FIELDS.to_vec();
        of_schema.sort_unstable();
        own.sort_unstable();
        assert_eq!(of_schema, own);
    }
}
