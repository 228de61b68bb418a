//! An ELF file as the loader will map it: segments, sections, relocations, and the way from an address to a
//! file offset.
//!
//! Only 64-bit little-endian files for amd64 and arm64. Section headers are a help, never a need: a file whose
//! section table is gone or broken is read by its segments.

use std::cell::OnceCell;

use object::LittleEndian;
use object::elf::{self, FileHeader64};
use object::read::elf::{FileHeader, ProgramHeader, SectionHeader};
use serde::Serialize;
use thiserror::Error;

use super::bytes::Bytes;

/// More loadable segments than any linker makes; a file with more is hostile.
const MAX_SEGMENTS: usize = 64;
/// More sections than any linker makes for Go.
const MAX_SECTIONS: usize = 4096;

/// Why a file is not an image that Go probing can use.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum ImageError {
    /// The magic is not ELF's.
    #[error("this is not an ELF file: name the program itself, not a script or an archive")]
    NotElf,
    /// 32-bit file.
    #[error("this is a 32-bit ELF file: only 64-bit Go programs can be probed")]
    Not64Bit,
    /// Big-endian file.
    #[error("this is a big-endian ELF file: only amd64 and arm64 Go programs can be probed")]
    BigEndian,
    /// Another machine.
    #[error("this ELF file is for machine {0}: only amd64 (62) and arm64 (183) Go programs can be probed")]
    Machine(u16),
    /// Not something that runs.
    #[error("this ELF file is of type {0}, not a program (2 or 3): name the linked program")]
    NotProgram(u16),
    /// Headers point outside of the file or contradict each other.
    #[error("this ELF file is damaged or cut off (in its {0}): copy it again and compare its size")]
    Damaged(&'static str),
}

/// Processor architectures that Go probing knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Arch {
    /// x86-64.
    Amd64,
    /// AArch64.
    Arm64,
}

/// How a file comes into memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Loading {
    /// By a dynamic loader, which the file names.
    Dynamic,
    /// By the kernel alone, at the addresses of the file.
    Static,
    /// By the kernel alone, anywhere: it moves itself when it starts.
    StaticPie,
    /// By another program: a library, or a plugin. Also what an old linker made position independent and static,
    /// without the mark that it is a program (DF_1_PIE, since binutils 2.26).
    Library,
}

/// A part of the file that is mapped.
#[derive(Debug, Clone, Copy)]
struct Segment {
    address: u64,
    /// Bytes that come from the file.
    size: u64,
    offset: u64,
    executable: bool,
    writable: bool,
}

/// A named part, when the file still has section headers.
#[derive(Debug, Clone, Copy)]
struct Section<'a> {
    name: &'a [u8],
    address: u64,
    size: u64,
}

/// A parsed ELF file. Borrows the bytes; holds nothing of their size.
#[derive(Debug)]
#[expect(clippy::struct_excessive_bools, reason = "independent facts of a file, not states")]
pub struct Image<'a> {
    file: Bytes<'a>,
    arch: Arch,
    position_independent: bool,
    interpreter: bool,
    dynamic: Option<(u64, u64)>,
    segments: Vec<Segment>,
    sections: Vec<Section<'a>>,
    symbols: bool,
    dwarf: bool,
    relocations: OnceCell<Vec<(u64, u64)>>,
}

impl<'a> Image<'a> {
    /// Parses the headers. Does not look at anything else.
    pub fn parse(data: &'a [u8]) -> Result<Self, ImageError> {
        check_identity(data)?;
        let endian = LittleEndian;
        let header = FileHeader64::<LittleEndian>::parse(data).map_err(|_| ImageError::Damaged("header"))?;
        let arch = match header.e_machine.get(endian) {
            elf::EM_X86_64 => Arch::Amd64,
            elf::EM_AARCH64 => Arch::Arm64,
            other => return Err(ImageError::Machine(other)),
        };
        let position_independent = match header.e_type.get(endian) {
            elf::ET_EXEC => false,
            elf::ET_DYN => true,
            other => return Err(ImageError::NotProgram(other)),
        };
        let programs =
            header.program_headers(endian, data).map_err(|_| ImageError::Damaged("program headers"))?;
        let mut image = Self {
            file: Bytes::new(data),
            arch,
            position_independent,
            interpreter: false,
            dynamic: None,
            segments: Vec::new(),
            sections: Vec::new(),
            symbols: false,
            dwarf: false,
            relocations: OnceCell::new(),
        };
        for program in programs {
            let flags = program.p_flags(endian);
            let (address, offset, size) =
                (program.p_vaddr(endian), program.p_offset(endian), program.p_filesz(endian));
            match program.p_type(endian) {
                elf::PT_LOAD => {
                    image.segments.push(Segment {
                        address,
                        size,
                        offset,
                        executable: flags & elf::PF_X != 0,
                        writable: flags & elf::PF_W != 0,
                    });
                    let fits =
                        image.file.slice(offset, size).is_some() && address.checked_add(size).is_some();
                    if !fits || image.segments.len() > MAX_SEGMENTS {
                        return Err(ImageError::Damaged("segments"));
                    }
                }
                elf::PT_INTERP => image.interpreter = true,
                elf::PT_DYNAMIC => image.dynamic = Some((address, size)),
                _ => {}
            }
        }
        image.read_sections(header, data);
        Ok(image)
    }

    fn read_sections(&mut self, header: &FileHeader64<LittleEndian>, data: &'a [u8]) {
        let endian = LittleEndian;
        let Ok(table) = header.sections(endian, data) else { return };
        for section in table.iter().take(MAX_SECTIONS) {
            let Ok(name) = table.section_name(endian, section) else { continue };
            self.symbols |= section.sh_type(endian) == elf::SHT_SYMTAB;
            self.dwarf |= name.starts_with(b".debug_info") || name.starts_with(b".zdebug_info");
            if section.sh_addr(endian) != 0 {
                let (address, size) = (section.sh_addr(endian), section.sh_size(endian));
                self.sections.push(Section { name, address, size });
            }
        }
    }

    /// The processor it is for.
    pub const fn arch(&self) -> Arch {
        self.arch
    }

    /// ET_DYN: the loader chooses the address.
    pub const fn position_independent(&self) -> bool {
        self.position_independent
    }

    /// How the file is loaded.
    pub fn loading(&self) -> Loading {
        let flags = self.dynamic_entries().find(|(tag, _)| *tag == elf::DT_FLAGS_1);
        let marked = flags.is_some_and(|(_, flags)| flags & u64::from(elf::DF_1_PIE) != 0);
        match (self.interpreter, self.position_independent) {
            (true, _) => Loading::Dynamic,
            (false, false) => Loading::Static,
            (false, true) if marked => Loading::StaticPie,
            (false, true) => Loading::Library,
        }
    }

    /// Has PT_INTERP: a dynamic loader runs first.
    pub const fn has_interpreter(&self) -> bool {
        self.interpreter
    }

    /// Has a symbol table.
    pub const fn has_symbols(&self) -> bool {
        self.symbols
    }

    /// Has DWARF.
    pub const fn has_dwarf(&self) -> bool {
        self.dwarf
    }

    /// The bytes from `address` to the end of its segment's part of the file.
    pub(crate) fn at(&self, address: u64) -> Option<Bytes<'a>> {
        let segment = self.segment(address)?;
        let skip = address - segment.address;
        self.file.slice(segment.offset.checked_add(skip)?, segment.size - skip).map(Bytes::new)
    }

    /// Where in the file the instruction at `address` is, as the kernel maps it for execution.
    pub fn code_offset(&self, address: u64) -> Option<u64> {
        let segment = self.segment(address)?;
        segment.executable.then_some(segment.offset.checked_add(address - segment.address)?)
    }

    /// Address of code less its offset in the file (of the first segment of code; linkers make one).
    pub fn code_delta(&self) -> u64 {
        let segment = self.segments.iter().find(|segment| segment.executable);
        segment.map_or(0, |segment| segment.address.wrapping_sub(segment.offset))
    }

    /// Whether `address` is mapped executable.
    pub fn is_code(&self, address: u64) -> bool {
        self.segment(address).is_some_and(|segment| segment.executable)
    }

    fn segment(&self, address: u64) -> Option<&Segment> {
        self.segments.iter().find(|segment| {
            address.checked_sub(segment.address).is_some_and(|distance| distance < segment.size)
        })
    }

    /// Address and bytes of a named section.
    pub(crate) fn section(&self, name: &str) -> Option<(u64, Bytes<'a>)> {
        let section = self.sections.iter().find(|section| section.name == name.as_bytes())?;
        let bytes = self.at(section.address)?;
        let len = section.size.min(bytes.len() as u64);
        bytes.slice(0, len).map(|slice| (section.address, Bytes::new(slice)))
    }

    /// Address and bytes of every data (not executable) segment; `writable` chooses which.
    pub(crate) fn data_segments(&self, writable: bool) -> impl Iterator<Item = (u64, Bytes<'a>)> {
        self.segments
            .iter()
            .filter(move |segment| !segment.executable && segment.writable == writable)
            .filter_map(|segment| Some((segment.address, self.at(segment.address)?)))
    }

    /// Every loaded segment that is not executable, then the others (old linkers put read-only data there).
    pub(crate) fn readable_segments(&self) -> impl Iterator<Item = (u64, Bytes<'a>)> {
        let all = || self.segments.iter();
        all()
            .filter(|segment| !segment.executable)
            .chain(all().filter(|segment| segment.executable))
            .filter_map(|segment| Some((segment.address, self.at(segment.address)?)))
    }

    /// The pointer stored at `address` as the program will see it, less the load bias. Go's own linker leaves the
    /// value in place; other linkers leave zero there and a RELATIVE relocation.
    pub(crate) fn pointer(&self, address: u64) -> Option<u64> {
        match self.at(address)?.u64(0)? {
            0 => Some(self.relocated(address).unwrap_or(0)),
            value => Some(value),
        }
    }

    /// The value that a RELATIVE relocation puts at `address`.
    pub(crate) fn relocated(&self, address: u64) -> Option<u64> {
        let table = self.relocations();
        let index = table.binary_search_by_key(&address, |&(at, _)| at).ok()?;
        table.get(index).map(|&(_, value)| value)
    }

    /// RELATIVE relocations (address, value), by address. Read at the first need.
    pub(crate) fn relocations(&self) -> &[(u64, u64)] {
        self.relocations.get_or_init(|| {
            let mut table = self.read_relocations().unwrap_or_default();
            table.sort_unstable();
            table
        })
    }

    /// Tags and values of the dynamic section.
    fn dynamic_entries(&self) -> impl Iterator<Item = (i64, u64)> {
        let dynamic = self.dynamic.and_then(|(address, size)| self.at(address)?.slice(0, size));
        let (entries, _) = dynamic.unwrap_or_default().as_chunks::<16>();
        let entries = entries.iter().filter_map(|entry| {
            let entry = Bytes::new(entry);
            Some((i64::try_from(entry.u64(0)?).ok()?, entry.u64(8)?))
        });
        entries.take_while(|(tag, _)| *tag != elf::DT_NULL)
    }

    fn read_relocations(&self) -> Option<Vec<(u64, u64)>> {
        let (mut table, mut table_size) = (0, 0);
        for (tag, value) in self.dynamic_entries() {
            match tag {
                elf::DT_RELA => table = value,
                elf::DT_RELASZ => table_size = value,
                _ => {}
            }
        }
        let relative = match self.arch {
            Arch::Amd64 => elf::R_X86_64_RELATIVE,
            Arch::Arm64 => elf::R_AARCH64_RELATIVE,
        };
        let entries = self.at(table)?.slice(0, table_size)?;
        let found = entries.chunks_exact(24).filter_map(|entry| {
            let entry = Bytes::new(entry);
            let info = entry.u64(8)?;
            // The low half is the type, the high half the symbol.
            (info == u64::from(relative)).then_some((entry.u64(0)?, entry.u64(16)?))
        });
        Some(found.collect())
    }
}

fn check_identity(data: &[u8]) -> Result<(), ImageError> {
    let Some([magic @ .., class, order]) = data.first_chunk::<6>() else { return Err(ImageError::NotElf) };
    if magic != b"\x7fELF" {
        return Err(ImageError::NotElf);
    }
    match (*class, *order) {
        (elf::ELFCLASS64, elf::ELFDATA2LSB) => Ok(()),
        (elf::ELFCLASS32, _) => Err(ImageError::Not64Bit),
        (_, elf::ELFDATA2MSB) => Err(ImageError::BigEndian),
        _ => Err(ImageError::Damaged("header")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_a_program_is_named() {
        let parse = |data: &[u8]| Image::parse(data).err();
        assert_eq!(parse(b""), Some(ImageError::NotElf));
        assert_eq!(parse(b"#!/bin/sh\n"), Some(ImageError::NotElf));
        assert_eq!(parse(b"\x7fELF\x01\x01"), Some(ImageError::Not64Bit));
        assert_eq!(parse(b"\x7fELF\x02\x02"), Some(ImageError::BigEndian));
        assert_eq!(parse(b"\x7fELF\x02\x01"), Some(ImageError::Damaged("header")));
    }

    /// A program of segments (type, flags, address) that have these bytes.
    fn elf(kind: u16, segments: &[(u32, u32, u64, &[u8])]) -> Vec<u8> {
        let count = u16::try_from(segments.len()).unwrap_or_default();
        let mut file = b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0".to_vec();
        file.extend([kind, 62, 1, 0].into_iter().flat_map(u16::to_le_bytes));
        // Entry, program headers, section headers.
        file.extend([0, 64, 0_u64].into_iter().flat_map(u64::to_le_bytes));
        file.extend([0, 0, 64, 56, count, 64, 0, 0].into_iter().flat_map(u16::to_le_bytes));
        let mut offset = 64 + 56 * segments.len();
        for (kind, flags, address, bytes) in segments {
            file.extend([kind.to_le_bytes(), flags.to_le_bytes()].concat());
            let len = bytes.len() as u64;
            let words = [offset as u64, *address, *address, len, len, 1];
            file.extend(words.into_iter().flat_map(u64::to_le_bytes));
            offset += bytes.len();
        }
        file.extend(segments.iter().flat_map(|(_, _, _, bytes)| bytes.iter().copied()));
        file
    }

    #[test]
    fn what_loads_a_file() {
        let loading = |kind: u16, more: &[u32], flags: u32| {
            let words = [elf::DT_FLAGS_1.cast_unsigned(), u64::from(flags), 0, 0];
            let dynamic: Vec<u8> = words.into_iter().flat_map(u64::to_le_bytes).collect();
            let mut segments = vec![(elf::PT_LOAD, elf::PF_R, 0x1000, &dynamic[..])];
            segments.extend(more.iter().map(|kind| (*kind, elf::PF_R, 0x1000, &dynamic[..])));
            Image::parse(&elf(kind, &segments)).map(|image| image.loading())
        };
        let (pie, fixed) = (elf::ET_DYN, elf::ET_EXEC);
        assert_eq!(loading(fixed, &[], 0), Ok(Loading::Static));
        assert_eq!(loading(fixed, &[elf::PT_INTERP, elf::PT_DYNAMIC], 0), Ok(Loading::Dynamic));
        assert_eq!(loading(pie, &[elf::PT_INTERP, elf::PT_DYNAMIC], elf::DF_1_PIE), Ok(Loading::Dynamic));
        assert_eq!(loading(pie, &[elf::PT_DYNAMIC], elf::DF_1_PIE), Ok(Loading::StaticPie));
        assert_eq!(loading(pie, &[elf::PT_DYNAMIC], 0), Ok(Loading::Library));
    }

    #[test]
    fn segments_at_the_end_of_the_address_space() {
        // One byte further a segment would end behind the last address.
        for len in 1..200_u64 {
            let bytes = vec![0xff; usize::try_from(len).unwrap_or_default()];
            let last = u64::MAX - len;
            for flags in [elf::PF_R, elf::PF_R | elf::PF_W, elf::PF_R | elf::PF_X] {
                let file = elf(elf::ET_EXEC, &[(elf::PT_LOAD, flags, last, &bytes)]);
                assert!(Image::parse(&file).is_ok());
                assert!(crate::golang::Program::parse(&file).is_err());
            }
        }
        let behind = elf(elf::ET_EXEC, &[(elf::PT_LOAD, elf::PF_R, u64::MAX - 7, &[0; 8])]);
        assert_eq!(Image::parse(&behind).err(), Some(ImageError::Damaged("segments")));
    }

    #[test]
    fn another_machine_is_named() {
        let mut header = [0_u8; 64];
        header[..16].copy_from_slice(b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0");
        header[16] = 2;
        header[18] = 243;
        assert_eq!(Image::parse(&header).err(), Some(ImageError::Machine(243)));
        header[18] = 62;
        header[16] = 1;
        assert_eq!(Image::parse(&header).err(), Some(ImageError::NotProgram(1)));
    }
}
