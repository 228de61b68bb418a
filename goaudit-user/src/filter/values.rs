//! What an expression sees of an event: values, made when it asks for them and only as much as it asks for.
//!
//! The interpreter looks for the longest name first: for `exec.filename` it asks for just that, and only where an
//! event has no such field for `exec`, to say what is wrong. So no object is made to read one of its fields, and
//! what is not found here is answered as if all objects had been made.

use std::fmt;
use std::sync::OnceLock;

use cel::Value;
use cel::common::value::{CowVal, Val};
use cel::context::VariableResolver;
use serde::ser::{self, Impossible, Serialize, Serializer};

use super::names::Path;
use crate::event::Event;
use crate::view::Origin;
use crate::view::json::EventView;

/// Of the fields of an event the only one that is an object or null: an expression shall not tell null from absent.
const PROCESS: &str = "process";

/// The values of one event.
pub(super) struct Values<'e> {
    paths: &'e [Path],
    view: EventView<'e>,
    /// For each path; none if this event has nothing there.
    made: Vec<OnceLock<Option<Box<dyn Val>>>>,
}

impl<'e> Values<'e> {
    /// The values at these paths.
    pub(super) fn new(paths: &'e [Path], event: &'e Event, origin: &Origin<'e>) -> Self {
        let made = paths.iter().map(|_| OnceLock::new()).collect();
        Self { paths, view: EventView::new(event, origin), made }
    }

    fn make(&self, path: &Path) -> Option<Box<dyn Val>> {
        if path.name() == PROCESS && self.view.process.is_none() {
            return None;
        }
        pick(&self.view, path.segments()).ok()?.try_into().ok()
    }
}

impl VariableResolver for Values<'_> {
    fn resolve<'b>(&'b self, name: &str) -> Option<CowVal<'b, 'b>> {
        let (path, made) = self.paths.iter().zip(&self.made).find(|(path, _)| path.name() == name)?;
        made.get_or_init(|| self.make(path)).as_deref().map(CowVal::Borrowed)
    }
}

/// What lies at a path in what a value serializes as.
fn pick<T: Serialize + ?Sized>(value: &T, path: &[String]) -> Result<Value, Absent> {
    match path.split_first() {
        None => cel::to_value(value).map_err(|_| Absent),
        Some((field, rest)) => value.serialize(Pick { field, rest }),
    }
}

/// There is nothing at the path.
#[derive(Debug)]
struct Absent;

impl fmt::Display for Absent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("there is nothing at the path")
    }
}

impl std::error::Error for Absent {}

impl ser::Error for Absent {
    fn custom<T: fmt::Display>(_: T) -> Self {
        Self
    }
}

/// Takes one field of an object, and of that what lies at the rest of the path.
struct Pick<'p> {
    field: &'p str,
    rest: &'p [String],
}

/// Goes over the fields of an object.
struct Fields<'p> {
    wanted: Pick<'p>,
    /// Whether the next value of a map is the wanted one.
    is_next: bool,
    found: Option<Value>,
}

impl Fields<'_> {
    fn take<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Absent> {
        // Of a name that occurs twice the last one counts, as in a map that is made of all.
        self.found = Some(pick(value, self.wanted.rest)?);
        Ok(())
    }
}

macro_rules! no_objects {
    ($($name:ident($($value:ty),*)),* $(,)?) => {
        $(fn $name(self, $(_: $value),*) -> Result<Value, Absent> { Err(Absent) })*
    };
}

impl<'p> Serializer for Pick<'p> {
    type Ok = Value;
    type Error = Absent;
    type SerializeSeq = Impossible<Value, Absent>;
    type SerializeTuple = Impossible<Value, Absent>;
    type SerializeTupleStruct = Impossible<Value, Absent>;
    type SerializeTupleVariant = Impossible<Value, Absent>;
    type SerializeMap = Fields<'p>;
    type SerializeStruct = Fields<'p>;
    type SerializeStructVariant = Impossible<Value, Absent>;

    no_objects! {
        serialize_bool(bool), serialize_i8(i8), serialize_i16(i16), serialize_i32(i32), serialize_i64(i64),
        serialize_u8(u8), serialize_u16(u16), serialize_u32(u32), serialize_u64(u64), serialize_f32(f32),
        serialize_f64(f64), serialize_char(char), serialize_str(&str), serialize_bytes(&[u8]), serialize_none(),
        serialize_unit(), serialize_unit_struct(&'static str),
        serialize_unit_variant(&'static str, u32, &'static str),
    }

    fn serialize_some<T: Serialize + ?Sized>(self, value: &T) -> Result<Value, Absent> {
        value.serialize(self)
    }

    fn serialize_newtype_struct<T: Serialize + ?Sized>(
        self,
        _: &'static str,
        value: &T,
    ) -> Result<Value, Absent> {
        value.serialize(self)
    }

    fn serialize_newtype_variant<T: Serialize + ?Sized>(
        self,
        _: &'static str,
        _: u32,
        _: &'static str,
        _: &T,
    ) -> Result<Value, Absent> {
        Err(Absent)
    }

    fn serialize_seq(self, _: Option<usize>) -> Result<Self::SerializeSeq, Absent> {
        Err(Absent)
    }

    fn serialize_tuple(self, _: usize) -> Result<Self::SerializeTuple, Absent> {
        Err(Absent)
    }

    fn serialize_tuple_struct(self, _: &'static str, _: usize) -> Result<Self::SerializeTupleStruct, Absent> {
        Err(Absent)
    }

    fn serialize_tuple_variant(
        self,
        _: &'static str,
        _: u32,
        _: &'static str,
        _: usize,
    ) -> Result<Self::SerializeTupleVariant, Absent> {
        Err(Absent)
    }

    fn serialize_map(self, _: Option<usize>) -> Result<Fields<'p>, Absent> {
        Ok(Fields { wanted: self, is_next: false, found: None })
    }

    fn serialize_struct(self, _: &'static str, _: usize) -> Result<Fields<'p>, Absent> {
        Ok(Fields { wanted: self, is_next: false, found: None })
    }

    fn serialize_struct_variant(
        self,
        _: &'static str,
        _: u32,
        _: &'static str,
        _: usize,
    ) -> Result<Self::SerializeStructVariant, Absent> {
        Err(Absent)
    }

    fn collect_str<T: fmt::Display + ?Sized>(self, _: &T) -> Result<Value, Absent> {
        Err(Absent)
    }
}

impl ser::SerializeStruct for Fields<'_> {
    type Ok = Value;
    type Error = Absent;

    fn serialize_field<T: Serialize + ?Sized>(
        &mut self,
        field: &'static str,
        value: &T,
    ) -> Result<(), Absent> {
        if field == self.wanted.field { self.take(value) } else { Ok(()) }
    }

    fn end(self) -> Result<Value, Absent> {
        self.found.ok_or(Absent)
    }
}

impl ser::SerializeMap for Fields<'_> {
    type Ok = Value;
    type Error = Absent;

    fn serialize_key<T: Serialize + ?Sized>(&mut self, key: &T) -> Result<(), Absent> {
        let key = cel::to_value(key).map_err(|_| Absent)?;
        self.is_next = matches!(key, Value::String(name) if *name == self.wanted.field);
        Ok(())
    }

    fn serialize_value<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Absent> {
        if std::mem::take(&mut self.is_next) { self.take(value) } else { Ok(()) }
    }

    fn end(self) -> Result<Value, Absent> {
        self.found.ok_or(Absent)
    }
}
