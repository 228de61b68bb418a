//! Calls of Go functions: the values that a record brings.
//!
//! What a value means is the profile's business ([`crate::golang::profile`]); here are only the cells.

use goaudit_ebpf::hook::go::{Cell, Status, VALUE_MAX};
use goaudit_ebpf::wire::Kind;
use zerocopy::FromBytes;

use super::Hook;

/// This hook.
pub const HOOK: Hook = Hook {
    name: "go",
    kinds: &[Kind::GoEnter, Kind::GoReturn, Kind::GoUnwind, Kind::GoSignal],
    sees: "calls of Go functions that a profile names: values, decision, exact latency; panics",
    needs: "uprobes with cookies (5.15); a Go program of 1.17 or later",
};

/// Values that are taken of one write of a dying thread, one behind the other.
pub(crate) const WRITE_PIECES: u32 = 4;
/// Bytes that are taken of one such write.
pub(crate) const WRITE_MAX: u64 = VALUE_MAX as u64 * WRITE_PIECES as u64;

/// What a probe means for the goroutine that hits it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Role {
    /// A call of a function that somebody asked for.
    Call,
    /// `runtime.gopanic`: a panic begins.
    Panic,
    /// `runtime.fatalpanic`: a panic that nobody recovered ends the process.
    Fatal,
    /// `runtime.throw`, `runtime.fatal`: the runtime ends the process.
    Throw,
    /// `runtime.Goexit`: the goroutine ends itself.
    Goexit,
    /// `runtime.recovery`: a panic was recovered.
    Recovery,
    /// `runtime.writeErrData`, `runtime.gwrite`: a dying thread writes to standard error.
    Write,
}

/// A value as it came from the kernel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Value<'a> {
    /// Number of the field within its site.
    pub field: u16,
    /// How it was had, or why not.
    pub status: Status,
    /// Its bytes; empty when it was not had.
    pub bytes: &'a [u8],
    /// Length of the whole value.
    pub total: u64,
    /// Address of the dynamic type of the last interface on the way; none when there was none.
    pub dynamic_type: Option<u64>,
}

impl Value<'_> {
    /// The word, for values that are one.
    pub fn word(&self) -> Option<u64> {
        self.bytes.try_into().ok().map(u64::from_ne_bytes)
    }
}

/// The cells of a call. Ends at the first that does not add up: then `None` is the last item.
pub fn cells(mut bytes: &[u8]) -> impl Iterator<Item = Option<Value<'_>>> {
    let mut broken = false;
    std::iter::from_fn(move || {
        if bytes.is_empty() || broken {
            return None;
        }
        let value = cell(&mut bytes);
        broken = value.is_none();
        Some(value)
    })
}

fn cell<'a>(bytes: &mut &'a [u8]) -> Option<Value<'a>> {
    let (head, rest) = Cell::read_from_prefix(bytes).ok()?;
    let len = usize::try_from(head.len).ok()?;
    let (value, _) = rest.split_at_checked(len)?;
    let (_, rest) = rest.split_at_checked(len.checked_next_multiple_of(8)?)?;
    *bytes = rest;
    Some(Value {
        field: head.field,
        status: Status::try_from(head.status).ok()?,
        bytes: value,
        total: head.total,
        dynamic_type: Some(head.dynamic_type).filter(|address| *address != 0),
    })
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test fails by panicking")]
    use proptest::prelude::*;
    use zerocopy::IntoBytes;

    use super::*;

    #[test]
    fn cells_are_padded_to_eight_bytes() {
        let mut bytes = Vec::new();
        bytes.extend_from_slice(
            Cell { field: 3, len: 5, total: 5, dynamic_type: 16, ..Cell::default() }.as_bytes(),
        );
        bytes.extend_from_slice(b"alice\0\0\0");
        bytes.extend_from_slice(Cell { field: 4, len: 8, total: 8, ..Cell::default() }.as_bytes());
        bytes.extend_from_slice(&7u64.to_ne_bytes());
        let values: Vec<_> = cells(&bytes).map(Option::unwrap).collect();
        let told: Vec<_> =
            values.iter().map(|value| (value.field, value.bytes, value.dynamic_type)).collect();
        assert_eq!(told, [(3, &b"alice"[..], Some(16)), (4, &7u64.to_ne_bytes(), None)]);
        assert_eq!(values.last().unwrap().word(), Some(7));
        assert!(cells(bytes.split_last().unwrap().1).last().unwrap().is_none(), "cut off");
    }

    proptest! {
        #[test]
        fn random_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            prop_assert!(cells(&bytes).count() < 200);
        }
    }
}
