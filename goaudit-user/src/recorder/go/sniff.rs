//! A quick look at a file: is it a Go program at all? Most that are executed are not, and are not read.

use std::fs::File;
use std::os::unix::fs::FileExt;

/// Bytes of an ELF header of 64 bits.
const HEADER: usize = 64;
/// Longest table of section names that is looked at.
const NAMES_MAX: u64 = 1 << 20;

/// Whether the file is an ELF file with a Go function table, or one without sections, which may be anything.
pub(super) fn is_go(file: &File) -> bool {
    sections(file).is_some_and(|names| match names {
        Names::Known(names) => [&b".gopclntab\0"[..], b".go.buildinfo\0"]
            .iter()
            .any(|wanted| names.windows(wanted.len()).any(|found| found == *wanted)),
        Names::Unknown => true,
    })
}

/// Where an ELF file of one class has what is looked at: offsets in its header, and in a section's.
struct Layout {
    wide: bool,
    table: usize,
    counts: usize,
    offset: usize,
    size: usize,
}

/// By class. Programs of 32 bits cannot be probed, and are told as such rather than not seen.
const fn layout(class: u8) -> Option<Layout> {
    match class {
        1 => Some(Layout { wide: false, table: 32, counts: 46, offset: 16, size: 20 }),
        2 => Some(Layout { wide: true, table: 40, counts: 58, offset: 24, size: 32 }),
        0 | 3.. => None,
    }
}

impl Layout {
    /// An address-sized number.
    fn number(&self, bytes: &[u8], at: usize) -> Option<u64> {
        if self.wide {
            Some(u64::from_le_bytes(bytes.get(at..at + 8)?.try_into().ok()?))
        } else {
            Some(u64::from(u32::from_le_bytes(bytes.get(at..at + 4)?.try_into().ok()?)))
        }
    }
}

/// The names of a file's sections.
enum Names {
    /// It has none, or they cannot be read.
    Unknown,
    /// One behind the other, each with a zero at its end.
    Known(Vec<u8>),
}

/// The names of the file's sections; none when it is no ELF file.
fn sections(file: &File) -> Option<Names> {
    let mut header = [0; HEADER];
    file.read_exact_at(&mut header, 0).ok()?;
    let [0x7f, b'E', b'L', b'F', class, ..] = header else { return None };
    let layout = layout(class)?;
    let u16_at = |at: usize| Some(u16::from_le_bytes(header.get(at..at + 2)?.try_into().ok()?));
    let table = layout.number(&header, layout.table)?;
    let (size, count, names) =
        (u16_at(layout.counts)?, u16_at(layout.counts + 2)?, u16_at(layout.counts + 4)?);
    if table == 0 || count == 0 || names >= count {
        return Some(Names::Unknown);
    }
    // A section's header of 32 bits is shorter; what is behind it is not looked at.
    let mut section = [0; 40];
    let at = table.checked_add(u64::from(size) * u64::from(names))?;
    if file.read_exact_at(&mut section, at).is_err() {
        return Some(Names::Unknown);
    }
    let offset = layout.number(&section, layout.offset)?;
    let len = layout.number(&section, layout.size)?.min(NAMES_MAX);
    let mut bytes = vec![0; usize::try_from(len).ok()?];
    let read = file.read_exact_at(&mut bytes, offset);
    Some(if read.is_ok() { Names::Known(bytes) } else { Names::Unknown })
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test fails by panicking")]
    use super::*;

    #[test]
    fn this_test_is_no_go_program_and_a_text_is_no_program() {
        assert!(!is_go(&File::open("/proc/self/exe").unwrap()));
        let text = tempfile::tempfile().unwrap();
        assert!(!is_go(&text), "empty");
        text.write_all_at(&[b'x'; 100], 0).unwrap();
        assert!(!is_go(&text));
    }

    #[test]
    fn cut_off_and_hostile_headers_are_not_followed() {
        let file = tempfile::tempfile().unwrap();
        let mut header = [0xff; HEADER];
        header[..5].copy_from_slice(b"\x7fELF\x02");
        file.write_all_at(&header, 0).unwrap();
        // No sections that can be read: the parser decides.
        assert!(is_go(&file));
    }
}
