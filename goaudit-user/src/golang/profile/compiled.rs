//! A probe for one architecture: what the kernel reads, and which value each number stands for.

use std::collections::BTreeMap;
use std::sync::Arc;

use goaudit_ebpf::hook::go::{FIELDS_OF_A_SITE, Field, KEY_MAX, KEYS, Op, STEPS, Step, Take, VALUE_MAX};
use thiserror::Error;

use super::super::abi::{Declarations, Dictionary, Layout};
use super::super::build_info::BuildInfo;
use super::super::image::Arch;
use super::identity::Identity;
use super::path::{Expression, Part, Test};
use super::span::{self, Layout as SpanLayout};
use super::walk::{Shape, Site, WalkError, walk};
use super::{Declared, Golden, Source};

/// Why a probe has no steps for an architecture.
#[derive(Debug, Error, Clone, PartialEq, Eq)]
pub enum CompileError {
    /// A path cannot be followed.
    #[error("{text}: {error}")]
    Walk {
        /// The path.
        text: String,
        /// Byte in it.
        at: usize,
        /// What is wrong.
        error: WalkError,
    },
    /// Too many values.
    #[error("more than {FIELDS_OF_A_SITE} values are read at the {site}")]
    Full {
        /// `entry` or `return`.
        site: &'static str,
        /// The path of the first that has no room; empty when it is a pointer that is kept.
        text: String,
    },
}

/// A probe, ready for one architecture.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Compiled {
    /// What is read at the entry, in the order of field numbers.
    pub entry: Vec<Field>,
    /// What is read at the return.
    pub returned: Vec<Field>,
    /// Whether the entry keeps words for the return.
    pub keeps: bool,
    /// Types of keys of contexts. Until [`Self::find_types`] their numbers, from 1, stand in the fields.
    contexts: Vec<String>,
    /// What it was compiled from.
    pub declared: Arc<Declared>,
    /// What the numbers of `entry` and `returned` stand for.
    pub(super) cells: Vec<Cell>,
    /// Where golden values come from.
    pub(super) golden: Vec<(Golden, Reader)>,
    /// Where named values come from.
    pub(super) fields: Vec<(String, Reader)>,
    /// Where what the subject's fingerprint is made of comes from.
    pub(super) identities: Vec<Identity<Reader>>,
    /// Where the span of the call's context is.
    pub(super) span: Option<SpanCells>,
}

/// Numbers of the entry's cells that bring the span of a context.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct SpanCells {
    /// Its beginning.
    pub(super) head: u16,
    /// The ids of a recording one.
    pub(super) ids: u16,
    /// Where each type of span has its ids.
    pub(super) layout: SpanLayout,
}

/// A value that the kernel brings.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Cell {
    pub(super) site: Site,
    /// Its number within the site.
    pub(super) number: u16,
    pub(super) shape: Shape,
    pub(super) asserted: Option<String>,
    /// The type that the interface before it must hold.
    pub(super) outer: Option<String>,
}

/// A cell and the question about it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Ask {
    /// Index in [`Compiled::cells`].
    pub(super) cell: usize,
    pub(super) test: Test,
}

/// A [`Source`] with cells for paths.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Reader {
    Const(String),
    One(Ask),
    Join { parts: Vec<Ask>, with: String, or: Option<Ask> },
    Named { of: Ask, names: BTreeMap<String, String> },
    Choice { when: Ask, then: Ask, otherwise: Ask },
    Missing(String),
}

impl Declared {
    /// Writes the steps for an architecture. `dictionary`: the function is an instance of a generic one.
    pub fn compile(
        self: &Arc<Self>,
        arch: Arch,
        dictionary: Option<Dictionary>,
    ) -> Result<Compiled, CompileError> {
        let layout = Layout::of(&self.signature, arch, dictionary);
        let mut compiler = Compiler {
            declared: self,
            layout,
            keeps: Vec::new(),
            entry: Vec::new(),
            returned: Vec::new(),
            cells: Vec::new(),
            contexts: Vec::new(),
        };
        let mut golden = Vec::with_capacity(self.golden.len());
        for (key, source) in &self.golden {
            golden.push((*key, compiler.reader(source)?));
        }
        let mut fields = Vec::with_capacity(self.fields.len());
        for (name, source) in &self.fields {
            fields.push((name.clone(), compiler.reader(source)?));
        }
        let identity = |identity: &Identity<Source>| {
            identity.map(|source| compiler.reader_of(source, VALUE_MAX.try_into().unwrap_or(u32::MAX)))
        };
        let identities = self.identities.iter().map(identity).collect::<Result<_, _>>()?;
        let span = self.context.as_ref().map(|context| compiler.span(context)).transpose()?;
        let Compiler { keeps, mut entry, returned, cells, contexts, .. } = compiler;
        // Behind what is read, so that the numbers of values stay.
        for (number, steps) in keeps.iter().enumerate() {
            let n = u16::try_from(number).unwrap_or(u16::MAX);
            let keep = Step { op: Op::Keep as u8, n, ..Step::default() };
            let steps: Vec<_> = steps.iter().copied().chain([keep]).collect();
            entry.push(field(&steps, Take::Nothing, 0));
        }
        if entry.len() > FIELDS_OF_A_SITE {
            return Err(CompileError::Full { site: "entry", text: String::new() });
        }
        let keeps = !keeps.is_empty();
        let declared = Arc::clone(self);
        Ok(Compiled { entry, returned, keeps, contexts, declared, cells, golden, fields, identities, span })
    }
}

impl Compiled {
    /// Fills in where the spans of a program have their ids. Until then they are where the newest versions have them.
    pub fn find_spans(&mut self, build: Option<&BuildInfo>) {
        let Some(span) = &mut self.span else { return };
        span.layout = SpanLayout::of(build);
        let field = self.entry.get_mut(usize::from(span.ids));
        let address = field.and_then(|field| field.steps.iter_mut().find(|step| step.op == Op::Add as u8));
        if let (Some(address), Some(offset)) = (address, span.layout.recording()) {
            address.offset = offset;
        }
    }

    /// Fills in the types by which contexts are searched: `find` gives a type's distance from the entry site by its
    /// name. One that the program does not have is never found.
    pub fn find_types(&mut self, mut find: impl FnMut(&str) -> Option<u64>) {
        if self.contexts.is_empty() {
            return;
        }
        let context = find("*context.valueCtx").unwrap_or_default();
        let keys: Vec<u64> = self.contexts.iter().map(|name| find(name).unwrap_or_default()).collect();
        for field in &mut self.entry {
            let number = field.types.last().and_then(|number| usize::try_from(*number).ok());
            if let Some(key) = number.and_then(|number| keys.get(number.checked_sub(1)?)) {
                field.types = [context, *key];
            }
        }
    }
}

/// The name under which spans are declared while their steps are written.
const SPAN: &str = "goaudit_span";

struct Compiler<'a> {
    declared: &'a Declared,
    layout: Layout,
    keeps: Vec<Vec<Step>>,
    entry: Vec<Field>,
    returned: Vec<Field>,
    cells: Vec<Cell>,
    contexts: Vec<String>,
}

impl Compiler<'_> {
    fn reader(&mut self, source: &Source) -> Result<Reader, CompileError> {
        self.reader_of(source, self.declared.max_bytes)
    }

    /// A source of which at most `max` bytes are taken.
    fn reader_of(&mut self, source: &Source, max: u32) -> Result<Reader, CompileError> {
        let mut ask = |expression: &Expression| self.ask(expression, max);
        Ok(match source {
            Source::Const(text) => Reader::Const(text.clone()),
            Source::Read(expression) => Reader::One(ask(expression)?),
            Source::Join { parts, with, or } => {
                let parts = parts.iter().map(&mut ask).collect::<Result<_, _>>()?;
                let or = or.as_ref().map(&mut ask).transpose()?;
                Reader::Join { parts, with: with.clone(), or }
            }
            Source::Named { of, names } => Reader::Named { of: ask(of)?, names: names.clone() },
            Source::Choice { when, then, otherwise } => {
                Reader::Choice { when: ask(when)?, then: ask(then)?, otherwise: ask(otherwise)? }
            }
            Source::Missing(reason) => Reader::Missing(reason.clone()),
        })
    }

    fn ask(&mut self, expression: &Expression, max: u32) -> Result<Ask, CompileError> {
        let declared = self.declared;
        self.ask_of(expression, &declared.types, max)
    }

    /// The span of a context: its beginning, and the ids of a recording one. What types they have is looked at when they
    /// are read.
    fn span(&mut self, context: &Expression) -> Result<SpanCells, CompileError> {
        let layout = SpanLayout::of(None);
        let mut types = self.declared.types.clone();
        let at = layout.recording().unwrap_or_default();
        let text = format!(
            "struct {{ head [{}]byte; rest [{}]byte; ids [{}]byte }}",
            span::HEAD,
            at as usize - span::HEAD,
            span::IDS
        );
        types.insert(SPAN.to_owned(), text);
        let mut cell = |field: &str| -> Result<u16, CompileError> {
            let mut way = context.clone();
            let place = way.text.len();
            let parts = [
                Part::Value(span::KEY.to_owned()),
                Part::Assert(format!("*{SPAN}")),
                Part::Select(field.to_owned()),
            ];
            way.path.parts.extend(parts.map(|part| (part, place)));
            let ask = self.ask_of(&way, &types, VALUE_MAX.try_into().unwrap_or(u32::MAX))?;
            Ok(self.cells.get(ask.cell).map_or(u16::MAX, |cell| cell.number))
        };
        Ok(SpanCells { head: cell("head")?, ids: cell("ids")?, layout })
    }

    fn ask_of(
        &mut self,
        expression: &Expression,
        types: &Declarations,
        max: u32,
    ) -> Result<Ask, CompileError> {
        let way = walk(expression, &self.layout, types, &mut self.keeps);
        let way =
            way.map_err(|(error, at)| CompileError::Walk { text: expression.text.clone(), at, error })?;
        let (list, site) = match way.site {
            Site::Entry => (&mut self.entry, "entry"),
            Site::Return => (&mut self.returned, "return"),
        };
        let mut wanted = field(&way.steps, way.take, max);
        for (place, key) in wanted.keys.iter_mut().zip(&way.keys) {
            place.iter_mut().zip(key.bytes()).for_each(|(to, byte)| *to = byte);
        }
        if let Some(of) = way.context {
            let known = self.contexts.iter().position(|known| *known == of);
            let number = known.unwrap_or(self.contexts.len());
            if known.is_none() {
                self.contexts.push(of);
            }
            wanted.types = [0, number as u64 + 1];
        }
        // One value may be asked for twice, as in `error = "err"` and `allow = "err == nil"`.
        let known = list.iter().position(|field| *field == wanted);
        let position = known.unwrap_or_else(|| {
            list.push(wanted);
            list.len() - 1
        });
        if list.len() > FIELDS_OF_A_SITE {
            return Err(CompileError::Full { site, text: expression.text.clone() });
        }
        let number = u16::try_from(position).unwrap_or(u16::MAX);
        let cell =
            Cell { site: way.site, number, shape: way.shape, asserted: way.asserted, outer: way.outer };
        let known = self.cells.iter().position(|other| *other == cell);
        let cell = known.unwrap_or_else(|| {
            self.cells.push(cell);
            self.cells.len() - 1
        });
        Ok(Ask { cell, test: expression.test })
    }
}

fn field(steps: &[Step], take: Take, max: u32) -> Field {
    let mut all = [Step::default(); STEPS];
    for (place, step) in all.iter_mut().zip(steps) {
        *place = *step;
    }
    let max = if take == Take::Bytes { max } else { 0 };
    let (keys, types) = ([[0; KEY_MAX]; KEYS], [0; 2]);
    Field { steps: all, keys, types, take: take as u8, reserved: [0; 3], max }
}
