//! What the cells of a call say, in the profile's terms.

use std::convert::Infallible;

use goaudit_ebpf::hook::go::{FIELDS_OF_A_SITE, Status};

use super::super::abi::Number;
use super::super::type_name::{Kind as TypeKind, TypeName};
use super::compiled::{Ask, Cell, Compiled, Reader, SpanCells};
use super::identity::Found;
use super::path::Test;
use super::walk::{Shape, Site};
use super::{Golden, Kind};
use crate::event::go::{Field, Value};
use crate::event::{Missing, Text};
use crate::hook::go::{Value as Brought, cells};

/// The values of a call, and what could not be had.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Reading {
    /// Named values, in the profile's order; behind them golden values of which only the beginning was taken, with
    /// their length.
    pub fields: Vec<Field>,
    /// Named values that could not be had.
    pub missing: Vec<Missing>,
    /// Golden values; the error says why there is none.
    pub(super) golden: Vec<(Golden, Result<Got, Lack>)>,
    /// What the subject's fingerprint is made of.
    pub(super) identities: Vec<Found>,
    /// Trace and span id of the span in the call's context, or why there are none; none where the profile names no
    /// context.
    pub(super) span: Option<Result<(String, String), String>>,
}

/// A value with what is known about it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Got {
    pub(super) value: Value,
    pub(super) dynamic_type: Option<String>,
    pub(super) total: Option<u64>,
    /// Why there is only the type of a value that has a text.
    pub(super) unread: Option<String>,
}

impl Got {
    const fn of(value: Value) -> Self {
        Self { value, dynamic_type: None, total: None, unread: None }
    }

    const fn text(text: Text) -> Self {
        Self::of(Value::Text(text))
    }

    /// Why the value has no text.
    pub(super) fn why_no_text(&self) -> String {
        match (&self.unread, &self.dynamic_type) {
            (Some(reason), _) => reason.clone(),
            (None, Some(name)) => format!("the interface holds {name}, whose content is not read"),
            (None, None) => "it is nil".to_owned(),
        }
    }
}

/// Why a value could not be had.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Lack {
    /// The slice ends before it.
    Beyond,
    /// A pointer on the way is nil.
    Nil,
    /// A map, slice or context does not have it.
    Absent,
    /// An interface holds another type than the path asserts.
    OtherType(String),
    /// Anything else, in words.
    Told(String),
}

impl Lack {
    pub(super) fn reason(&self) -> String {
        match self {
            Self::Beyond => "the slice has no such element".to_owned(),
            Self::Nil => "a pointer on the way is nil".to_owned(),
            Self::Absent => "there is no such key".to_owned(),
            Self::OtherType(text) | Self::Told(text) => text.clone(),
        }
    }
}

/// Finds a type by its address.
type Types<'a> = &'a dyn Fn(u64) -> Option<TypeName>;

impl Compiled {
    /// Reads the cells of a call's entry and return; `None` where it was not seen. `types` finds the name of a type by
    /// its address in the process.
    pub fn read(&self, entry: Option<&[u8]>, returned: Option<&[u8]>, types: Types<'_>) -> Reading {
        let sites = Sites { entry: entry.map(Cells::new), returned: returned.map(Cells::new), types };
        let mut reading = Reading::default();
        let prefix = match self.declared.kind {
            Kind::Authz => "authz.call.fields",
            Kind::Call | Kind::Request => "go_call.fields",
        };
        for (name, reader) in &self.fields {
            let (got, lack) = match self.value(reader, &sites) {
                Ok(mut got) => {
                    let unread = got.unread.take();
                    (got, unread)
                }
                Err(lack) => (Got::of(Value::Missing), Some(lack.reason())),
            };
            reading.missing.extend(lack.map(|reason| Missing::new(format!("{prefix}.{name}"), reason)));
            let Got { value, dynamic_type, total, .. } = got;
            reading.fields.push(Field { name: name.clone(), value, dynamic_type, total });
        }
        for (key, reader) in &self.golden {
            let got = self.value(reader, &sites);
            if let Ok(Got { value, dynamic_type, total: Some(total), .. }) = &got {
                let name =
                    Golden::ALL.iter().find(|(golden, ..)| golden == key).map_or("", |(_, name, _)| name);
                reading.fields.push(Field {
                    name: name.to_owned(),
                    value: value.clone(),
                    dynamic_type: dynamic_type.clone(),
                    total: Some(*total),
                });
            }
            reading.golden.push((*key, got));
        }
        for identity in &self.identities {
            let found = identity.map(|reader| Ok::<_, Infallible>(self.value(reader, &sites)));
            reading.identities.extend(found);
        }
        reading.span = self.span.as_ref().map(|span| sites.span(span));
        reading
    }

    fn value(&self, reader: &Reader, sites: &Sites<'_>) -> Result<Got, Lack> {
        match reader {
            Reader::Const(text) => Ok(Got::text(text.as_str().into())),
            Reader::One(ask) => self.ask(*ask, sites),
            Reader::Join { parts, with, or } => self.join(parts, with, *or, sites),
            Reader::Named { of, names } => {
                let got = self.ask(*of, sites)?;
                let name = bytes(&got.value).and_then(|text| names.get(&*String::from_utf8_lossy(&text)));
                Ok(name.map_or(got, |name| Got::text(name.as_str().into())))
            }
            Reader::Choice { when, then, otherwise } => {
                let there = self.ask(*when, sites).is_ok_and(|got| got.value != Value::Nil);
                self.ask(if there { *then } else { *otherwise }, sites)
            }
            Reader::Missing(reason) => Err(Lack::Told(reason.clone())),
        }
    }

    fn join(&self, parts: &[Ask], with: &str, or: Option<Ask>, sites: &Sites<'_>) -> Result<Got, Lack> {
        let mut joined = Vec::new();
        let mut first = None;
        for part in parts {
            match self.ask(*part, sites).and_then(|got| bytes(&got.value).ok_or(Lack::Nil)) {
                Ok(text) if !text.is_empty() => joined.push(text),
                Ok(_) => {}
                // Left out; when nothing at all is there, the first reason is told.
                Err(lack @ (Lack::Beyond | Lack::Nil | Lack::Absent)) => first = first.or(Some(lack)),
                Err(lack) => return Err(lack),
            }
        }
        match (joined.is_empty(), or, first) {
            (true, Some(or), _) => self.ask(or, sites),
            (true, None, Some(lack)) => Err(lack),
            (true, None, None) | (false, ..) => Ok(Got::text(joined.join(with.as_bytes()).into())),
        }
    }

    fn ask(&self, ask: Ask, sites: &Sites<'_>) -> Result<Got, Lack> {
        let Some(cell) = self.cells.get(ask.cell) else {
            return Err(Lack::Told("the profile has no such value".to_owned()));
        };
        let got = sites.cell(cell)?;
        let truth = |value| Ok(Got::of(Value::Bool(value)));
        match (ask.test, &got.value) {
            (Test::Value, _) => Ok(got),
            (Test::Not, Value::Bool(value)) => truth(!value),
            (Test::Not, _) => Err(Lack::Told("it is no truth value".to_owned())),
            (Test::IsNil, value) => truth(*value == Value::Nil),
            (Test::IsNotNil, value) => truth(*value != Value::Nil),
        }
    }
}

/// A value as text, for joining; `None`: it is nil.
pub(super) fn bytes(value: &Value) -> Option<Vec<u8>> {
    match value {
        Value::Nil | Value::Missing | Value::Opaque => None,
        Value::Bool(value) => Some(value.to_string().into_bytes()),
        Value::Int(value) => Some(value.to_string().into_bytes()),
        Value::Uint(value) => Some(value.to_string().into_bytes()),
        Value::Text(text) => Some(text.as_bytes().to_vec()),
        Value::Bytes(bytes) => Some(bytes.clone()),
    }
}

/// The cells of a site by their numbers.
struct Cells<'a> {
    values: [Option<Brought<'a>>; FIELDS_OF_A_SITE],
    broken: bool,
}

impl<'a> Cells<'a> {
    fn new(data: &'a [u8]) -> Self {
        let mut brought = Self { values: [None; FIELDS_OF_A_SITE], broken: false };
        for value in cells(data) {
            let Some(value) = value else {
                brought.broken = true;
                break;
            };
            // Cells of other kinds, as the stack's, have numbers beyond.
            if let Some(place) = brought.values.get_mut(usize::from(value.field)) {
                *place = Some(value);
            }
        }
        brought
    }
}

struct Sites<'a> {
    entry: Option<Cells<'a>>,
    returned: Option<Cells<'a>>,
    types: Types<'a>,
}

impl Sites<'_> {
    fn cell(&self, cell: &Cell) -> Result<Got, Lack> {
        let told = |text: &str| Err(Lack::Told(text.to_owned()));
        let (site, unseen) = match cell.site {
            Site::Entry => (&self.entry, "the entry of the call was not seen"),
            Site::Return => (&self.returned, "the call did not return, or its return was not seen"),
        };
        let Some(site) = site else { return told(unseen) };
        let Some(brought) = site.values.get(usize::from(cell.number)).copied().flatten() else {
            return told(if site.broken { "its record is damaged" } else { "the record does not have it" });
        };
        let name = brought.dynamic_type.map(|address| (address, (self.types)(address)));
        // Where the way ended at the last interface, the type that was noted is that of the one before.
        let went_on = matches!(brought.status, Status::Whole | Status::Cut);
        let name = name.filter(|(_, name)| {
            let is_outer = |outer: &String| name.as_ref().is_some_and(|name| name.satisfies(outer));
            went_on || !cell.outer.as_ref().is_some_and(is_outer)
        });
        if let (Some(asserted), Some((address, name))) = (&cell.asserted, &name) {
            match name {
                Some(name) if name.satisfies(asserted) => {}
                Some(name) => {
                    return Err(Lack::OtherType(format!(
                        "the interface holds {}, not {asserted}",
                        name.name
                    )));
                }
                None => return Err(Lack::Told(unknown_type(*address))),
            }
        }
        if matches!(cell.shape, Shape::Interface | Shape::Error) {
            return interface(cell.shape, &brought, name);
        }
        let dynamic_type = name.and_then(|(_, name)| name).map(|name| name.name);
        match brought.status {
            Status::Whole | Status::Cut => {
                let value = decode(cell.shape, &brought).ok_or_else(damaged)?;
                let total = (brought.status == Status::Cut).then_some(brought.total);
                Ok(Got { value, dynamic_type, total, unread: None })
            }
            status => Err(lack(status)),
        }
    }
}

impl<'a> Sites<'a> {
    /// The ids of the span in the call's context.
    fn span(&self, span: &SpanCells) -> Result<(String, String), String> {
        let entry = self.entry.as_ref().ok_or("the entry of the call was not seen")?;
        let cell = |number: u16| entry.values.get(usize::from(number)).copied().flatten();
        let whole = |brought: Option<Brought<'a>>| {
            brought.filter(|brought| brought.status == Status::Whole).map(|brought| brought.bytes)
        };
        let (head, ids) = (cell(span.head), cell(span.ids));
        let Some(brought) = head.or(ids) else { return Err("the record does not have it".to_owned()) };
        match (brought.dynamic_type, brought.status) {
            (Some(address), _) => {
                let of = (self.types)(address).ok_or_else(|| unknown_type(address))?;
                span.layout.ids(&of, whole(head), whole(ids))
            }
            (None, Status::Absent | Status::Nil) => Err(span.layout.none.to_owned()),
            (None, status) => Err(lack(status).reason()),
        }
    }
}

fn damaged() -> Lack {
    Lack::Told("its record is damaged".to_owned())
}

fn unknown_type(address: u64) -> String {
    format!("the interface holds a type that is not in the program's file (at {address:#x})")
}

fn lack(status: Status) -> Lack {
    Lack::Told(
        match status {
            Status::Whole | Status::Cut => "its record is damaged",
            Status::Nil => return Lack::Nil,
            Status::OutOfRange => return Lack::Beyond,
            Status::Absent => return Lack::Absent,
            Status::Unsearched => "it is not among the first that are looked at",
            Status::NoLayout => "how this Go version lays out maps is not known",
            Status::Fault => "memory on the way was not there (paged out, or no longer what it was)",
            Status::NoRoom => "the record was full",
            Status::NotKept => {
                "the entry kept no pointer for the return: it was not seen, or its map was full"
            }
        }
        .to_owned(),
    )
}

fn decode(shape: Shape, brought: &Brought<'_>) -> Option<Value> {
    Some(match shape {
        Shape::Text => Value::Text(brought.bytes.into()),
        Shape::Bytes => Value::Bytes(brought.bytes.to_vec()),
        Shape::Pointer => {
            if brought.word()? == 0 {
                Value::Nil
            } else {
                Value::Opaque
            }
        }
        Shape::Number(number, size) => self::number(number, size, brought.word()?),
        // Read by `interface`.
        Shape::Interface | Shape::Error => return None,
    })
}

/// Registers hold more than a small number: its upper bits are not defined.
fn number(number: Number, size: u64, word: u64) -> Value {
    let unused = u32::try_from(64_u64.saturating_sub(size * 8)).unwrap_or(0).min(63);
    match number {
        // The lowest byte; anything but 0 is true.
        Number::Bool => Value::Bool(word & 0xff != 0),
        Number::Unsigned => Value::Uint(word << unused >> unused),
        Number::Signed => Value::Int(word.cast_signed() << unused >> unused),
    }
}

/// An interface: nil, its text if its type begins with one, or its type's name alone.
fn interface(
    shape: Shape,
    brought: &Brought<'_>,
    name: Option<(u64, Option<TypeName>)>,
) -> Result<Got, Lack> {
    let Some((address, name)) = name else {
        return match brought.status {
            Status::Nil => Ok(Got::of(Value::Nil)),
            status => Err(lack(status)),
        };
    };
    let readable = name.as_ref().is_some_and(|name| name.begins_with_text(shape));
    let dynamic_type = Some(name.map_or_else(|| format!("type at {address:#x}"), |name| name.name));
    let mut unread = None;
    let (value, total) = match brought.status {
        Status::Whole if readable => (Value::Text(brought.bytes.into()), None),
        Status::Cut if readable => (Value::Text(brought.bytes.into()), Some(brought.total)),
        status @ (Status::Nil | Status::Fault | Status::NoRoom) if readable => {
            unread = Some(format!("its type is known, its text is not: {}", lack(status).reason()));
            (Value::Opaque, None)
        }
        // What was read is not what the type has there: only that it is there counts.
        Status::Whole | Status::Cut | Status::Nil | Status::Fault | Status::NoRoom => (Value::Opaque, None),
        status @ (Status::OutOfRange
        | Status::NotKept
        | Status::Absent
        | Status::Unsearched
        | Status::NoLayout) => return Err(lack(status)),
    };
    Ok(Got { value, dynamic_type, total, unread })
}

impl TypeName {
    /// Whether an interface with this type can be asserted to hold `asserted`. Names of basic types stand for every
    /// type made of them; a name without package for that name in any package; a pointer for what it leads to as well,
    /// because an interface holds both in the same way.
    pub(super) fn satisfies(&self, asserted: &str) -> bool {
        if let Some(kind) = TypeKind::named(asserted) {
            return self.kind == Some(kind);
        }
        let asserted = plain(asserted);
        let own = plain(&self.name);
        same(&asserted, &own) || (!self.direct && asserted.strip_prefix('*').is_some_and(|to| same(to, &own)))
    }

    /// Whether a value of the type, or what it points to, begins with a string that says what it is: as the interface's
    /// shape has it.
    fn begins_with_text(&self, shape: Shape) -> bool {
        (shape == Shape::Interface && self.kind == Some(TypeKind::STRING))
            || TEXTS.contains(&self.name.as_str())
    }
}

/// Types whose first field is a message.
const TEXTS: [&str; 5] = [
    "*errors.errorString",
    "*fmt.wrapError",
    "*fmt.wrapErrors",
    "*errors.fundamental",
    "runtime.errorString",
];

/// One spelling of a type: no blanks, `any` for the empty interface.
fn plain(text: &str) -> String {
    let text: String = text.chars().filter(|character| !character.is_whitespace()).collect();
    text.replace("interface{}", "any")
}

/// Equal, or equal but for a package that `asserted` does not name.
fn same(asserted: &str, own: &str) -> bool {
    if asserted == own {
        return true;
    }
    let stars = |text: &str| text.len() - text.trim_start_matches('*').len();
    let (left, right) = (asserted.trim_start_matches('*'), own.trim_start_matches('*'));
    // The package ends at the first dot, before any type argument.
    let bare =
        right.split_once('.').filter(|(package, _)| package.chars().all(|c| c == '_' || c.is_alphanumeric()));
    stars(asserted) == stars(own) && bare.is_some_and(|(_, name)| name == left)
}
