//! `runtime.firstmoduledata`: where Go's text really begins, and where function data lie.
//!
//! Found without symbols: it begins with a pointer to the function table. A candidate is accepted only if its
//! text bounds agree with the function table and with the executable segments; so a word that looks alike by
//! chance, or a damaged table, is not believed. Layout: `type moduledata` in runtime/symtab.go.

use thiserror::Error;

use super::bytes::to_aligned;
use super::image::Image;
use super::inline::Base;
use super::pclntab::{Format, Pclntab};

/// Why a file's module data are not believed.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum ModuleDataError {
    /// There is none that agrees with the rest of the file.
    #[error(
        "the Go function table and the segments of this program contradict each other (no moduledata agrees with both): it was changed after linking, or comes from a linker that goaudit does not know"
    )]
    Contradiction,
    /// The runtime would end such a program when it starts (`moduledataverify1`).
    #[error(
        "the Go function table is not in the order of addresses: it was changed after linking, and the program would not start"
    )]
    NotSorted,
}

/// What is used of the module data. Addresses are those of the file, without load bias.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ModuleData {
    /// Where it lies.
    pub address: u64,
    /// Base of all code offsets.
    pub text: u64,
    /// End of Go's code.
    pub etext: u64,
    /// Base of function data offsets; 0 where none is needed: before Go 1.18 (function data were pointers), and where
    /// nothing was inlined. `None`: functions have inlined calls, and what they are cannot be read.
    pub gofunc: Option<u64>,
    /// Where descriptions of types begin and end.
    pub types: Option<(u64, u64)>,
}

/// Sections that have held it: 1.26+, 1.16 to 1.25, position-independent builds.
const SECTIONS: [&str; 4] = [".go.module", ".noptrdata", ".data", ".data.rel.ro"];

/// Offsets of `gofunc` since Go 1.18: 1.18 and 1.19; 1.20 to 1.26; 1.27.
const GOFUNC: [u64; 3] = [304, 320, 344];

impl ModuleData {
    /// Finds the module data that owns `table`.
    pub fn find(image: &Image<'_>, table: &Pclntab<'_>) -> Result<Self, ModuleDataError> {
        let sections = SECTIONS.iter().filter_map(|name| image.section(name));
        let segments = image.data_segments(true).chain(image.data_segments(false));
        for (address, bytes) in sections.chain(segments) {
            let mut at = to_aligned(address, 8);
            while let Some(word) = bytes.u64(at) {
                if word == table.address()
                    && let Some(found) = address.checked_add(at).and_then(|at| Self::check(image, table, at))
                {
                    return found.complete(image, table);
                }
                at += 8;
            }
        }
        // Linked by another linker, position independent: the pointer is in the relocations only.
        let mut relocated = image.relocations().iter().filter(|(_, value)| *value == table.address());
        let found = relocated.find_map(|(address, _)| Self::check(image, table, *address));
        found.ok_or(ModuleDataError::Contradiction)?.complete(image, table)
    }

    /// What is found by going through the functions.
    fn complete(self, image: &Image<'_>, table: &Pclntab<'_>) -> Result<Self, ModuleDataError> {
        if !table.is_sorted(image, self.text) {
            return Err(ModuleDataError::NotSorted);
        }
        Ok(Self { gofunc: Self::gofunc(image, table, self.address, self.text), ..self })
    }

    fn check(image: &Image<'_>, table: &Pclntab<'_>, address: u64) -> Option<Self> {
        // minpc, maxpc, text and etext follow each other; 1.16 put four slices before them.
        let bounds = match table.format() {
            Format::Go1_2 => 80,
            Format::Go1_16 | Format::Go1_18 | Format::Go1_20 => 160,
        };
        let word = |offset: u64| image.pointer(address.checked_add(offset)?);
        let (low, high) = (word(bounds)?, word(bounds + 8)?);
        let (text, etext) = (word(bounds + 16)?, word(bounds + 24)?);
        let ordered = text <= low && low < high && high <= etext;
        // Within one segment: all of it is in the file.
        let mapped = image.is_code(text) && image.at(text)?.len() as u64 >= etext.checked_sub(text)?;
        let first = table.entry(image, text, 0)?;
        let last = table.entry(image, text, table.len())?;
        (ordered && mapped && first == low && last == high).then_some(())?;
        Some(Self { address, text, etext, gofunc: None, types: Self::types(image, table, address) })
    }

    /// Where types are: Go up to 1.19 at 280, then at 296 (behind the bounds of coverage counters). Their end follows;
    /// Go 1.27 put the length of the descriptors between.
    fn types(image: &Image<'_>, table: &Pclntab<'_>, address: u64) -> Option<(u64, u64)> {
        let word = |offset: u64| image.pointer(address.checked_add(offset)?);
        let offset = match table.format() {
            Format::Go1_2 => return None,
            Format::Go1_16 | Format::Go1_18 => 280,
            Format::Go1_20 => 296,
        };
        let (start, second, third) = (word(offset)?, word(offset + 8)?, word(offset + 16)?);
        // A length and the end behind it, or the end and the start of read-only data, which is not behind the end.
        let has_length = start.checked_add(second).is_some_and(|end| end <= third);
        let end = if table.format() == Format::Go1_20 && has_length { third } else { second };
        let mapped = image.at(start)?.len() as u64 >= end.checked_sub(start)?;
        (start < end && mapped).then_some((start, end))
    }

    /// The offset moved with versions, and a version may lie: take the place at which inline trees make sense.
    fn gofunc(image: &Image<'_>, table: &Pclntab<'_>, address: u64, text: u64) -> Option<u64> {
        if table.format() < Format::Go1_18 {
            return Some(0);
        }
        let unknown = (296..=424).step_by(8).filter(|offset| !GOFUNC.contains(offset));
        GOFUNC.into_iter().chain(unknown).find_map(|offset| {
            let gofunc = image.pointer(address.checked_add(offset)?)?;
            match super::inline::try_base(image, table, text, gofunc) {
                Base::Plausible => Some(gofunc),
                Base::NotNeeded => Some(0),
                Base::Wrong => None,
            }
        })
    }
}
