//! Follows a path through a signature's types, and writes the steps that the kernel takes.
//!
//! The kernel's machine has two words (see `goaudit_ebpf::hook::go::Op`); what it cannot reach is refused here, with
//! the part of the path at fault. Where an interface is on the way, the steps note its type and go on as if the
//! asserted type were there; what was read is believed only when the noted type turns out to be that one.

use goaudit_ebpf::hook::go::{KEPT, KEY_MAX, KEYS, Op, STEPS, Step, Take};
use thiserror::Error;

use super::super::abi::{
    Declarations, GoType, Layout, Number, Part as Word, Place, Register, SignatureError,
};
use super::embedded;
use super::nearest::{Nearest, nearest, nearest_type};
use super::path::{Expression, Part, Path, Test};

/// Why a path cannot be followed.
#[derive(Debug, Error, Clone, PartialEq, Eq)]
pub enum WalkError {
    /// The root is neither parameter nor result.
    #[error("the signature has no parameter or result {name}{nearest}")]
    Root {
        /// The name.
        name: String,
        /// What may have been meant.
        nearest: Nearest,
    },
    /// The struct has no such field.
    #[error("there is no field {name}{nearest}")]
    Field {
        /// The name.
        name: String,
        /// What may have been meant.
        nearest: Nearest,
    },
    /// Embedded structs have it, and Go takes none of them.
    #[error("{name} is ambiguous: {ways} have it, equally deep; write which")]
    Ambiguous {
        /// The name.
        name: String,
        /// The ways to two of them.
        ways: String,
    },
    /// The part does not fit the type.
    #[error("{0}")]
    Unfit(&'static str),
    /// An array's end.
    #[error("the array has {0} elements only")]
    Array(u64),
    /// A type on the way.
    #[error("{error}{nearest}")]
    Type {
        /// What is wrong with it.
        #[source]
        error: SignatureError,
        /// What may have been meant.
        nearest: Nearest,
    },
    /// Too many steps.
    #[error("the path is too deep here: the kernel takes {STEPS} steps at most")]
    Deep,
    /// Too many pointers to keep.
    #[error("more than {KEPT} pointer parameters are read at the return")]
    Kept,
    /// A text that is too long to be looked for.
    #[error("a text that is looked for may have {KEY_MAX} bytes")]
    KeyLength,
    /// Too many texts.
    #[error("a path may look for {KEYS} texts")]
    Keys,
    /// Floating-point registers.
    #[error("this is in a floating-point register, which kernel programs cannot read")]
    Float,
}

impl From<SignatureError> for WalkError {
    fn from(error: SignatureError) -> Self {
        Self::Type { error, nearest: Nearest::default() }
    }
}

impl WalkError {
    /// With the name that may have been meant, if a type is not declared.
    fn with_nearest(self, declared: &Declarations) -> Self {
        match self {
            Self::Type { error, .. } => Self::Type { nearest: nearest_type(&error, declared), error },
            other => other,
        }
    }
}

/// Where values are read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Site {
    Entry,
    Return,
}

/// What the bytes that the kernel takes stand for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Shape {
    /// A number in the lowest so many bytes of a word.
    Number(Number, u64),
    /// The bytes of a string.
    Text,
    /// The bytes of a byte slice.
    Bytes,
    /// A pointer, or the first word of a slice.
    Pointer,
    /// An interface: the bytes are the text that begins its value, if its type is one that does.
    Interface,
    /// The same of an `error`. Of a type that is made of strings nobody knows what its method says.
    Error,
}

/// A path as steps.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Way {
    pub(super) site: Site,
    pub(super) steps: Vec<Step>,
    pub(super) take: Take,
    pub(super) shape: Shape,
    /// The type that the last interface on the way must hold, as the path has it.
    pub(super) asserted: Option<String>,
    /// The type that the interface before it must hold.
    pub(super) outer: Option<String>,
    /// Texts that the steps look for, by number.
    pub(super) keys: Vec<String>,
    /// The type of the key under which a context has it.
    pub(super) context: Option<String>,
}

/// Words that entries keep for returns: the steps that lead to each.
pub(super) type Keeps = Vec<Vec<Step>>;

/// Writes the steps of an expression. On failure the byte in the path's text.
pub(super) fn walk(
    expression: &Expression,
    layout: &Layout,
    declared: &Declarations,
    keeps: &mut Keeps,
) -> Result<Way, (WalkError, usize)> {
    way(expression, layout, declared, keeps).map_err(|(error, at)| (error.with_nearest(declared), at))
}

fn way(
    expression: &Expression,
    layout: &Layout,
    declared: &Declarations,
    keeps: &mut Keeps,
) -> Result<Way, (WalkError, usize)> {
    let Path { root, root_at, parts, at_return, len } = &expression.path;
    let find = |list: &[super::super::abi::Placed]| list.iter().find(|placed| placed.name == *root).cloned();
    let parameter = find(&layout.parameters);
    let (placed, site) = match (parameter, find(&layout.results)) {
        (Some(parameter), _) => (parameter, if *at_return { Site::Return } else { Site::Entry }),
        (None, Some(result)) => (result, Site::Return),
        (None, None) => {
            let names = layout.parameters.iter().chain(&layout.results).map(|placed| placed.name.as_str());
            let error = WalkError::Root { name: root.clone(), nearest: nearest(root, names) };
            return Err((error, *root_at));
        }
    };
    let is_parameter = layout.parameters.iter().any(|placed| placed.name == *root);
    let mut walk = Walk {
        steps: Vec::new(),
        at: match placed.place {
            Place::Registers(registers) => At::Registers(registers),
            Place::Stack(offset) => At::Slot(offset),
        },
        of: placed.of,
        asserted: None,
        outer: None,
        declared,
        keep: (is_parameter && *at_return).then_some(keeps),
        keys: Vec::new(),
        context: None,
        at_entry: site == Site::Entry,
        of_element: false,
    };
    let mut last = *root_at;
    for (part, at) in parts {
        last = *at;
        walk.part(part).and_then(|()| walk.bounded()).map_err(|error| (error, *at))?;
    }
    let ended = walk.end(*len, expression.test).and_then(|ended| walk.bounded().map(|()| ended));
    let (take, shape) = ended.map_err(|error| (error, last))?;
    let Walk { steps, asserted, outer, keys, context, .. } = walk;
    Ok(Way { site, steps, take, shape, asserted, outer, keys, context })
}

/// Where the current value is.
#[derive(Debug, Clone, PartialEq, Eq)]
enum At {
    /// In registers, part by part; offsets count from the value's start.
    Registers(Vec<(Register, Word)>),
    /// So many bytes above the stack pointer.
    Slot(u64),
    /// So many bytes behind `a`.
    Memory(u64),
    /// In `a`: it is a pointer, or shaped like one.
    Word,
    /// In `a` and `b`: an interface.
    Pair,
}

struct Walk<'a> {
    steps: Vec<Step>,
    at: At,
    of: GoType,
    asserted: Option<String>,
    outer: Option<String>,
    declared: &'a Declarations,
    /// Set until a pointer was kept: the value is to be read at the return, and is a parameter.
    keep: Option<&'a mut Keeps>,
    keys: Vec<String>,
    context: Option<String>,
    at_entry: bool,
    /// Within the path of a [`Part::Where`], where interfaces are not checked.
    of_element: bool,
}

impl Walk<'_> {
    fn push(&mut self, op: Op, n: u64, offset: u64) {
        // Registers, indexes and sizes fit; types are below 4 GiB.
        let (n, offset) = (u16::try_from(n).unwrap_or(u16::MAX), u32::try_from(offset).unwrap_or(u32::MAX));
        self.steps.push(Step { op: op as u8, reserved: 0, n, offset });
    }

    fn bounded(&self) -> Result<(), WalkError> {
        if self.steps.len() > STEPS { Err(WalkError::Deep) } else { Ok(()) }
    }

    fn part(&mut self, part: &Part) -> Result<(), WalkError> {
        match part {
            Part::Deref => self.deref(),
            Part::Select(name) => self.select(name),
            Part::Index(index) => self.index(*index),
            Part::Assert(text) => self.assert(text),
            Part::Key(text) => self.key(text),
            Part::Where(parts, text) => self.search(parts, text),
            Part::Value(of) => self.value(of),
        }
    }

    /// The number and length of a text that is looked for, for a step.
    fn text(&mut self, text: &str) -> Result<u64, WalkError> {
        if text.len() > KEY_MAX {
            return Err(WalkError::KeyLength);
        }
        if self.keys.len() >= KEYS {
            return Err(WalkError::Keys);
        }
        self.keys.push(text.to_owned());
        Ok(((self.keys.len() - 1) | (text.len() << 8)) as u64)
    }

    /// The value behind a key of a map.
    fn key(&mut self, text: &str) -> Result<(), WalkError> {
        /// Larger values are not in the map, but a pointer to them (internal/abi: `MapMaxElemBytes`).
        const IN_PLACE: u64 = 128;
        let GoType::Map { key, element } = self.of.clone() else {
            return Err(WalkError::Unfit("this is not a map"));
        };
        if GoType::parse(&key, self.declared)? != GoType::String {
            return Err(WalkError::Unfit("only keys that are strings can be looked for"));
        }
        let element = GoType::parse(&element, self.declared)?;
        if !(1..=IN_PLACE).contains(&element.size()) {
            return Err(WalkError::Unfit("values of more than 128 bytes, or of none, are not read"));
        }
        self.word(8)?;
        let n = self.text(text)?;
        self.push(Op::Find, n, element.size());
        self.at = At::Memory(0);
        self.of = element;
        Ok(())
    }

    /// The element of a slice that has a text.
    fn search(&mut self, parts: &[(Part, usize)], text: &str) -> Result<(), WalkError> {
        let GoType::Slice(element) = self.of.clone() else {
            return Err(WalkError::Unfit("this is not a slice"));
        };
        if element.size() == 0 {
            return Err(WalkError::Unfit("the type of the elements is not declared, or has no size"));
        }
        self.pair()?;
        self.push(Op::Each, 0, element.size());
        self.at = At::Memory(0);
        self.of = (*element).clone();
        self.of_element = true;
        for (part, _) in parts {
            self.part(part)?;
        }
        self.of_element = false;
        if self.of != GoType::String {
            return Err(WalkError::Unfit("only strings can be compared with a text"));
        }
        self.pair()?;
        let n = self.text(text)?;
        self.push(Op::Match, n, 0);
        self.at = At::Memory(0);
        self.of = (*element).clone();
        Ok(())
    }

    /// What a context has under a key of a type.
    fn value(&mut self, of: &str) -> Result<(), WalkError> {
        if !matches!(self.of, GoType::Interface { methods: true, .. }) {
            return Err(WalkError::Unfit("this is not a context.Context"));
        }
        if !self.at_entry {
            return Err(WalkError::Unfit("contexts are looked into at the entry only"));
        }
        if self.context.is_some() {
            return Err(WalkError::Unfit("a path may look into one context"));
        }
        self.pair()?;
        self.push(Op::Context, 0, 0);
        self.context = Some(of.to_owned());
        self.at = At::Pair;
        self.of = GoType::Interface { methods: false, error: false };
        Ok(())
    }

    /// Integer register `index` of the value's parts.
    fn register(registers: &[(Register, Word)], index: usize) -> Result<u64, WalkError> {
        match registers.get(index) {
            Some((Register::Integer(register), _)) => Ok(u64::from(*register)),
            Some((Register::Float(_), _)) => Err(WalkError::Float),
            None => Err(WalkError::Unfit("there is nothing here to read")),
        }
    }

    /// The value, one word or less, into `a`.
    fn word(&mut self, size: u64) -> Result<(), WalkError> {
        self.fresh()?;
        match self.at.clone() {
            At::Registers(registers) => self.push(Op::RegisterA, Self::register(&registers, 0)?, 0),
            At::Slot(offset) => {
                self.push(Op::Stack, 0, offset);
                self.push(Op::Load, size, 0);
            }
            At::Memory(offset) => self.push(Op::Load, size, offset),
            At::Word => {}
            At::Pair => return Err(WalkError::Unfit("this is an interface: say what it holds, as in .(*T)")),
        }
        self.at = At::Word;
        Ok(())
    }

    /// The first two words of the value into `a` and `b`.
    fn pair(&mut self) -> Result<(), WalkError> {
        self.fresh()?;
        match self.at.clone() {
            At::Registers(registers) => {
                self.push(Op::RegisterA, Self::register(&registers, 0)?, 0);
                self.push(Op::RegisterB, Self::register(&registers, 1)?, 0);
            }
            At::Slot(offset) => {
                self.push(Op::Stack, 0, offset);
                self.push(Op::LoadPair, 0, 0);
            }
            At::Memory(offset) => self.push(Op::LoadPair, 0, offset),
            At::Word => return Err(WalkError::Unfit("there is nothing here to read")),
            At::Pair => {}
        }
        Ok(())
    }

    /// Before anything is read: a parameter's registers and slots are no more at the return.
    fn fresh(&self) -> Result<(), WalkError> {
        match self.keep {
            Some(_) => Err(WalkError::Unfit(
                "only what a pointer parameter leads to can be read at the return: write return (*NAME), or leave return out",
            )),
            None => Ok(()),
        }
    }

    /// A part of the value, where it is.
    fn window(&mut self, offset: u64, of: GoType) {
        self.at = match std::mem::replace(&mut self.at, At::Word) {
            At::Registers(registers) => {
                let end = offset + of.size();
                let inside = registers.into_iter().filter(|(_, part)| (offset..end).contains(&part.offset));
                let moved =
                    inside.map(|(register, part)| (register, Word { offset: part.offset - offset, ..part }));
                At::Registers(moved.collect())
            }
            At::Slot(start) => At::Slot(start + offset),
            At::Memory(start) => At::Memory(start + offset),
            unmoved @ (At::Word | At::Pair) => unmoved,
        };
        self.of = of;
    }

    fn deref(&mut self) -> Result<(), WalkError> {
        let target = match &self.of {
            GoType::Pointer(Some(text)) => GoType::parse(text, self.declared)?,
            GoType::Pointer(None) => {
                return Err(WalkError::Unfit("channels and functions cannot be looked into"));
            }
            GoType::Map { .. } => {
                return Err(WalkError::Unfit("this is a map: write a key, as in [\"name\"]"));
            }
            GoType::Integer { .. }
            | GoType::Float { .. }
            | GoType::Complex { .. }
            | GoType::String
            | GoType::Slice(_)
            | GoType::Interface { .. }
            | GoType::Array(..)
            | GoType::Struct(_) => return Err(WalkError::Unfit("this is not a pointer")),
        };
        if let Some(keeps) = self.keep.take() {
            let number = self.kept(keeps)?;
            self.push(Op::Kept, number, 0);
        } else {
            self.word(8)?;
        }
        self.at = At::Memory(0);
        self.of = target;
        Ok(())
    }

    /// The number under which the entry keeps this pointer.
    fn kept(&self, keeps: &mut Keeps) -> Result<u64, WalkError> {
        let mut entry = Walk {
            steps: Vec::new(),
            at: self.at.clone(),
            of: self.of.clone(),
            asserted: None,
            outer: None,
            declared: self.declared,
            keep: None,
            keys: Vec::new(),
            context: None,
            at_entry: true,
            of_element: false,
        };
        entry.word(8)?;
        let known = keeps.iter().position(|steps| *steps == entry.steps);
        let number = known.unwrap_or_else(|| {
            keeps.push(entry.steps);
            keeps.len() - 1
        });
        if keeps.len() > KEPT {
            return Err(WalkError::Kept);
        }
        Ok(number as u64)
    }

    fn select(&mut self, name: &str) -> Result<(), WalkError> {
        if matches!(self.of, GoType::Pointer(_)) {
            self.deref()?;
        }
        let GoType::Struct(fields) = self.of.clone() else {
            return Err(WalkError::Unfit(match self.of {
                GoType::Interface { .. } => {
                    "this is an interface: say what it holds, as in .(*T), before a field"
                }
                _ => "this is not a struct",
            }));
        };
        if let Some(field) = fields.iter().find(|field| field.name == name) {
            self.window(field.offset, field.of.clone());
            return Ok(());
        }
        if let Some(outer) = embedded::promoted(&fields, name, self.declared)? {
            outer.iter().try_for_each(|outer| self.select(outer))?;
            return self.select(name);
        }
        let names = fields.iter().map(|field| field.name.as_str());
        Err(WalkError::Field { name: name.to_owned(), nearest: nearest(name, names) })
    }

    fn index(&mut self, index: u16) -> Result<(), WalkError> {
        // Go indexes through pointers to arrays, not through pointers to slices.
        if let GoType::Pointer(Some(text)) = &self.of
            && matches!(GoType::parse(text, self.declared), Ok(GoType::Array(..)))
        {
            self.deref()?;
        }
        match self.of.clone() {
            GoType::Slice(element) if element.size() == 0 => {
                Err(WalkError::Unfit("the type of the elements is not declared, or has no size"))
            }
            GoType::Slice(element) => {
                self.pair()?;
                self.push(Op::Index, u64::from(index), element.size());
                self.at = At::Memory(0);
                self.of = (*element).clone();
                Ok(())
            }
            GoType::Array(count, _) if u64::from(index) >= count => Err(WalkError::Array(count)),
            GoType::Array(_, element) => {
                self.window(u64::from(index) * element.size(), (*element).clone());
                Ok(())
            }
            GoType::Pointer(_) => Err(WalkError::Unfit("this is a pointer: write (*NAME) before an index")),
            GoType::Map { .. } => Err(WalkError::Unfit("this is a map: write a key, as in [\"name\"]")),
            GoType::Integer { .. }
            | GoType::Float { .. }
            | GoType::Complex { .. }
            | GoType::String
            | GoType::Interface { .. }
            | GoType::Struct(_) => Err(WalkError::Unfit("this is not a slice or an array")),
        }
    }

    fn assert(&mut self, text: &str) -> Result<(), WalkError> {
        let GoType::Interface { methods, .. } = self.of else {
            return Err(WalkError::Unfit("only an interface can be asserted to hold a type"));
        };
        let target = GoType::parse(text, self.declared)?;
        if self.of_element {
            let At::Memory(offset) = self.at else {
                return Err(WalkError::Unfit("this interface cannot be looked into here"));
            };
            self.push(Op::Load, 8, offset + 8);
            self.at = if is_direct(&target) { At::Word } else { At::Memory(0) };
            self.of = target;
            return Ok(());
        }
        if let GoType::Interface { error, .. } = target {
            // `.(error)`: still an interface, of whatever type, that lies there as before.
            self.of = GoType::Interface { methods, error };
            return Ok(());
        }
        self.data(methods)?;
        self.at = if is_direct(&target) { At::Word } else { At::Memory(0) };
        self.of = target;
        self.asserted = Some(text.to_owned());
        Ok(())
    }

    /// Notes an interface's type; its data word into `a`.
    fn data(&mut self, methods: bool) -> Result<(), WalkError> {
        self.fresh()?;
        if let Some(asserted) = self.asserted.take() {
            self.outer = Some(asserted);
        }
        let note = if methods { Op::MethodTable } else { Op::Type };
        if let At::Registers(registers) = self.at.clone() {
            self.push(Op::RegisterA, Self::register(&registers, 0)?, 0);
            self.push(note, 0, 0);
            self.push(Op::RegisterA, Self::register(&registers, 1)?, 0);
        } else {
            self.pair()?;
            self.push(note, 0, 0);
            self.push(Op::TakeB, 0, 0);
        }
        Ok(())
    }

    /// What is taken at the end.
    fn end(&mut self, len: bool, test: Test) -> Result<(Take, Shape), WalkError> {
        if len {
            return self.length();
        }
        let asks_nil = matches!(test, Test::IsNil | Test::IsNotNil);
        match self.of.clone() {
            GoType::Integer { of, .. } if test == Test::Not && of != Number::Bool => {
                Err(WalkError::Unfit("only a bool has an opposite"))
            }
            GoType::Integer { size, of } if !asks_nil => {
                self.word(size)?;
                Ok((Take::Word, Shape::Number(of, size)))
            }
            _ if test == Test::Not => Err(WalkError::Unfit("only a bool has an opposite")),
            GoType::Pointer(_) | GoType::Map { .. } => {
                self.word(8)?;
                Ok((Take::Word, Shape::Pointer))
            }
            GoType::Slice(_) if asks_nil => {
                self.word(8)?;
                Ok((Take::Word, Shape::Pointer))
            }
            GoType::Interface { methods, error } => {
                self.data(methods)?;
                self.push(Op::LoadPair, 0, 0);
                Ok((Take::Bytes, if error { Shape::Error } else { Shape::Interface }))
            }
            GoType::String if !asks_nil => {
                self.pair()?;
                Ok((Take::Bytes, Shape::Text))
            }
            GoType::Slice(element) if is_byte(&element) => {
                self.pair()?;
                Ok((Take::Bytes, Shape::Bytes))
            }
            _ if asks_nil => Err(WalkError::Unfit("this is never nil")),
            GoType::Array(count, element) if is_byte(&element) => {
                self.address()?;
                self.push(Op::SetB, 0, count);
                Ok((Take::Bytes, Shape::Bytes))
            }
            GoType::Slice(_) => {
                Err(WalkError::Unfit("a slice is no value: choose an element, as in [0], or len(...)"))
            }
            GoType::Array(..) => Err(WalkError::Unfit("an array is no value: choose an element, as in [0]")),
            GoType::Struct(fields) => {
                let names = fields.iter().map(|field| field.name.as_str());
                Err(WalkError::Field {
                    name: "at the end: a struct is no value".to_owned(),
                    nearest: Nearest::all(names),
                })
            }
            GoType::Float { .. } | GoType::Complex { .. } => {
                Err(WalkError::Unfit("floating-point values are not read"))
            }
            GoType::Integer { .. } | GoType::String => Err(WalkError::Unfit("this is never nil")),
        }
    }

    /// The address of the value into `a`.
    fn address(&mut self) -> Result<(), WalkError> {
        self.fresh()?;
        match self.at {
            At::Slot(offset) => self.push(Op::Stack, 0, offset),
            At::Memory(offset) => self.push(Op::Add, 0, offset),
            At::Registers(_) | At::Word | At::Pair => {
                return Err(WalkError::Unfit("this is in registers: it has no address"));
            }
        }
        Ok(())
    }

    fn length(&mut self) -> Result<(Take, Shape), WalkError> {
        if matches!(self.of, GoType::Map { .. }) {
            // The first word of a map, in every version.
            self.word(8)?;
            self.push(Op::Load, 8, 0);
            return Ok((Take::Word, Shape::Number(Number::Signed, 8)));
        }
        if !matches!(self.of, GoType::String | GoType::Slice(_)) {
            return Err(WalkError::Unfit("only strings, slices and maps have a length that can be read"));
        }
        self.window(8, GoType::Integer { size: 8, of: Number::Signed });
        self.word(8)?;
        Ok((Take::Word, Shape::Number(Number::Signed, 8)))
    }
}

fn is_byte(of: &GoType) -> bool {
    matches!(of, GoType::Integer { size: 1, of: Number::Unsigned })
}

/// Whether an interface holds such a value itself, not a pointer to it (cmd/compile/internal/types: `IsDirectIface`).
fn is_direct(of: &GoType) -> bool {
    match of {
        GoType::Pointer(_) | GoType::Map { .. } => true,
        GoType::Struct(fields) => matches!(&**fields, [field] if is_direct(&field.of)),
        GoType::Array(1, element) => is_direct(element),
        GoType::Array(..)
        | GoType::Integer { .. }
        | GoType::Float { .. }
        | GoType::Complex { .. }
        | GoType::String
        | GoType::Slice(_)
        | GoType::Interface { .. } => false,
    }
}
