//! Where personal fields stand in an event: a table. Numbers are stored, and never used again for something else.

use minicbor::{Decode, Decoder, Encode};

use super::Class;
use crate::event::go::Field;
use crate::event::{Authz, Event, Exec, GoPanic, Payload, Text};

/// A field.
pub(super) struct Place {
    /// Its number in the log.
    pub(super) number: u32,
    /// Its JSON path.
    pub(super) path: &'static str,
    /// Classes that it may be of; it is of the first one that the log has.
    pub(super) classes: &'static [Class],
    /// Where it stands, in events that have it.
    pub(super) find: fn(&mut Event) -> Option<Slot<'_>>,
}

use Class::{Arguments, Messages, Object, Subject, User};

/// All of them. What a decision's call was given tells subject and object, too.
pub(super) const PLACES: [Place; 15] = [
    place(0, "authz.authz_subject_id", &[Subject], |event| Some(Slot::Text(&mut authz(event)?.subject_id))),
    place(1, "authz.subject_fingerprint", &[Subject], |event| {
        Some(Slot::Name(&mut authz(event)?.subject_fingerprint))
    }),
    place(2, "authz.authz_object", &[Object], |event| Some(Slot::Text(&mut authz(event)?.object))),
    place(3, "authz.authz_context_hash", &[Object], |event| {
        Some(Slot::Name(&mut authz(event)?.context_hash))
    }),
    place(4, "authz.call.fields", &[Subject, Object, Arguments], |event| {
        Some(Slot::Fields(&mut authz(event)?.call.fields))
    }),
    place(5, "authz.authz_error", &[Messages, Subject, Object], |event| {
        Some(Slot::Text(&mut authz(event)?.error))
    }),
    place(6, "go_call.fields", &[Arguments], |event| match &mut event.payload {
        Payload::GoCall(call) => Some(Slot::Fields(&mut call.fields)),
        _ => None,
    }),
    place(7, "exec.argv", &[Arguments], |event| Some(Slot::Texts(&mut exec(event)?.argv))),
    place(8, "exec.entry_argv", &[Arguments], |event| Some(Slot::Texts(&mut exec(event)?.entry_argv))),
    place(9, "exec.env", &[Arguments], |event| Some(Slot::Pairs(&mut exec(event)?.env))),
    place(10, "exec.cwd", &[Arguments], |event| Some(Slot::Text(&mut exec(event)?.cwd))),
    place(11, "exec.filename", &[Arguments], |event| Some(Slot::Text(&mut exec(event)?.filename))),
    place(12, "process.user", &[User], |event| Some(Slot::Text(&mut event.process.as_mut()?.user))),
    place(13, "go_panic.message", &[Messages], |event| Some(Slot::Text(&mut panic(event)?.message))),
    place(14, "go_panic.traceback", &[Messages], |event| Some(Slot::Text(&mut panic(event)?.traceback))),
];

const fn place(
    number: u32,
    path: &'static str,
    classes: &'static [Class],
    find: fn(&mut Event) -> Option<Slot<'_>>,
) -> Place {
    Place { number, path, classes, find }
}

fn authz(event: &mut Event) -> Option<&mut Authz> {
    if let Payload::Authz(authz) = &mut event.payload { Some(authz) } else { None }
}

fn exec(event: &mut Event) -> Option<&mut Exec> {
    if let Payload::Exec(exec) = &mut event.payload { Some(exec) } else { None }
}

fn panic(event: &mut Event) -> Option<&mut GoPanic> {
    if let Payload::GoPanic(panic) = &mut event.payload { Some(panic) } else { None }
}

/// A field's value in its place, by type.
pub(super) enum Slot<'a> {
    Text(&'a mut Option<Text>),
    Name(&'a mut Option<String>),
    Texts(&'a mut Vec<Text>),
    Pairs(&'a mut Vec<(Text, Text)>),
    Fields(&'a mut Vec<Field>),
}

impl Slot<'_> {
    /// Takes the value out, as CBOR; false if there is none.
    pub(super) fn take(self, out: &mut Vec<u8>) -> bool {
        match self {
            Self::Text(slot) => take(slot, out),
            Self::Name(slot) => take(slot, out),
            Self::Texts(slot) => take(slot, out),
            Self::Pairs(slot) => take(slot, out),
            Self::Fields(slot) => take(slot, out),
        }
    }

    /// Puts a value back.
    pub(super) fn put(self, values: &mut Decoder<'_>) -> Result<(), minicbor::decode::Error> {
        match self {
            Self::Text(slot) => put(slot, values),
            Self::Name(slot) => put(slot, values),
            Self::Texts(slot) => put(slot, values),
            Self::Pairs(slot) => put(slot, values),
            Self::Fields(slot) => put(slot, values),
        }
    }
}

fn take<T: Default + PartialEq + Encode<()>>(slot: &mut T, out: &mut Vec<u8>) -> bool {
    let value = std::mem::take(slot);
    if value == T::default() {
        return false;
    }
    if let Err(error) = minicbor::encode(&value, out) {
        unreachable!("a Vec takes every byte and no encoder of ours fails: {error}");
    }
    true
}

fn put<'b, T: Decode<'b, ()>>(slot: &mut T, values: &mut Decoder<'b>) -> Result<(), minicbor::decode::Error> {
    *slot = values.decode()?;
    Ok(())
}
