//! Go programs as files: what was built, which functions are there, where they can be probed, where their
//! arguments are.
//!
//! Pure: bytes in, values out. No I/O, no printing, no process is touched. Everything read is checked: a hostile,
//! damaged or cut-off file gives an error, never a panic. Works on stripped programs, because it reads what the
//! Go runtime itself needs (function table, module data, inline trees); DWARF is not used.
//! Known: Go 1.16 to 1.27 (docs/go-support.md); names also from older programs.

pub mod abi;
mod build_info;
mod bytes;
mod figures;
mod image;
mod inline;
mod module_data;
mod name;
mod offsets;
mod pclntab;
mod plan;
pub mod profile;
mod site;
pub mod target;
pub mod type_name;

pub use build_info::{BuildInfo, Module};
pub use figures::{Figures, Goroutines};
pub use image::{Arch, Image, ImageError, Loading};
pub use module_data::{ModuleData, ModuleDataError};
pub use name::{Wanted, normalise};
pub use offsets::{Confidence, RuntimeOffsets};
pub use pclntab::{Format, Function, Pclntab, PclntabError};
pub use plan::{CodeIdentity, EntrySite, InlinedInto, Probe, Verdict};
pub use site::{Class, Costs, Entry, MAX_RETURNS, Refusal, Sites};

use thiserror::Error;

/// The oldest Go release with the register calling convention, whose layouts were compared with a real toolchain.
pub const OLDEST_KNOWN: (u32, u32) = (1, 17);

/// The newest Go release whose layouts were compared with a real toolchain.
pub const NEWEST_KNOWN: (u32, u32) = (1, 27);

/// Why a file cannot be inspected at all.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum ProgramError {
    /// Not a program of the right kind.
    #[error(transparent)]
    Image(#[from] ImageError),
    /// No usable function table.
    #[error(transparent)]
    Pclntab(#[from] PclntabError),
    /// No module data.
    #[error(transparent)]
    ModuleData(#[from] ModuleDataError),
}

/// Inlined calls within each other that are followed.
const MAX_INLINED: usize = 64;

/// A place in a program's source.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place<'a> {
    /// The function's name, as the linker wrote it.
    pub function: &'a [u8],
    /// It was inlined into the next place's function.
    pub inlined: bool,
    /// File and line.
    pub line: Option<(&'a [u8], u32)>,
}

/// A Go program, ready for questions. Borrows the file's bytes.
#[derive(Debug)]
pub struct Program<'a> {
    image: Image<'a>,
    build: Option<BuildInfo>,
    table: Pclntab<'a>,
    module: ModuleData,
}

impl<'a> Program<'a> {
    /// Reads headers and finds the tables; functions are read when asked for.
    pub fn parse(data: &'a [u8]) -> Result<Self, ProgramError> {
        let image = Image::parse(data)?;
        let build = BuildInfo::read(&image);
        let table = Pclntab::find(&image)?;
        let module = ModuleData::find(&image, &table)?;
        Ok(Self { image, build, table, module })
    }

    /// The file's structure.
    pub const fn image(&self) -> &Image<'a> {
        &self.image
    }

    /// What the linker recorded of the build; `None` when it was removed.
    pub const fn build(&self) -> Option<&BuildInfo> {
        self.build.as_ref()
    }

    /// The function table.
    pub const fn table(&self) -> &Pclntab<'a> {
        &self.table
    }

    /// Where Go's code and function data are.
    pub const fn module(&self) -> &ModuleData {
        &self.module
    }

    /// All functions with their names as the linker wrote them, by address.
    pub fn functions(&self) -> impl Iterator<Item = (Function, &'a [u8])> {
        let functions = self.table.functions(&self.image, self.module.text);
        functions.filter_map(|function| Some((function, self.table.name_at(function.name)?)))
    }

    /// The function that covers an address, with its name.
    pub fn function_at(&self, address: u64) -> Option<(Function, &'a [u8])> {
        let function = self.table.covering(&self.image, self.module.text, address)?;
        Some((function, self.table.name_at(function.name)?))
    }

    /// Source file of a function's first instruction.
    pub fn file(&self, function: &Function) -> Option<&'a [u8]> {
        self.table.file(function)
    }

    /// Source file and line of an instruction in a function.
    pub fn line(&self, function: &Function, address: u64) -> Option<(&'a [u8], u32)> {
        self.table.line(function, address)
    }

    /// Where an instruction comes from: the function that it was written in, and those that it was inlined into with the
    /// place of the call, innermost first. At least one, the function that covers it; none when none does.
    pub fn places(&self, address: u64) -> Vec<Place<'a>> {
        let Some((function, name)) = self.function_at(address) else { return Vec::new() };
        let mut places = Vec::new();
        let mut at = address;
        while places.len() < MAX_INLINED {
            let line = self.line(&function, at);
            let inlined = inline::inlined_at(&self.image, &self.table, &self.module, &function, at);
            let Some(call) = inlined else {
                places.push(Place { function: name, inlined: false, line });
                break;
            };
            let name = self.table.name_at(call.name).unwrap_or_default();
            places.push(Place { function: name, inlined: true, line });
            at = call.caller;
        }
        places
    }

    /// The machine code of a function, padding included.
    pub fn code(&self, function: &Function) -> Option<&'a [u8]> {
        self.image.at(function.entry)?.slice(0, function.end - function.entry)
    }

    /// Names of the functions that were inlined into this one, one for each place.
    pub fn inlined_into(&self, function: &Function) -> Vec<&'a [u8]> {
        inline::inlined_names(&self.image, &self.table, &self.module, function)
            .into_iter()
            .flatten()
            .filter_map(|name| self.table.name_at(name))
            .collect()
    }

    /// How the file is loaded. What the Go command recorded of it counts more than the linker's mark.
    pub fn loading(&self) -> Loading {
        let mode = self.build.as_ref().and_then(|build| build.setting("-buildmode"));
        match (self.image.loading(), mode) {
            (Loading::Library, Some("pie")) => Loading::StaticPie,
            (Loading::StaticPie, Some("c-shared" | "plugin" | "shared")) => Loading::Library,
            (loading, _) => loading,
        }
    }

    /// Whether the race detector was compiled in.
    pub fn is_race(&self) -> bool {
        self.build.as_ref().and_then(|build| build.setting("-race")) == Some("true")
    }

    /// Whether C code was linked in: Go's own part of cgo is there.
    pub fn is_cgo(&self) -> bool {
        self.table.all_names().any(|(_, name)| name.starts_with(b"runtime/cgo.") || name.starts_with(b"_cgo"))
    }

    /// The Go build id, which changes with any input of the build.
    pub fn build_id(&self) -> Option<String> {
        let (_, note) = self.image.section(".note.go.buildid")?;
        // Name size, description size, type 4, "Go\0\0", then the id.
        let is_go = note.slice(12, 4)? == b"Go\0\0" && note.u32(8)? == 4;
        let id = note.slice(16, u64::from(note.u32(4)?))?;
        is_go.then(|| String::from_utf8_lossy(id).into_owned())
    }

    /// What the reader of a plan should know about the whole program.
    pub fn warnings(&self) -> Vec<String> {
        let mut warnings = Vec::new();
        match self.build.as_ref().map(BuildInfo::release) {
            None => warnings.push(
                "no build info: the Go version is told by the format of the function table only".to_owned(),
            ),
            Some(None) => warnings.push("the Go version has no release number: offsets of runtime structures are assumed".to_owned()),
            Some(Some(release)) if release > NEWEST_KNOWN => warnings.push(format!(
                "Go {}.{} is newer than this goaudit knows ({}.{}): layouts are assumed and checked, confidence is lower",
                release.0, release.1, NEWEST_KNOWN.0, NEWEST_KNOWN.1
            )),
            Some(Some(_)) => {}
        }
        if self.module.gofunc.is_none() {
            warnings.push(
                "what was inlined where cannot be read: the program was changed after linking, or its Go is newer than this goaudit; calls may be unseen, and stack traces lack inlined functions"
                    .to_owned(),
            );
        }
        if self.loading() == Loading::StaticPie {
            warnings.push(
                "static position-independent program: probes are attached only after it runs, never before"
                    .to_owned(),
            );
        }
        warnings
    }
}
