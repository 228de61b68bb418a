//! The table of functions that every Go binary carries for its own tracebacks, also when stripped.
//!
//! Header formats by the Go version that introduced them: 1.2, 1.16, 1.18, 1.20 (unchanged up to 1.27). The
//! header's text start is never used: it is 0 since Go 1.26, and under external linking C code precedes Go's;
//! the base comes from `moduledata` (see `module_data`).
//! Layout: runtime/symtab.go and cmd/link/internal/ld/pcln.go of each version.

use serde::Serialize;
use thiserror::Error;

use super::bytes::{Bytes, to_aligned};
use super::image::{Arch, Image};

/// More functions than any program has; bounds the work that a damaged count can cause.
const MAX_FUNCTIONS: u64 = 1 << 24;

/// Why there is no usable function table.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum PclntabError {
    /// No table at all.
    #[error("this program has no Go function table (.gopclntab): it was not built by the Go compiler")]
    NotGo,
    /// A table with a magic number from the future.
    #[error(
        "the Go function table has the unknown format {0:#010x}: it comes from a Go newer than this goaudit knows (1.27); update goaudit"
    )]
    UnknownFormat(u32),
    /// The header contradicts itself, the architecture, or the size of the file.
    #[error("the Go function table is damaged ({0}): the file is cut off or was changed after linking")]
    Damaged(&'static str),
}

/// Header format, named after the Go version that introduced it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub enum Format {
    /// Go 1.2 to 1.15.
    #[serde(rename = "1.2")]
    Go1_2,
    /// Go 1.16 and 1.17.
    #[serde(rename = "1.16")]
    Go1_16,
    /// Go 1.18 and 1.19: entries became offsets from the text start.
    #[serde(rename = "1.18")]
    Go1_18,
    /// Go 1.20 and later: a function's record has its first line.
    #[serde(rename = "1.20")]
    Go1_20,
}

/// Magic numbers, newest first: most binaries match at once.
const MAGICS: [(u32, Format); 4] = [
    (0xffff_fff1, Format::Go1_20),
    (0xffff_fff0, Format::Go1_18),
    (0xffff_fffa, Format::Go1_16),
    (0xffff_fffb, Format::Go1_2),
];

/// Where things are in a function's record.
#[derive(Clone, Copy)]
struct RecordLayout {
    name: u64,
    pc_file: u64,
    pcdata_count: u64,
    /// `None`: the format has no table of files per compile unit.
    compile_unit: Option<u64>,
    /// `None`: the format has no flags.
    flag: Option<u64>,
    /// Bytes before the variable part (pcdata offsets, then funcdata). The last of them counts the funcdata.
    size: u64,
    /// Entry and funcdata are pointers (8 bytes), not offsets (4 bytes).
    wide: bool,
}

impl Format {
    const fn record(self) -> RecordLayout {
        let wide = RecordLayout {
            name: 8,
            pc_file: 24,
            pcdata_count: 32,
            compile_unit: Some(36),
            flag: Some(41),
            size: 44,
            wide: true,
        };
        let narrow = RecordLayout {
            name: 4,
            pc_file: 20,
            pcdata_count: 28,
            compile_unit: Some(32),
            flag: Some(37),
            size: 40,
            wide: false,
        };
        match self {
            // As of 1.12 to 1.15; before, the place of the funcdata count differed. Only names are used.
            Self::Go1_2 => RecordLayout { compile_unit: None, flag: None, size: 40, ..wide },
            Self::Go1_16 => wide,
            Self::Go1_18 => narrow,
            Self::Go1_20 => RecordLayout { flag: Some(41), size: 44, ..narrow },
        }
    }
}

/// Set in a function's flags when its body is assembly (since Go 1.18).
const FLAG_ASSEMBLY: u8 = 4;
/// Index of the pcdata table that maps a pc to a node of the inline tree (since Go 1.13).
const PCDATA_INLINE_INDEX: u64 = 2;
/// Index of the funcdata that holds the inline tree (since Go 1.16; the register maps were one before it).
const FUNCDATA_INLINE_TREE: u64 = 3;

/// The function table of a binary.
#[derive(Debug, Clone, Copy)]
pub struct Pclntab<'a> {
    address: u64,
    format: Format,
    quantum: u64,
    count: u64,
    names: Bytes<'a>,
    units: Bytes<'a>,
    files: Bytes<'a>,
    pc_values: Bytes<'a>,
    records: Bytes<'a>,
    /// Address of `records`.
    records_address: u64,
    entries: Bytes<'a>,
    /// Address of `entries`.
    entries_address: u64,
}

/// One function: where it is, and where its records are.
#[derive(Debug, Clone, Copy)]
pub struct Function {
    /// Position in the table, by address.
    pub index: u64,
    /// Address of the first instruction.
    pub entry: u64,
    /// Address behind the last byte; padding included.
    pub end: u64,
    /// Offset of the name.
    pub(crate) name: u32,
    record: u64,
}

impl<'a> Pclntab<'a> {
    /// Finds the table by its section, else by scanning for its header.
    pub fn find(image: &Image<'a>) -> Result<Self, PclntabError> {
        let mut verdict = PclntabError::NotGo;
        for name in [".gopclntab", ".data.rel.ro.gopclntab", "__gopclntab"] {
            if let Some((address, bytes)) = image.section(name) {
                match Self::parse(image, address, bytes) {
                    Ok(table) => return Ok(table),
                    Err(error) => verdict = error,
                }
            }
        }
        for (address, bytes) in image.readable_segments() {
            let mut at = to_aligned(address, 8);
            while let Some(word) = bytes.u64(at) {
                if is_header(word)
                    && let Some(rest) = bytes.from(at)
                {
                    match Self::parse(image, address + at, rest) {
                        Ok(table) => return Ok(table),
                        Err(error) if verdict == PclntabError::NotGo => verdict = error,
                        Err(_) => {}
                    }
                }
                at += 8;
            }
        }
        Err(verdict)
    }

    fn parse(image: &Image<'_>, address: u64, table: Bytes<'a>) -> Result<Self, PclntabError> {
        let damaged = PclntabError::Damaged;
        let magic = table.u32(0).ok_or(damaged("no header"))?;
        let Some((_, format)) = MAGICS.iter().find(|(known, _)| *known == magic) else {
            return Err(PclntabError::UnknownFormat(magic));
        };
        let quantum = match image.arch() {
            Arch::Amd64 => 1,
            Arch::Arm64 => 4,
        };
        if table.slice(4, 4) != Some(&[0, 0, quantum, 8]) {
            return Err(damaged("header of another architecture"));
        }
        let word = |index: u64| table.u64(8 + 8 * index).ok_or(damaged("short header"));
        let part = |index: u64| {
            word(index).and_then(|offset| table.from(offset).ok_or(damaged("a part lies outside")))
        };
        let count = word(0)?;
        if count == 0 || count > MAX_FUNCTIONS {
            return Err(damaged("implausible number of functions"));
        }
        let mut found = Self {
            address,
            format: *format,
            quantum: u64::from(quantum),
            count,
            names: table,
            units: Bytes::default(),
            files: Bytes::default(),
            pc_values: table,
            records: table,
            records_address: address,
            entries: table.from(16).ok_or(damaged("short header"))?,
            entries_address: address + 16,
        };
        // Since 1.16 the header names each part; a text start came in between with 1.18.
        let first = match format {
            Format::Go1_2 => None,
            Format::Go1_16 => Some(2),
            Format::Go1_18 | Format::Go1_20 => Some(3),
        };
        if let Some(first) = first {
            found.names = part(first)?;
            found.units = part(first + 1)?;
            found.files = part(first + 2)?;
            found.pc_values = part(first + 3)?;
            found.records = part(first + 4)?;
            found.records_address = address.wrapping_add(word(first + 4)?);
            found.entries = found.records;
            found.entries_address = found.records_address;
        }
        let bytes = count * found.entry_width() + found.entry_width() / 2;
        if found.entries.slice(0, bytes).is_none() {
            return Err(damaged("the list of functions is cut off"));
        }
        Ok(found)
    }

    /// Bytes of one row of the list of functions.
    const fn entry_width(&self) -> u64 {
        if self.format.record().wide { 16 } else { 8 }
    }

    /// Address of the table.
    pub const fn address(&self) -> u64 {
        self.address
    }

    /// Its format.
    pub const fn format(&self) -> Format {
        self.format
    }

    /// Number of functions.
    pub const fn len(&self) -> u64 {
        self.count
    }

    /// Whether there is no function; never true of a parsed table.
    pub const fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Address of the function at `index`; of the end of all code at `len()`. `text` is `moduledata.text`.
    pub fn entry(&self, image: &Image<'_>, text: u64, index: u64) -> Option<u64> {
        let at = index.checked_mul(self.entry_width())?;
        if !self.format.record().wide {
            return text.checked_add(u64::from(self.entries.u32(at)?));
        }
        match self.entries.u64(at)? {
            // Position independent and linked by another linker: the value is in the relocations.
            0 => image.relocated(self.entries_address + at),
            entry => Some(entry),
        }
    }

    /// The function at `index`.
    pub fn function(&self, image: &Image<'_>, text: u64, index: u64) -> Option<Function> {
        let layout = self.format.record();
        let at = index.checked_mul(self.entry_width())?;
        let record =
            if layout.wide { self.entries.u64(at + 8)? } else { u64::from(self.entries.u32(at + 4)?) };
        let name = self.records.u32(record.checked_add(layout.name)?)?;
        let entry = self.entry(image, text, index)?;
        let end = self.entry(image, text, index + 1)?;
        (entry < end).then_some(Function { index, entry, end, name, record })
    }

    /// Whether the functions are in the order of their addresses, as the runtime demands of a program that starts: so
    /// they do not overlap, and what is done for each byte of each is not more than the code has.
    pub(crate) fn is_sorted(&self, image: &Image<'_>, text: u64) -> bool {
        (0..=self.count).map(|index| self.entry(image, text, index)).is_sorted()
    }

    /// All functions, by address. Damaged rows are left out.
    pub fn functions(&self, image: &Image<'_>, text: u64) -> impl Iterator<Item = Function> {
        (0..self.count).filter_map(move |index| self.function(image, text, index))
    }

    /// The function that covers `address`.
    pub fn covering(&self, image: &Image<'_>, text: u64, address: u64) -> Option<Function> {
        let (mut low, mut high) = (0, self.count);
        while low + 1 < high {
            let middle = u64::midpoint(low, high);
            if self.entry(image, text, middle)? <= address { low = middle } else { high = middle }
        }
        let function = self.function(image, text, low)?;
        (function.entry <= address && address < function.end).then_some(function)
    }

    /// The name that begins at an offset, as the linker wrote it.
    pub(crate) fn name_at(&self, offset: u32) -> Option<&'a [u8]> {
        let before = u64::from(offset).checked_sub(1);
        let begins = match self.format {
            // Names stand between other things.
            Format::Go1_2 => true,
            Format::Go1_16 | Format::Go1_18 | Format::Go1_20 => {
                before.is_none_or(|before| self.names.u8(before) == Some(0))
            }
        };
        begins.then(|| self.names.c_string(u64::from(offset))).flatten()
    }

    /// Every distinct name with its offset, functions that exist only inlined included. Since Go 1.16; empty for
    /// the older format, whose names are not kept together.
    pub(crate) fn all_names(&self) -> impl Iterator<Item = (u32, &'a [u8])> {
        let end = match self.format {
            Format::Go1_2 => 0,
            Format::Go1_16 | Format::Go1_18 | Format::Go1_20 => {
                // The table of files per compile unit follows the names.
                self.names.len().saturating_sub(self.units.len())
            }
        };
        let names = self.names.as_slice().get(..end).unwrap_or_default();
        let mut offset = 0_u32;
        names.split(|&byte| byte == 0).filter_map(move |name| {
            let at = offset;
            offset = offset.saturating_add(u32::try_from(name.len()).ok()?.saturating_add(1));
            (!name.is_empty()).then_some((at, name))
        })
    }

    /// Whether the body is assembly. Always false before Go 1.18, which did not record it.
    pub fn is_assembly(&self, function: &Function) -> bool {
        let layout = self.format.record();
        let recorded = self.format >= Format::Go1_18;
        let flag = layout.flag.and_then(|offset| self.records.u8(function.record + offset));
        recorded && flag.is_some_and(|flag| flag & FLAG_ASSEMBLY != 0)
    }

    /// Whether the linker gave it a number of its own (`funcID`): some of the runtime's functions, and wrappers that the
    /// compiler makes. Always false in the format of Go 1.2.
    pub fn is_numbered(&self, function: &Function) -> bool {
        // The number stands before the flags.
        let number = self.format.record().flag.and_then(|flag| self.records.u8(function.record + flag - 1));
        number.is_some_and(|number| number != 0)
    }

    /// Source file of the first instruction; `<autogenerated>` for wrappers that the compiler makes.
    pub fn file(&self, function: &Function) -> Option<&'a [u8]> {
        let layout = self.format.record();
        let unit = self.records.u32(function.record + layout.compile_unit?)?;
        let values = self.records.u32(function.record + layout.pc_file)?;
        let (file, _) = self.steps(values, function).next()?;
        let row = u64::from(unit).checked_add(u64::try_from(file).ok()?)?;
        let offset = self.units.u32(row.checked_mul(4)?)?;
        self.files.c_string(u64::from(offset))
    }

    /// Source file and line of an instruction in a function; of an inlined call, where the inlined code is.
    pub fn line(&self, function: &Function, address: u64) -> Option<(&'a [u8], u32)> {
        let layout = self.format.record();
        let unit = self.records.u32(function.record + layout.compile_unit?)?;
        let at = |table: u64| {
            let mut steps = self.steps(self.records.u32(function.record + table)?, function);
            let code = address.checked_sub(function.entry)?;
            steps.find(|(_, end)| code < *end).map(|(value, _)| value)
        };
        let row = u64::from(unit).checked_add(u64::try_from(at(layout.pc_file)?).ok()?)?;
        let file = self.files.c_string(u64::from(self.units.u32(row.checked_mul(4)?)?))?;
        // The table of lines follows that of files.
        Some((file, u32::try_from(at(layout.pc_file + 4)?).ok()?))
    }

    /// The values of a function's pc-value table, each with the end of its code, counted from the function's entry.
    /// No more than the function has code: tables are shared, so without that a file could make each function walk
    /// through all of them.
    fn steps(&self, offset: u32, function: &Function) -> impl Iterator<Item = (i64, u64)> {
        let len = function.end - function.entry;
        let table = self.pc_values;
        let quantum = self.quantum;
        let mut at = u64::from(offset);
        let mut value = -1_i64;
        let mut end = 0_u64;
        let mut first = true;
        std::iter::from_fn(move || {
            if at == 0 || end >= len {
                return None;
            }
            let (delta, next) = table.uvarint(at)?;
            if delta == 0 && !first {
                return None;
            }
            first = false;
            // A value for no code is not written by any compiler.
            let (code, next) = table.uvarint(next).filter(|(code, _)| *code > 0)?;
            at = next;
            end = end.checked_add(code.checked_mul(quantum)?)?;
            // Zigzag, 32 bits wide in the runtime.
            let magnitude = i64::try_from(delta >> 1).ok()?;
            value = value.checked_add(if delta & 1 == 0 { magnitude } else { -magnitude - 1 })?;
            Some((value, end))
        })
    }

    /// The node of the inline tree that an instruction belongs to; none when nothing was inlined there.
    pub(crate) fn inline_node(&self, function: &Function, address: u64) -> Option<u64> {
        let code = address.checked_sub(function.entry)?;
        let node = self.steps(self.inline_table(function)?, function).find(|(_, end)| code < *end)?.0;
        u64::try_from(node).ok()
    }

    /// The table from pc to node of the inline tree.
    fn inline_table(&self, function: &Function) -> Option<u32> {
        let layout = self.format.record();
        let count = self.records.u32(function.record + layout.pcdata_count)?;
        if u64::from(count) <= PCDATA_INLINE_INDEX {
            return None;
        }
        self.records.u32(function.record + layout.size + 4 * PCDATA_INLINE_INDEX)
    }

    /// Number of nodes of the inline tree: the highest index that a pc refers to, plus one.
    pub(crate) fn inline_nodes(&self, function: &Function) -> Option<u64> {
        let highest = self.steps(self.inline_table(function)?, function).map(|(value, _)| value).max()?;
        u64::try_from(highest.checked_add(1)?).ok().filter(|&nodes| nodes > 0)
    }

    /// Address of the inline tree. `gofunc` is `moduledata.gofunc` (Go 1.18+).
    pub(crate) fn inline_tree(&self, image: &Image<'_>, function: &Function, gofunc: u64) -> Option<u64> {
        let layout = self.format.record();
        let pcdata_count = u64::from(self.records.u32(function.record + layout.pcdata_count)?);
        let funcdata_count = u64::from(self.records.u8(function.record + layout.size - 1)?);
        if funcdata_count <= FUNCDATA_INLINE_TREE {
            return None;
        }
        let behind_pcdata = function.record + layout.size + 4 * pcdata_count;
        if layout.wide {
            let behind = self.records_address.checked_add(behind_pcdata)?;
            let aligned = behind.checked_add(to_aligned(behind, 8))?;
            let tree = image.pointer(aligned.checked_add(8 * FUNCDATA_INLINE_TREE)?);
            return tree.filter(|&address| address != 0);
        }
        let offset = self.records.u32(behind_pcdata + 4 * FUNCDATA_INLINE_TREE)?;
        (offset != u32::MAX).then_some(gofunc.checked_add(u64::from(offset))?)
    }

    /// Bytes of code per unit of a pc delta: 1 on amd64, 4 on arm64.
    pub const fn quantum(&self) -> u64 {
        self.quantum
    }
}

fn is_header(word: u64) -> bool {
    let Ok(magic) = u32::try_from(word & 0xffff_ffff) else { return false };
    let shape = word >> 32;
    (shape == 0x0801_0000 || shape == 0x0804_0000) && MAGICS.iter().any(|(known, _)| *known == magic)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(pc_values: &[u8]) -> Pclntab<'_> {
        Pclntab {
            address: 0,
            format: Format::Go1_20,
            quantum: 1,
            count: 1,
            names: Bytes::new(b"\0main.f\0main.g\0"),
            units: Bytes::default(),
            files: Bytes::default(),
            pc_values: Bytes::new(pc_values),
            records: Bytes::default(),
            records_address: 0,
            entries: Bytes::default(),
            entries_address: 0,
        }
    }

    fn function(len: u64) -> Function {
        Function { index: 0, entry: 0x1000, end: 0x1000 + len, name: 0, record: 0 }
    }

    #[test]
    fn a_table_is_walked_no_further_than_the_function_has_code() {
        // Up and down by one, a byte of code each, without an end.
        let endless = [vec![0], [2, 1, 1, 1].repeat(5000)].concat();
        let steps = |len| table(&endless).steps(1, &function(len)).count();
        assert_eq!([steps(1), steps(3), steps(64)], [1, 3, 64]);
        // Values for no code at all would be another way to have no end.
        let standing = [vec![0], [2, 0].repeat(5000)].concat();
        assert_eq!(table(&standing).steps(1, &function(64)).count(), 0);
    }

    #[test]
    fn the_values_of_a_table() {
        // 0 for 4 bytes, 2 for 300 bytes, 1 to the end.
        let values = [0, 2, 4, 4, 0xac, 0x02, 1, 8, 0];
        let steps: Vec<_> = table(&values).steps(1, &function(312)).collect();
        assert_eq!(steps, [(0, 4), (2, 304), (1, 312)]);
        assert_eq!(table(&values).steps(0, &function(312)).count(), 0, "no table");
    }

    #[test]
    fn names_begin_behind_another() {
        let table = table(&[]);
        assert_eq!(table.name_at(8), Some(&b"main.g"[..]));
        assert_eq!(table.name_at(9), None, "all functions could share a long one, each its own part");
    }
}
