//! TOML to probes, with the place of everything that is wrong.
//!
//! A file is checked by itself; that the probes under which others are nested are there, in all files of a run.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::sync::Arc;

use goaudit_ebpf::hook::go::{FIELDS_OF_A_SITE, VALUE_MAX};
use toml_edit::{Document, Item, TableLike, Value};

use super::super::abi::{Declarations, GoType, Signature, SignatureError};
use super::super::image::Arch;
use super::allow::{self, Sort};
use super::compiled::{CompileError, Compiled};
use super::identity::{Identity, IdentityKind};
use super::nearest::{nearest, nearest_type};
use super::path::{Expression, Test};
use super::problem::{Problem, ProfileError};
use super::{Declared, Golden, Kind, Meaning, Profile, Source, Versions, function_name, without_major};

/// Keys of a probe beside those of golden values.
const KEYS: [&str; 16] = [
    "id",
    "kind",
    "module",
    "package",
    "function",
    "signature",
    "types",
    "versions",
    "outermost",
    "nested_under",
    "decision_on_error",
    "max_bytes",
    "allow_values",
    "fields",
    "fingerprint",
    "context",
];

/// Keys of a value that is put together or constant.
const SOURCE_KEYS: [&str; 10] =
    ["const", "missing", "join", "with", "or", "of", "names", "if", "then", "else"];

/// Bytes taken of a string unless the probe says otherwise.
pub(super) const MAX_BYTES: u32 = 256;

/// A problem and the bytes of the text that it is about.
type Wrong = (Problem, Range<usize>);

/// A file's probes, and the ids under which they are nested.
#[derive(Default)]
pub(super) struct Parsed {
    pub(super) profile: Profile,
    outer: Vec<(String, Range<usize>)>,
}

/// A profile as a file has it.
#[derive(Clone, Copy)]
pub(super) struct File<'a> {
    name: &'a str,
    text: &'a str,
}

impl<'a> File<'a> {
    pub(super) const fn new(name: &'a str, text: &'a str) -> Self {
        Self { name, text }
    }

    /// A file's bytes must be text.
    pub(super) fn of_bytes(name: &'a str, bytes: &'a [u8]) -> Result<Self, ProfileError> {
        std::str::from_utf8(bytes).map(|text| Self::new(name, text)).map_err(|error| {
            let good = bytes.get(..error.valid_up_to()).and_then(|good| std::str::from_utf8(good).ok());
            let good = good.unwrap_or_default();
            Self::new(name, good).wrong((Problem::NotUtf8, good.len()..good.len()))
        })
    }

    pub(super) fn parse(&self) -> Result<Parsed, ProfileError> {
        read(self.text).map_err(|wrong| self.wrong(wrong))
    }

    /// Every id under which a probe is nested must be that of a probe: of this file, or of another one of the run.
    pub(super) fn check_outer(&self, parsed: &Parsed, ids: &BTreeSet<&str>) -> Result<(), ProfileError> {
        match parsed.outer.iter().find(|(id, _)| !ids.contains(&**id)) {
            Some((id, at)) => {
                let nearest = nearest(id, ids.iter().copied());
                Err(self.wrong((Problem::Outer { id: id.clone(), nearest }, at.clone())))
            }
            None => Ok(()),
        }
    }

    fn wrong(&self, (problem, at): Wrong) -> ProfileError {
        let before = self.text.get(..at.start).unwrap_or(self.text);
        let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
        ProfileError {
            file: self.name.to_owned(),
            line: before.matches('\n').count() + 1,
            column: before.get(line_start..).unwrap_or_default().chars().count() + 1,
            problem,
        }
    }
}

fn read(text: &str) -> Result<Parsed, Wrong> {
    let document = Document::parse(text).map_err(|error| {
        (Problem::Toml(error.message().to_owned()), error.span().unwrap_or(text.len()..text.len()))
    })?;
    let mut parsed = Parsed::default();
    for (key, item) in document.iter() {
        if key != "probe" {
            let at = span_of(document.as_table(), key);
            return Err((
                Problem::Key { key: key.to_owned(), nearest: nearest(key, ["probe"].into_iter()) },
                at,
            ));
        }
        let sort = || Problem::Sort { key: "probe".to_owned(), must: "a list of tables: [[probe]]" };
        let tables = item.as_array_of_tables().ok_or_else(|| (sort(), item.span().unwrap_or(0..0)))?;
        for table in tables {
            let at = table.span().unwrap_or(0..0);
            let reader = Reader { text, table, at };
            let probe = reader.probe()?;
            let twice = parsed.profile.probes.iter().any(|other| {
                other.is_twin_of(&probe) && (other.versions == probe.versions || other.versions.is_any())
            });
            if twice {
                return Err((Problem::Twice(probe.id), span_of(table, "id")));
            }
            let outer = reader.words("nested_under")?.into_iter();
            parsed.outer.extend(outer.map(|spot| (spot.value.to_owned(), spot.at)));
            parsed.profile.probes.push(Arc::new(probe));
        }
    }
    Ok(parsed)
}

fn span_of(table: &dyn TableLike, key: &str) -> Range<usize> {
    table.get_key_value(key).and_then(|(key, _)| key.span()).unwrap_or(0..0)
}

/// A text with its place.
#[derive(Clone)]
struct Spot<'a> {
    value: &'a str,
    at: Range<usize>,
    /// Where its first character stands, if it is written as it is, without escapes.
    content: Option<usize>,
}

impl Spot<'_> {
    /// A place within it, or all of it.
    fn within(&self, at: usize) -> Range<usize> {
        self.content.map_or_else(|| self.at.clone(), |start| start + at..start + at)
    }
}

struct Reader<'a> {
    text: &'a str,
    table: &'a dyn TableLike,
    at: Range<usize>,
}

impl<'a> Reader<'a> {
    fn probe(&self) -> Result<Declared, Wrong> {
        let golden_keys = Golden::ALL.iter().map(|(_, key, _)| *key);
        known_keys(self.table, &KEYS.into_iter().chain(golden_keys).collect::<Vec<_>>())?;
        let id = self.required("id")?;
        if !is_id(id.value) {
            return Err((Problem::Id, id.at));
        }
        let kind = self.required("kind")?;
        let named = Kind::NAMES.iter().find(|(_, name)| *name == kind.value).map(|(kind, _)| *kind);
        let kinds = Kind::NAMES.iter().map(|(_, name)| *name);
        let kind = named.ok_or_else(|| {
            let nearest = nearest(kind.value, kinds);
            (Problem::Word { what: "kind", word: kind.value.to_owned(), nearest }, kind.at.clone())
        })?;
        let module = self.required("module")?;
        let bare = without_major(module.value);
        if bare.len() < module.value.len() {
            return Err((Problem::Major(bare.to_owned()), module.within(bare.len())));
        }
        let types = self.types()?;
        let signature_text = self.required("signature")?;
        let signature = Signature::parse(signature_text.value, &types)
            .map_err(|error| signature_problem(error, &signature_text, &types))?;
        let versions = match self.string("versions")? {
            Some(spot) => Versions::parse(spot.value).map_err(|error| (error.into(), spot.at))?,
            None => Versions::default(),
        };
        let mut golden = BTreeMap::new();
        for (key, name, _) in Golden::ALL {
            if let Some((_, item)) = self.table.get_key_value(name) {
                if !key.belongs_to(kind) {
                    let must = match kind {
                        Kind::Authz | Kind::Call => "in a probe of kind authz, or below fields",
                        Kind::Request => {
                            "in a probe of kind authz: a request has request_id and traceparent only"
                        }
                    };
                    let sort = Problem::Sort { key: name.to_owned(), must };
                    return Err((sort, span_of(self.table, name)));
                }
                golden.insert(key, self.source(name, item)?);
            }
        }
        if kind == Kind::Authz && !golden.contains_key(&Golden::Allow) {
            return Err((Problem::Absent("allow: where the decision is"), self.at.clone()));
        }
        if kind == Kind::Request && golden.is_empty() {
            return Err((Problem::Absent("request_id or traceparent"), self.at.clone()));
        }
        let probe = Declared {
            id: id.value.to_owned(),
            kind,
            module: module.value.to_owned(),
            package: self.string("package")?.map_or(module.value, |spot| spot.value).to_owned(),
            function: self.function()?,
            signature,
            types,
            versions,
            outermost: self.flag("outermost")?,
            nested_under: self.words("nested_under")?.iter().map(|spot| spot.value.to_owned()).collect(),
            decision_on_error: self.flag("decision_on_error")?,
            max_bytes: self.max_bytes()?,
            golden,
            allow_values: self.allow_values()?,
            fields: self.fields()?,
            identities: self.identities(kind)?,
            context: self.context(kind)?,
        };
        self.check(probe)
    }

    /// Every path must be possible on both architectures.
    fn check(&self, probe: Declared) -> Result<Declared, Wrong> {
        let probe = Arc::new(probe);
        for (arch, name) in [(Arch::Amd64, "amd64"), (Arch::Arm64, "arm64")] {
            let compiled = probe.compile(arch, None).map_err(|error| match error {
                CompileError::Walk { text, at, error } => {
                    (Problem::Walk { error, arch: name }, self.place_of(&text, at))
                }
                CompileError::Full { site, text } => {
                    (Problem::Full { limit: FIELDS_OF_A_SITE, site, arch: name }, self.place_of(&text, 0))
                }
            })?;
            self.check_allow(&compiled)?;
        }
        Ok(Arc::unwrap_or_clone(probe))
    }

    /// What `allow` leads to must be something that can decide, and `allow_values` explain what it can be.
    fn check_allow(&self, compiled: &Compiled) -> Result<(), Wrong> {
        const TRUTH: &str =
            "a truth value or a test against nil; what other numbers and texts mean, allow_values must say";
        const POINTER: &str =
            "tested against nil, as in x != nil: of a pointer or a map nothing else is known";
        let values = self.tables("allow_values")?;
        let reader = compiled.golden.iter().find(|(key, _)| *key == Golden::Allow);
        let source = compiled.declared.golden.get(&Golden::Allow);
        let (Some((_, reader)), Some(source), Some(item)) = (reader, source, self.table.get("allow")) else {
            return match self.table.get("allow_values") {
                Some(item) => Err(self.sort("allow_values", item, "beside allow, whose values it explains")),
                None => Ok(()),
            };
        };
        let ends = allow::ends(source, reader, compiled);
        let explained = values.is_some_and(|values| !values.is_empty());
        for (sort, expression) in &ends {
            let must = match sort {
                Sort::Pointer => POINTER,
                Sort::Number | Sort::Text if !explained => TRUTH,
                Sort::Truth | Sort::Number | Sort::Text => continue,
            };
            let at = expression.and_then(|expression| self.place_in(vec![item], &expression.text, 0));
            let at = at.or_else(|| item.span()).unwrap_or_else(|| self.at.clone());
            return Err((Problem::Sort { key: "allow".to_owned(), must }, at));
        }
        for (text, _) in values.into_iter().flat_map(TableLike::iter) {
            if let Some(what) = allow::never(text, &ends) {
                let truths = ends.iter().any(|(sort, _)| *sort == Sort::Truth);
                let names = ["true", "false"].into_iter().filter(|_| truths);
                let nearest = nearest(text, names);
                let at = values.map_or(0..0, |values| span_of(values, text));
                return Err((Problem::Never { what, word: text.to_owned(), nearest }, at));
            }
        }
        Ok(())
    }

    /// Where a path stands: the first value of the probe that is this text.
    fn place_of(&self, path: &str, at: usize) -> Range<usize> {
        let all = self.table.iter().map(|(_, item)| item).collect();
        self.place_in(all, path, at).unwrap_or_else(|| self.at.clone())
    }

    /// The same, of some of its values.
    fn place_in(&self, mut open: Vec<&'a Item>, path: &str, at: usize) -> Option<Range<usize>> {
        while let Some(item) = open.pop() {
            open.extend(tables_of(item).into_iter().flat_map(|table| table.iter()).map(|(_, item)| item));
            let array = item.as_array().into_iter().flatten();
            for value in item.as_value().into_iter().chain(array) {
                if let Some(spot) = self.spot(value)
                    && spot.value.trim() == path
                {
                    let blanks = spot.value.len() - spot.value.trim_start().len();
                    return Some(spot.within(at + blanks));
                }
            }
        }
        None
    }

    fn spot(&self, value: &'a Value) -> Option<Spot<'a>> {
        let text = value.as_str()?;
        let at = value.span().unwrap_or_else(|| self.at.clone());
        let raw = self.text.get(at.clone()).unwrap_or_default();
        let content = raw.get(1..).filter(|rest| rest.starts_with(text)).map(|_| at.start + 1);
        Some(Spot { value: text, at, content })
    }

    fn sort(&self, key: &str, item: &Item, must: &'static str) -> Wrong {
        let at = item.span().unwrap_or_else(|| span_of(self.table, key));
        (Problem::Sort { key: key.to_owned(), must }, at)
    }

    fn string(&self, key: &'static str) -> Result<Option<Spot<'a>>, Wrong> {
        let Some(item) = self.table.get(key) else { return Ok(None) };
        let spot = item.as_value().and_then(|value| self.spot(value)).filter(|spot| !spot.value.is_empty());
        spot.map(Some).ok_or_else(|| self.sort(key, item, "a text that is not empty"))
    }

    fn required(&self, key: &'static str) -> Result<Spot<'a>, Wrong> {
        self.string(key)?.ok_or_else(|| (Problem::Absent(key), self.at.clone()))
    }

    fn function(&self) -> Result<String, Wrong> {
        let spot = self.required("function")?;
        function_name::check(spot.value).map_err(|error| {
            let at = spot.within(error.at);
            (error.into(), at)
        })?;
        Ok(spot.value.to_owned())
    }

    fn flag(&self, key: &'static str) -> Result<bool, Wrong> {
        let Some(item) = self.table.get(key) else { return Ok(false) };
        item.as_bool().ok_or_else(|| self.sort(key, item, "true or false"))
    }

    fn words(&self, key: &'static str) -> Result<Vec<Spot<'a>>, Wrong> {
        const MUST: &str = "a list of ids, as in [\"casbin.cached_enforce\"]";
        let Some(item) = self.table.get(key) else { return Ok(Vec::new()) };
        let words = item.as_array().ok_or_else(|| self.sort(key, item, MUST))?.iter();
        let id = |word: &'a Value| {
            self.spot(word).filter(|spot| is_id(spot.value)).ok_or_else(|| {
                let at = word.span().unwrap_or_else(|| self.at.clone());
                (Problem::Sort { key: key.to_owned(), must: MUST }, at)
            })
        };
        words.map(id).collect()
    }

    fn max_bytes(&self) -> Result<u32, Wrong> {
        let Some(item) = self.table.get("max_bytes") else { return Ok(MAX_BYTES) };
        let number = item.as_integer().and_then(|number| u32::try_from(number).ok());
        let number = number.filter(|number| (1..=VALUE_MAX).contains(&(*number as usize)));
        number.ok_or_else(|| self.sort("max_bytes", item, "a number from 1 to 512"))
    }

    fn tables(&self, key: &'static str) -> Result<Option<&'a dyn TableLike>, Wrong> {
        let Some(item) = self.table.get(key) else { return Ok(None) };
        item.as_table_like().map(Some).ok_or_else(|| self.sort(key, item, "a table"))
    }

    fn types(&self) -> Result<Declarations, Wrong> {
        let Some(table) = self.tables("types")? else { return Ok(Declarations::new()) };
        let mut types = Declarations::new();
        let mut spots = Vec::new();
        for (name, item) in table.iter() {
            let spot = item.as_value().and_then(|value| self.spot(value));
            let spot = spot.ok_or_else(|| {
                self.sort(name, item, "a Go type in quotes, as in \"struct { ID string }\"")
            })?;
            types.insert(name.to_owned(), spot.value.to_owned());
            spots.push(spot);
        }
        for spot in spots {
            GoType::parse(spot.value, &types).map_err(|error| signature_problem(error, &spot, &types))?;
        }
        Ok(types)
    }

    /// `fingerprint`: one table, or a list of them.
    fn identities(&self, kind: Kind) -> Result<Vec<Identity<Source>>, Wrong> {
        const KEY: &str = "fingerprint";
        const MUST: &str = "{ sub = PATH, jti = PATH }, { certificate = PATH, key_id = PATH }, \
                            { namespace = PATH, name = PATH }, { plain = PATH }, or a list of these";
        let Some(item) = self.table.get(KEY) else { return Ok(Vec::new()) };
        if kind != Kind::Authz {
            return Err(self.sort(KEY, item, "in a probe of kind authz"));
        }
        let tables = tables_of(item);
        if tables.is_empty() || item.as_array().is_some_and(|array| array.len() != tables.len()) {
            return Err(self.sort(KEY, item, MUST));
        }
        let identity = |table: &'a dyn TableLike| {
            let keys = IdentityKind::KEYS.iter().flat_map(|(_, first, second, _)| [Some(*first), *second]);
            known_keys(table, &keys.flatten().collect::<Vec<_>>())?;
            for (kind, first_key, second_key, needed) in IdentityKind::KEYS {
                let (Some(first), second) = (table.get(first_key), second_key.and_then(|key| table.get(key)))
                else {
                    continue;
                };
                if table.len() != 1 + usize::from(second.is_some()) || (needed && second.is_none()) {
                    break;
                }
                let second =
                    second.map(|second| self.source(second_key.unwrap_or_default(), second)).transpose()?;
                return Ok(Identity { kind, first: self.source(first_key, first)?, second });
            }
            Err(self.sort(KEY, item, MUST))
        };
        tables.into_iter().map(identity).collect()
    }

    /// `context`: a path that ends at a `context.Context`.
    fn context(&self, kind: Kind) -> Result<Option<Expression>, Wrong> {
        const KEY: &str = "context";
        let Some(item) = self.table.get(KEY) else { return Ok(None) };
        let must = "in a probe of kind authz or call: when a request begins, its span does not";
        if kind == Kind::Request {
            return Err(self.sort(KEY, item, must));
        }
        let value = item.as_value().ok_or_else(|| self.sort(KEY, item, "a path in quotes"))?;
        let context = self.expression(KEY, value)?;
        let plain = context.test == Test::Value && !context.path.len && !context.path.at_return;
        if plain { Ok(Some(context)) } else { Err(self.sort(KEY, item, "a path to a context.Context")) }
    }

    fn expression(&self, key: &str, value: &'a Value) -> Result<Expression, Wrong> {
        let spot = self.spot(value).ok_or_else(|| {
            let at = value.span().unwrap_or_else(|| self.at.clone());
            (Problem::Sort { key: key.to_owned(), must: "a path in quotes" }, at)
        })?;
        Expression::parse(spot.value).map_err(|error| {
            let at = spot.within(error.at);
            (error.into(), at)
        })
    }

    fn source(&self, key: &str, item: &'a Item) -> Result<Source, Wrong> {
        const MUST: &str = "a path in quotes, { const = TEXT }, { missing = REASON }, \
                            { join = [PATH, PATH], with = TEXT, or = PATH }, { of = PATH, names = { 0 = TEXT } }, \
                            or { if = PATH, then = PATH, else = PATH }";
        if let Some(value) = item.as_value()
            && value.is_str()
        {
            return Ok(Source::Read(self.expression(key, value)?));
        }
        let wrong = || self.sort(key, item, MUST);
        let table = item.as_table_like().ok_or_else(wrong)?;
        known_keys(table, &SOURCE_KEYS)?;
        let text = |name: &str| table.get(name).and_then(Item::as_str).map(str::to_owned);
        let path = |name: &str| match table.get(name).and_then(Item::as_value) {
            Some(value) => self.expression(name, value).map(Some),
            None => Ok(None),
        };
        let has = |names: &[&str]| table.iter().all(|(name, _)| names.contains(&name));
        if has(&["const"]) {
            return text("const").map(Source::Const).ok_or_else(wrong);
        }
        if has(&["missing"]) {
            return text("missing").map(Source::Missing).ok_or_else(wrong);
        }
        if has(&["join", "with", "or"]) {
            let parts = table.get("join").and_then(Item::as_array).filter(|parts| !parts.is_empty());
            let parts = parts.ok_or_else(wrong)?.iter().map(|part| self.expression(key, part));
            let parts = parts.collect::<Result<_, _>>()?;
            return Ok(Source::Join { parts, with: text("with").ok_or_else(wrong)?, or: path("or")? });
        }
        if has(&["of", "names"]) {
            let names = table.get("names").and_then(Item::as_table_like).ok_or_else(wrong)?;
            let name = |(value, name): (&str, &Item)| Some((value.to_owned(), name.as_str()?.to_owned()));
            let names = names.iter().map(name).collect::<Option<_>>().ok_or_else(wrong)?;
            return Ok(Source::Named { of: path("of")?.ok_or_else(wrong)?, names });
        }
        match (path("if")?, path("then")?, path("else")?) {
            (Some(when), Some(then), Some(otherwise)) if has(&["if", "then", "else"]) => {
                Ok(Source::Choice { when, then, otherwise })
            }
            _ => Err(wrong()),
        }
    }

    fn allow_values(&self) -> Result<BTreeMap<String, Meaning>, Wrong> {
        const MUST: &str = "true, false, or a text that says why it is neither";
        let Some(table) = self.tables("allow_values")? else { return Ok(BTreeMap::new()) };
        let one = |(value, item): (&str, &Item)| {
            let meaning = match (item.as_bool(), item.as_str()) {
                (Some(allowed), _) => Meaning::Decision(allowed),
                (None, Some(reason)) => Meaning::Neither(reason.to_owned()),
                (None, None) => return Err(self.sort(value, item, MUST)),
            };
            Ok((value.to_owned(), meaning))
        };
        table.iter().map(one).collect()
    }

    fn fields(&self) -> Result<Vec<(String, Source)>, Wrong> {
        let Some(table) = self.tables("fields")? else { return Ok(Vec::new()) };
        let golden = |name: &str| Golden::ALL.iter().any(|(_, key, _)| *key == name);
        let mut fields = Vec::new();
        for (name, item) in table.iter() {
            if golden(name) && self.table.contains_key("allow") {
                let must = "set above [probe.fields], where golden values are";
                return Err((Problem::Sort { key: name.to_owned(), must }, span_of(table, name)));
            }
            fields.push((name.to_owned(), self.source(name, item)?));
        }
        Ok(fields)
    }
}

/// The tables that an item is, or is a list of.
fn tables_of(item: &Item) -> Vec<&dyn TableLike> {
    if let Some(table) = item.as_table_like() {
        return vec![table];
    }
    if let Some(tables) = item.as_array_of_tables() {
        return tables.iter().map(|table| table as &dyn TableLike).collect();
    }
    let values = item.as_array().into_iter().flatten();
    values.filter_map(|value| Some(value.as_inline_table()? as &dyn TableLike)).collect()
}

fn known_keys(table: &dyn TableLike, known: &[&str]) -> Result<(), Wrong> {
    for (key, _) in table.iter() {
        if !known.contains(&key) {
            let nearest = nearest(key, known.iter().copied());
            return Err((Problem::Key { key: key.to_owned(), nearest }, span_of(table, key)));
        }
    }
    Ok(())
}

fn signature_problem(error: SignatureError, spot: &Spot<'_>, types: &Declarations) -> Wrong {
    let at = match &error {
        SignatureError::Expected { at, .. }
        | SignatureError::Undeclared { at, .. }
        | SignatureError::Recursive(at)
        | SignatureError::TooLarge(at) => *at,
        SignatureError::Declaration { .. } => 0,
    };
    let nearest = nearest_type(&error, types);
    (Problem::Signature { error, nearest }, spot.within(at))
}

fn is_id(text: &str) -> bool {
    let part = |part: &str| {
        !part.is_empty()
            && part
                .bytes()
                .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"-_".contains(&byte))
    };
    text.contains('.') && text.split('.').all(part)
}
