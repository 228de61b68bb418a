//! Go types as far as calling conventions need them: size, alignment, and what they are made of.
//!
//! Sizes are those of 64-bit targets (amd64 and arm64 agree). Rules: the language specification's section "Size and
//! alignment guarantees", and cmd/compile/internal/types/size.go.

use std::sync::Arc;

/// Bytes of a pointer and of `int`.
pub(crate) const WORD: u64 = 8;

/// What a type is made of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum GoType {
    /// `bool`, integers, `uintptr`: one integer register.
    Integer {
        /// Bytes: 1, 2, 4 or 8.
        size: u64,
        /// What its bits say.
        of: Number,
    },
    /// `float32`, `float64`: one floating-point register.
    Float {
        /// Bytes: 4 or 8.
        size: u64,
    },
    /// `complex64`, `complex128`: two floating-point registers.
    Complex {
        /// Bytes: 8 or 16.
        size: u64,
    },
    /// Pointers, channels, functions, `unsafe.Pointer`: one pointer. Of real pointers the text of the type that they
    /// lead to: understood only when a path goes there, for types may lead to themselves.
    Pointer(Option<Arc<str>>),
    /// Maps: one pointer. Their types as text, as those of pointers.
    Map {
        /// Of keys.
        key: Arc<str>,
        /// Of values.
        element: Arc<str>,
    },
    /// Pointer and length.
    String,
    /// Pointer, length, capacity.
    Slice(Arc<Self>),
    /// Type (or method table) and data pointer.
    Interface {
        /// It has methods: the first word is a method table, not a type.
        methods: bool,
        /// It is an `error`: what it says is up to a method, not to the value.
        error: bool,
    },
    /// Elements one after the other.
    Array(u64, Arc<Self>),
    /// Fields in order, aligned.
    Struct(Arc<[Field]>),
}

/// What the bits of an integer say.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Number {
    /// A truth value.
    Bool,
    /// Two's complement.
    Signed,
    /// Not negative.
    Unsigned,
}

/// A field of a struct.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Field {
    /// Its name; of an embedded field, the type's last name.
    pub name: String,
    /// Its type.
    pub of: GoType,
    /// Bytes from the struct's start.
    pub offset: u64,
    /// It is embedded: its own fields are promoted.
    pub embedded: bool,
}

/// A scalar part of a value: what one register holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Part {
    /// Bytes from the value's start.
    pub offset: u64,
    /// Bytes.
    pub size: u64,
    /// Belongs into a floating-point register.
    pub float: bool,
}

impl GoType {
    /// A struct with its fields placed: of each its name, its type, and whether it is embedded. `None`: larger than an
    /// address space.
    pub(crate) fn structure(fields: Vec<(String, Self, bool)>) -> Option<Self> {
        let mut placed = Vec::with_capacity(fields.len());
        let mut offset = 0_u64;
        for (name, of, embedded) in fields {
            offset = offset.checked_next_multiple_of(of.align())?;
            let size = of.size();
            placed.push(Field { name, of, offset, embedded });
            offset = offset.checked_add(size)?;
        }
        (offset < u64::from(u32::MAX)).then(|| Self::Struct(placed.into()))
    }

    /// Bytes.
    pub fn size(&self) -> u64 {
        match self {
            Self::Integer { size, .. } | Self::Float { size } | Self::Complex { size } => *size,
            Self::Pointer(_) | Self::Map { .. } => WORD,
            Self::String | Self::Interface { .. } => 2 * WORD,
            Self::Slice(_) => 3 * WORD,
            Self::Array(count, element) => count.saturating_mul(element.size()),
            Self::Struct(fields) => {
                let Some(last) = fields.last() else { return 0 };
                let end = last.offset + last.of.size();
                // A last field without size gets a byte, so that its address is not behind the struct.
                let end = end + u64::from(last.of.size() == 0 && end > 0);
                end.next_multiple_of(self.align())
            }
        }
    }

    /// Alignment in bytes.
    pub fn align(&self) -> u64 {
        match self {
            Self::Integer { size, .. } | Self::Float { size } => *size,
            // Two floats of half the size.
            Self::Complex { size } => *size / 2,
            Self::Pointer(_) | Self::Map { .. } | Self::String | Self::Interface { .. } | Self::Slice(_) => {
                WORD
            }
            Self::Array(_, element) => element.align(),
            Self::Struct(fields) => fields.iter().map(|field| field.of.align()).max().unwrap_or(1),
        }
    }

    /// The scalar parts in order of registers. `None`: the type is never passed in registers, because it has an
    /// array of more than one element.
    pub fn parts(&self) -> Option<Vec<Part>> {
        let mut parts = Vec::new();
        self.add_parts(0, &mut parts).then_some(parts)
    }

    fn add_parts(&self, offset: u64, parts: &mut Vec<Part>) -> bool {
        let mut word =
            |index: u64| parts.push(Part { offset: offset + index * WORD, size: WORD, float: false });
        match self {
            Self::Integer { size, .. } => parts.push(Part { offset, size: *size, float: false }),
            Self::Float { size } => parts.push(Part { offset, size: *size, float: true }),
            Self::Complex { size } => {
                let half = size / 2;
                parts.extend([0, half].map(|at| Part { offset: offset + at, size: half, float: true }));
            }
            Self::Pointer(_) | Self::Map { .. } => word(0),
            Self::String | Self::Interface { .. } => (0..2).for_each(word),
            Self::Slice(_) => (0..3).for_each(word),
            Self::Array(0, _) => {}
            Self::Array(1, element) => return element.add_parts(offset, parts),
            Self::Array(..) => return self.size() == 0,
            Self::Struct(fields) => {
                return fields.iter().all(|field| field.of.add_parts(offset + field.offset, parts));
            }
        }
        true
    }
}
