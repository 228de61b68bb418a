//! Ring records in a file, as the kernel sent them: what `goaudit demo` plays and what a bug report can carry.
//!
//! A CBOR sequence (RFC 8742): one [`Item::Head`], the records in ring order, the books. Not sealed, not a log.

use std::io::{self, Write};

use goaudit_ebpf::wire::{CpuState, LOST_CAUSES};
use minicbor::bytes::ByteVec;
use minicbor::{Decode, Encode};

use crate::event::control::Host;

/// One item of the sequence.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub enum Item {
    /// Where and when the records were made.
    #[n(0)]
    Head(#[n(0)] Head),
    /// One record.
    #[n(1)]
    Record(#[n(0)] ByteVec),
    /// For each CPU, at the end: records seen, and lost by cause.
    #[n(2)]
    Books(#[n(0)] Vec<Books>),
}

/// Where and when records were made.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Head {
    /// The host.
    #[n(0)]
    pub host: Host,
    /// Its boot id.
    #[cbor(n(1), with = "minicbor::bytes")]
    pub boot_id: [u8; 16],
    /// Wall time minus boot time, in nanoseconds.
    #[n(2)]
    pub clock_offset_ns: i64,
    /// Boot time at which recording began.
    #[n(3)]
    pub boottime_ns: u64,
}

/// The kernel's books of one CPU.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Books {
    /// Last sequence number.
    #[n(0)]
    pub seen: u64,
    /// Lost by [`goaudit_ebpf::wire::Lost`].
    #[n(1)]
    pub lost: [u64; LOST_CAUSES],
}

impl From<&CpuState> for Books {
    fn from(state: &CpuState) -> Self {
        Self { seen: state.seq, lost: state.lost }
    }
}

impl From<&Books> for CpuState {
    fn from(books: &Books) -> Self {
        Self { seq: books.seen, lost: books.lost, ..Self::default() }
    }
}

/// Appends an item.
pub fn write(out: &mut impl Write, item: &Item) -> io::Result<()> {
    out.write_all(&minicbor::to_vec(item).map_err(io::Error::other)?)
}

/// The items of a file; ends after the first that cannot be read.
pub fn read(bytes: &[u8]) -> impl Iterator<Item = Result<Item, minicbor::decode::Error>> + '_ {
    let mut decoder = minicbor::Decoder::new(bytes);
    let mut broken = false;
    std::iter::from_fn(move || {
        if broken || decoder.position() >= bytes.len() {
            return None;
        }
        let item = decoder.decode();
        broken = item.is_err();
        Some(item)
    })
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]

    use super::*;

    #[test]
    fn what_is_written_is_read_and_a_cut_end_is_an_error() {
        let items = [
            Item::Head(Head { host: Host::default(), boot_id: [7; 16], clock_offset_ns: -5, boottime_ns: 9 }),
            Item::Record(vec![1, 2, 3].into()),
            Item::Books(vec![Books { seen: 1, lost: [0; LOST_CAUSES] }]),
        ];
        let mut file = Vec::new();
        for item in &items {
            write(&mut file, item).unwrap();
        }
        assert_eq!(read(&file).collect::<Result<Vec<_>, _>>().unwrap(), items);
        file.pop();
        assert!(read(&file).last().unwrap().is_err());
    }
}
