//! Names of the types that interfaces hold, from the program's file.
//!
//! Every type that an interface can hold has a descriptor in read-only data (`abi.Type` in internal/abi/type.go; before
//! Go 1.21 `runtime._type` in runtime/type.go, with the same layout). Types that a program makes while it runs
//! (`reflect.StructOf`) are not in the file and have no name here.

use std::collections::BTreeSet;

use super::image::Image;
use super::module_data::ModuleData;
use super::{BuildInfo, Program};

/// Go's number of the sort of type, without flags.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Kind(u8);

/// Basic types and their numbers (internal/abi/type.go; the same since Go 1.0).
const KINDS: [(&str, Kind); 21] = [
    ("bool", Kind(1)),
    ("int", Kind(2)),
    ("int8", Kind(3)),
    ("int16", Kind(4)),
    ("int32", Kind(5)),
    ("rune", Kind(5)),
    ("int64", Kind(6)),
    ("uint", Kind(7)),
    ("uint8", Kind(8)),
    ("byte", Kind(8)),
    ("uint16", Kind(9)),
    ("uint32", Kind(10)),
    ("uint64", Kind(11)),
    ("uintptr", Kind(12)),
    ("float32", Kind(13)),
    ("float64", Kind(14)),
    ("complex64", Kind(15)),
    ("complex128", Kind(16)),
    ("func", Kind(19)),
    ("string", Kind::STRING),
    ("unsafe.Pointer", Kind(26)),
];

/// Numbers end here: `unsafe.Pointer`.
const LAST_KIND: u8 = 26;

impl Kind {
    /// Strings, of whatever name.
    pub const STRING: Self = Self(24);

    /// Its number, as `reflect.Kind` has it.
    pub const fn number(self) -> u8 {
        self.0
    }

    /// The kind that a basic type's name stands for.
    pub fn named(name: &str) -> Option<Self> {
        KINDS.iter().find(|(known, _)| *known == name).map(|(_, kind)| *kind)
    }
}

/// A type as a program names it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TypeName {
    /// As `reflect.Type.String` gives it: the package's name, not its path.
    pub name: String,
    /// Its sort; none when the number is not one.
    pub kind: Option<Kind>,
    /// An interface holds the value itself, not a pointer to it.
    pub direct: bool,
    /// Import path of its package: of structs and strings that have a name, and of pointers to those that have methods.
    /// Two packages may have a type of one name.
    pub package: Option<String>,
}

/// The bytes of a program's file by address.
pub trait Memory {
    /// `len` bytes at an address of the file (without load bias); none where the file has none.
    fn read_at(&self, address: u64, len: usize) -> Option<&[u8]>;
}

impl Memory for Image<'_> {
    fn read_at(&self, address: u64, len: usize) -> Option<&[u8]> {
        self.at(address)?.slice(0, len as u64)
    }
}

/// Finds names of types. Addresses are those of the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TypeNames {
    start: u64,
    end: u64,
    /// Lengths of names take two bytes: Go 1.16.
    fixed_lengths: bool,
}

/// Offsets in a type's descriptor.
const FLAGS: usize = 20;
const KIND: usize = 23;
const NAME: usize = 40;
const SIZE: usize = 48;

/// The name begins with a `*` that does not belong to it.
const EXTRA_STAR: u8 = 1 << 1;
/// The value itself is in the interface: in the flags since Go 1.26, in the kind before.
const DIRECT: u8 = 1 << 5;
/// Bits of the kind that are its number.
const KIND_MASK: u8 = (1 << 5) - 1;
/// Bits of the flags: behind what each sort has, the descriptor goes on with package and methods (`abi.UncommonType`).
const UNCOMMON: u8 = 1 << 0;
/// The sorts whose packages are read, and bytes in front of `UncommonType`.
const PACKAGES: [(u8, u64); 3] = [(POINTER, 56), (Kind::STRING.0, 48), (STRUCT, 80)];
const POINTER: u8 = 22;
const STRUCT: u8 = 25;
/// Longer names are damage.
const NAME_MAX: u64 = 1 << 14;

/// Whether these bytes can be a descriptor: the offset of a name is a number that other tables have, too.
fn is_descriptor(bytes: &[u8]) -> bool {
    let [words @ .., _] = bytes.as_chunks::<8>().0 else { return false };
    let [size, with_pointers, [_, _, _, _, _, align, field_align, _], ..] = words else { return false };
    let (size, with_pointers) = (u64::from_le_bytes(*size), u64::from_le_bytes(*with_pointers));
    let is_alignment = |bytes: &u8| matches!(bytes, 1 | 2 | 4 | 8);
    with_pointers <= size
        && with_pointers.is_multiple_of(8)
        && [align, field_align].into_iter().all(is_alignment)
}

impl TypeNames {
    /// For a program; `release` as build info has it, for the one thing that differs. None: the module data say not
    /// where types are.
    pub fn new(module: &ModuleData, release: Option<(u32, u32)>) -> Option<Self> {
        let (start, end) = module.types?;
        Some(Self { start, end, fixed_lengths: release.is_some_and(|release| release < (1, 17)) })
    }

    /// For a program.
    pub fn of(program: &Program<'_>) -> Option<Self> {
        Self::new(program.module(), program.build().and_then(BuildInfo::release))
    }

    /// The address of the type of this name, `*T` of a pointer to `T`. Looked for from end to end: for the few types
    /// that are told by name only. None: the program has no such type, or several.
    pub fn address(&self, memory: &impl Memory, name: &str) -> Option<u64> {
        let len = usize::try_from(self.end.checked_sub(self.start)?).ok()?;
        let all = memory.read_at(self.start, len)?;
        // A type's name may be kept as that of the pointer to it.
        let names = [name.to_owned(), format!("*{name}")];
        let mut places = BTreeSet::new();
        for name in names.iter().filter(|name| name.len() < 0x80) {
            let mut wanted = vec![u8::try_from(name.len()).ok()?];
            wanted.extend(name.as_bytes());
            // In front of the length stand the flags, where the name begins.
            let found = memchr::memmem::find_iter(all, &wanted);
            places.extend(found.filter_map(|at| u32::try_from(at.checked_sub(1)?).ok()));
        }
        let mut found = None;
        for (index, descriptor) in all.as_chunks::<8>().0.iter().enumerate() {
            let [a, b, c, d, ..] = *descriptor;
            if !places.contains(&u32::from_le_bytes([a, b, c, d])) {
                continue;
            }
            let at = self.start + index as u64 * 8;
            let Some(address) = at.checked_sub(NAME as u64) else { continue };
            if self.find(memory, address).is_some_and(|found| found.name == name && found.kind.is_some())
                && found.replace(address).is_some()
            {
                return None;
            }
        }
        found
    }

    /// The type at an address.
    pub fn find(&self, memory: &impl Memory, address: u64) -> Option<TypeName> {
        let inside = (self.start..self.end).contains(&address) && address.is_multiple_of(8);
        let descriptor =
            inside.then(|| memory.read_at(address, SIZE))?.filter(|bytes| is_descriptor(bytes))?;
        let (flags, kind) = (*descriptor.get(FLAGS)?, *descriptor.get(KIND)?);
        let name = self.name(memory, descriptor.get(NAME..NAME + 4)?)?;
        let name = if flags & EXTRA_STAR == 0 { name } else { name.strip_prefix('*')? };
        let number = kind & KIND_MASK;
        Some(TypeName {
            name: name.to_owned(),
            kind: (1..=LAST_KIND).contains(&number).then_some(Kind(number)),
            direct: (kind | flags) & DIRECT != 0,
            package: self.package(memory, address, flags, number),
        })
    }

    /// The package of the type at an address.
    fn package(&self, memory: &impl Memory, address: u64, flags: u8, number: u8) -> Option<String> {
        let (_, behind) = PACKAGES.iter().find(|(kind, _)| *kind == number && flags & UNCOMMON != 0)?;
        let offset = memory.read_at(address.checked_add(*behind)?, 4)?;
        (offset != [0; 4]).then(|| self.name(memory, offset).map(str::to_owned))?
    }

    /// The name at an offset, which is given by its bytes.
    fn name<'m>(&self, memory: &'m impl Memory, offset: &[u8]) -> Option<&'m str> {
        let offset = i32::from_le_bytes(offset.try_into().ok()?);
        let at = self.start.checked_add(u64::try_from(offset).ok()?).filter(|at| *at < self.end)?;
        let (len, head) = self.length(memory, at + 1)?;
        let bytes = memory.read_at(at + 1 + head, usize::try_from(len).ok()?)?;
        std::str::from_utf8(bytes).ok().filter(|name| !name.is_empty())
    }

    /// Length of a name, and of the length.
    fn length(&self, memory: &impl Memory, at: u64) -> Option<(u64, u64)> {
        if self.fixed_lengths {
            let bytes = memory.read_at(at, 2)?;
            return Some((u64::from(u16::from_be_bytes(bytes.try_into().ok()?)), 2));
        }
        let mut len = 0_u64;
        for index in 0..3 {
            let byte = *memory.read_at(at + index, 1)?.first()?;
            len |= u64::from(byte & 0x7f) << (7 * index);
            if byte & 0x80 == 0 {
                return (len < NAME_MAX).then_some((len, index + 1));
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Size, bytes with pointers, hash, flags, both alignments, kind, and what is not looked at.
    fn descriptor(size: u64, with_pointers: u64, alignments: [u8; 2]) -> Vec<u8> {
        let [align, field_align] = alignments;
        let mut bytes = [size.to_le_bytes(), with_pointers.to_le_bytes()].concat();
        bytes.extend([1, 2, 3, 4, 6, align, field_align, POINTER]);
        bytes.resize(SIZE, 0x5a);
        bytes
    }

    #[test]
    fn other_tables_are_no_descriptors() {
        assert!(is_descriptor(&descriptor(8, 8, [8, 8])), "a pointer");
        assert!(is_descriptor(&descriptor(24, 8, [8, 8])), "a slice");
        assert!(is_descriptor(&descriptor(0, 0, [1, 1])), "an empty struct");
        assert!(!is_descriptor(&descriptor(8, 16, [8, 8])), "more with pointers than there is");
        assert!(!is_descriptor(&descriptor(8, 3, [8, 8])), "a part of a pointer");
        assert!(!is_descriptor(&descriptor(8, 8, [0, 8])) && !is_descriptor(&descriptor(8, 8, [8, 3])));
        assert!(!is_descriptor(&[0; SIZE]) && !is_descriptor(&[]));
    }
}
