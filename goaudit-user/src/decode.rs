//! Ring bytes to records: total, and suspicious of every byte.
//!
//! The ring is written by our own programs, but object and agent may disagree, a program may be wrong, and
//! golden files come from disks: whatever does not add up is a [`DecodeError`] that the caller counts, never
//! a panic and never undefined behaviour. No clock, no files, no allocation; texts are borrowed.

use goaudit_ebpf::hook::exec::Exec;
use goaudit_ebpf::hook::exit::Exit;
use goaudit_ebpf::hook::fork::Fork;
use goaudit_ebpf::hook::go::{Call, Signal, Unwind};
use goaudit_ebpf::hook::prctl::{self, Change, Prctl};
use goaudit_ebpf::hook::ptrace::Ptrace;
use goaudit_ebpf::wire::{Header, Kind, Section, TEXT_MAX, Text};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// Most CPUs that Linux supports (`NR_CPUS` of x86-64 with MAXSMP): a higher number is damage.
pub const MAX_CPUS: u32 = 8192;

/// A decoded record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Record<'a> {
    /// An execve or execveat; its texts came before.
    Exec(Exec),
    /// A piece of a long value: its head, its section, its bytes.
    Text(Text, Section, &'a [u8]),
    /// A new process or thread.
    Fork(Fork),
    /// The end of a process.
    Exit(Exit),
    /// A prctl call, with the change it made if the kernel side took it.
    Prctl(Prctl, Option<Change>),
    /// A ptrace call.
    Ptrace(Ptrace),
    /// A Go function was entered: its head and the cells behind it ([`crate::hook::go::cells`]).
    GoEnter(Call, &'a [u8]),
    /// A Go function returned.
    GoReturn(Call, &'a [u8]),
    /// Frames of a goroutine are gone.
    GoUnwind(Unwind),
    /// A probed process got a signal that says that its code may be broken.
    GoSignal(Signal),
}

/// Why bytes are not a record. Reads after "failed to decode a ring record: ".
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// Fewer bytes than the header or the kind's fixed part.
    #[error("{got} bytes where at least {need} belong: eBPF object and agent differ, rebuild both")]
    Short {
        /// Bytes there are.
        got: usize,
        /// Bytes the kind needs.
        need: usize,
    },
    /// The header's length is not the number of bytes.
    #[error("header says {stated} bytes, the ring gave {got}")]
    Length {
        /// What the header says.
        stated: u32,
        /// Bytes there are.
        got: usize,
    },
    /// More bytes than the kind has.
    #[error("{extra} bytes after the end of the record: eBPF object and agent differ, rebuild both")]
    Trailing {
        /// Bytes too many.
        extra: usize,
    },
    /// No such kind.
    #[error("unknown kind {0}: the eBPF object is newer than the agent")]
    UnknownKind(u16),
    /// No such section of a text.
    #[error("unknown text section {0}: the eBPF object is newer than the agent")]
    UnknownSection(u16),
    /// The CPU number cannot be.
    #[error("CPU number {0} is beyond what Linux supports")]
    Cpu(u32),
    /// Sequence numbers start at 1.
    #[error("sequence number is zero")]
    Sequence,
}

impl DecodeError {
    /// Short names, for counters, by [`Self::index`].
    pub const NAMES: [&str; 7] =
        ["short", "length", "trailing", "unknown_kind", "unknown_section", "cpu", "sequence"];

    /// Index into [`Self::NAMES`].
    pub const fn index(&self) -> usize {
        match self {
            Self::Short { .. } => 0,
            Self::Length { .. } => 1,
            Self::Trailing { .. } => 2,
            Self::UnknownKind(_) => 3,
            Self::UnknownSection(_) => 4,
            Self::Cpu(_) => 5,
            Self::Sequence => 6,
        }
    }
}

/// Decodes one record: exactly the bytes that the ring gave for it, at any alignment.
pub fn decode(bytes: &[u8]) -> Result<Record<'_>, DecodeError> {
    let (header, _) = fixed::<Header>(bytes)?;
    if usize::try_from(header.len) != Ok(bytes.len()) {
        return Err(DecodeError::Length { stated: header.len, got: bytes.len() });
    }
    if header.cpu >= MAX_CPUS {
        return Err(DecodeError::Cpu(header.cpu));
    }
    if header.seq == 0 {
        return Err(DecodeError::Sequence);
    }
    match Kind::try_from(header.kind).map_err(DecodeError::UnknownKind)? {
        Kind::Exec => whole(bytes).map(Record::Exec),
        Kind::Fork => whole(bytes).map(Record::Fork),
        Kind::Exit => whole(bytes).map(Record::Exit),
        Kind::Ptrace => whole(bytes).map(Record::Ptrace),
        Kind::GoUnwind => whole(bytes).map(Record::GoUnwind),
        Kind::GoSignal => whole(bytes).map(Record::GoSignal),
        Kind::GoEnter => call(bytes).map(|(call, cells)| Record::GoEnter(call, cells)),
        Kind::GoReturn => call(bytes).map(|(call, cells)| Record::GoReturn(call, cells)),
        Kind::Text => {
            let (text, piece) = fixed::<Text>(bytes)?;
            let section = Section::try_from(text.section).map_err(DecodeError::UnknownSection)?;
            let stated = usize::try_from(text.len).unwrap_or(usize::MAX);
            if stated > TEXT_MAX || stated > piece.len() {
                let need = size_of::<Text>().saturating_add(stated);
                return Err(DecodeError::Short { got: bytes.len(), need });
            }
            let (piece, extra) = piece.split_at_checked(stated).unwrap_or((piece, &[]));
            none_left(extra)?;
            Ok(Record::Text(text, section, piece))
        }
        Kind::Prctl => {
            let (call, rest) = fixed::<Prctl>(bytes)?;
            if call.header.flags & prctl::flags::CHANGE == 0 {
                none_left(rest)?;
                return Ok(Record::Prctl(call, None));
            }
            let (change, extra) = fixed::<Change>(rest).map_err(|_| DecodeError::Short {
                got: bytes.len(),
                need: size_of::<Prctl>() + size_of::<Change>(),
            })?;
            none_left(extra)?;
            Ok(Record::Prctl(call, Some(change)))
        }
    }
}

/// A Go call with its cells.
fn call(bytes: &[u8]) -> Result<(Call, &[u8]), DecodeError> {
    let (call, cells) = fixed::<Call>(bytes)?;
    let stated = usize::try_from(call.bytes).unwrap_or(usize::MAX);
    let Some((cells, extra)) = cells.split_at_checked(stated) else {
        let need = size_of::<Call>().saturating_add(stated);
        return Err(DecodeError::Short { got: bytes.len(), need });
    };
    none_left(extra)?;
    Ok((call, cells))
}

/// The fixed part at the front, copied (the ring's bytes may lie anywhere), and what follows it.
fn fixed<T: FromBytes + KnownLayout + Immutable>(bytes: &[u8]) -> Result<(T, &[u8]), DecodeError> {
    T::read_from_prefix(bytes).map_err(|_| DecodeError::Short { got: bytes.len(), need: size_of::<T>() })
}

/// A record that is nothing but its fixed part.
fn whole<T: FromBytes + KnownLayout + Immutable>(bytes: &[u8]) -> Result<T, DecodeError> {
    let (record, rest) = fixed(bytes)?;
    none_left(rest)?;
    Ok(record)
}

fn none_left(rest: &[u8]) -> Result<(), DecodeError> {
    if rest.is_empty() { Ok(()) } else { Err(DecodeError::Trailing { extra: rest.len() }) }
}

impl Record<'_> {
    /// The common head.
    pub const fn header(&self) -> &Header {
        match self {
            Self::Exec(record) => &record.header,
            Self::Text(record, _, _) => &record.header,
            Self::Fork(record) => &record.header,
            Self::Exit(record) => &record.header,
            Self::Prctl(record, _) => &record.header,
            Self::Ptrace(record) => &record.header,
            Self::GoEnter(record, _) | Self::GoReturn(record, _) => &record.header,
            Self::GoUnwind(record) => &record.header,
            Self::GoSignal(record) => &record.header,
        }
    }

    /// The bytes as the ring would give them; lengths, kind and section are set to what they must be.
    /// For tests, fixtures and benchmarks: the agent never writes records.
    pub fn encode(&self, out: &mut Vec<u8>) {
        let start = out.len();
        match self {
            Self::Exec(record) => out.extend_from_slice(record.as_bytes()),
            Self::Text(head, section, piece) => {
                let len = u32::try_from(piece.len()).unwrap_or(u32::MAX);
                out.extend_from_slice(Text { section: *section as u16, len, ..*head }.as_bytes());
                out.extend_from_slice(piece);
            }
            Self::Fork(record) => out.extend_from_slice(record.as_bytes()),
            Self::Exit(record) => out.extend_from_slice(record.as_bytes()),
            Self::Prctl(record, change) => {
                out.extend_from_slice(record.as_bytes());
                if let Some(change) = change {
                    out.extend_from_slice(change.as_bytes());
                }
            }
            Self::Ptrace(record) => out.extend_from_slice(record.as_bytes()),
            Self::GoEnter(head, cells) | Self::GoReturn(head, cells) => {
                let bytes = u32::try_from(cells.len()).unwrap_or(u32::MAX);
                out.extend_from_slice(Call { bytes, ..*head }.as_bytes());
                out.extend_from_slice(cells);
            }
            Self::GoUnwind(record) => out.extend_from_slice(record.as_bytes()),
            Self::GoSignal(record) => out.extend_from_slice(record.as_bytes()),
        }
        let len = u32::try_from(out.len().saturating_sub(start)).unwrap_or(u32::MAX);
        let mut flags = self.header().flags;
        let kind = match self {
            Self::Exec(_) => Kind::Exec,
            Self::Text(..) => Kind::Text,
            Self::Fork(_) => Kind::Fork,
            Self::Exit(_) => Kind::Exit,
            Self::Prctl(_, change) => {
                flags &= !prctl::flags::CHANGE;
                flags |= if change.is_some() { prctl::flags::CHANGE } else { 0 };
                Kind::Prctl
            }
            Self::Ptrace(_) => Kind::Ptrace,
            Self::GoEnter(..) => Kind::GoEnter,
            Self::GoReturn(..) => Kind::GoReturn,
            Self::GoUnwind(_) => Kind::GoUnwind,
            Self::GoSignal(_) => Kind::GoSignal,
        };
        let header = Header { len, kind: kind as u16, flags, ..*self.header() };
        if let Some(place) = out.get_mut(start..start.saturating_add(size_of::<Header>())) {
            place.copy_from_slice(header.as_bytes());
        }
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test fails by panicking")]

    use proptest::prelude::*;

    use super::*;

    fn bytes_of(record: &Record<'_>) -> Vec<u8> {
        let mut bytes = Vec::new();
        record.encode(&mut bytes);
        bytes
    }

    fn prctl() -> Record<'static> {
        let header = Header { seq: 1, ..Header::default() };
        Record::Prctl(Prctl { header, args: [15, 1, 2, 3, 4], ret: -22 }, None)
    }

    #[test]
    fn lengths_are_checked() {
        let good = bytes_of(&prctl());
        assert!(decode(&good).is_ok());
        assert_eq!(decode(&[]), Err(DecodeError::Short { got: 0, need: 96 }));
        assert_eq!(decode(&good[..95]), Err(DecodeError::Short { got: 95, need: 96 }));
        assert_eq!(decode(&good[..143]), Err(DecodeError::Length { stated: 144, got: 143 }));
        let mut long = good.clone();
        long.push(0);
        assert_eq!(decode(&long), Err(DecodeError::Length { stated: 144, got: 145 }));
        long[0] = 145;
        assert_eq!(decode(&long), Err(DecodeError::Trailing { extra: 1 }));
        let mut short = good[..143].to_vec();
        short[0] = 143;
        assert_eq!(decode(&short), Err(DecodeError::Short { got: 143, need: 144 }));
    }

    #[test]
    fn unknown_numbers_are_errors() {
        let mut bytes = bytes_of(&prctl());
        bytes[4] = 99;
        assert_eq!(decode(&bytes), Err(DecodeError::UnknownKind(99)));
        let header = Header { seq: 1, ..Header::default() };
        let mut text = bytes_of(&Record::Text(Text { header, ..Text::default() }, Section::Cwd, b"x"));
        text[104] = 77;
        assert_eq!(decode(&text), Err(DecodeError::UnknownSection(77)));
        let mut beyond = bytes_of(&prctl());
        beyond[43] = 0x80;
        assert_eq!(decode(&beyond), Err(DecodeError::Cpu(0x8000_0000)));
        let mut zero = bytes_of(&prctl());
        zero[8] = 0;
        assert_eq!(decode(&zero), Err(DecodeError::Sequence));
    }

    #[test]
    fn a_change_that_is_announced_must_be_there() {
        let mut bytes = bytes_of(&prctl());
        bytes[6] = 1;
        assert_eq!(decode(&bytes), Err(DecodeError::Short { got: 144, need: 176 }));
    }

    #[test]
    fn a_text_states_its_length() {
        let header = Header { seq: 1, ..Header::default() };
        let good = bytes_of(&Record::Text(Text { header, ..Text::default() }, Section::ArgsEnv, b"abc"));
        assert!(matches!(decode(&good), Ok(Record::Text(_, Section::ArgsEnv, b"abc"))));
        let mut more = good.clone();
        more[116] = 4;
        assert_eq!(decode(&more), Err(DecodeError::Short { got: 123, need: 124 }));
        let mut fewer = good;
        fewer[116] = 2;
        assert_eq!(decode(&fewer), Err(DecodeError::Trailing { extra: 1 }));
    }

    fn filled<T: FromBytes + KnownLayout + Immutable + std::fmt::Debug>() -> impl Strategy<Value = T> {
        proptest::collection::vec(any::<u8>(), size_of::<T>())
            .prop_map(|bytes| T::read_from_bytes(&bytes).unwrap())
    }

    proptest! {
        #[test]
        fn random_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
            let _ = decode(&bytes);
        }

        /// Random bytes behind a plausible head get past the first checks.
        #[test]
        fn plausible_bytes_never_panic(
            kind in 0u16..9, mut bytes in proptest::collection::vec(any::<u8>(), 96..400)
        ) {
            let len = u32::try_from(bytes.len()).unwrap();
            bytes[..4].copy_from_slice(&len.to_ne_bytes());
            bytes[4..6].copy_from_slice(&kind.to_ne_bytes());
            bytes[40..44].copy_from_slice(&3u32.to_ne_bytes());
            let _ = decode(&bytes);
        }

        #[test]
        fn encoding_then_decoding_is_identity(
            exec in filled::<Exec>(), fork in filled::<Fork>(), exit in filled::<Exit>(),
            call in filled::<Prctl>(), change in proptest::option::of(filled::<Change>()),
            ptrace in filled::<Ptrace>(), head in filled::<Text>(),
            piece in proptest::collection::vec(any::<u8>(), 0..300), offset in 0usize..8,
        ) {
            let records = [
                Record::Exec(exec), Record::Fork(fork), Record::Exit(exit), Record::Prctl(call, change),
                Record::Ptrace(ptrace), Record::Text(head, Section::Exe, &piece),
            ];
            for record in records {
                let mut bytes = vec![0; offset];
                record.encode(&mut bytes);
                // Make the head valid, as a program would.
                bytes[offset + 8] |= 1;
                bytes[offset + 40..offset + 44].copy_from_slice(&7u32.to_ne_bytes());
                let decoded = decode(&bytes[offset..]).unwrap();
                let mut again = Vec::new();
                decoded.encode(&mut again);
                prop_assert_eq!(&bytes[offset..], &again);
            }
        }
    }
}
