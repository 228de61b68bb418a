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
        Some(names) => [&b".gopclntab\0"[..], b".go.buildinfo\0"]
            .iter()
            .any(|wanted| names.windows(wanted.len()).any(|found| found == *wanted)),
        None => true,
    })
}

/// The names of the file's sections; the inner none when it has no sections, the outer when it is no ELF file.
fn sections(file: &File) -> Option<Option<Vec<u8>>> {
    let mut header = [0; HEADER];
    file.read_exact_at(&mut header, 0).ok()?;
    if header.get(..5)? != b"\x7fELF\x02" {
        return None;
    }
    let u16_at = |at: usize| Some(u16::from_le_bytes(header.get(at..at + 2)?.try_into().ok()?));
    let table = u64::from_le_bytes(header.get(40..48)?.try_into().ok()?);
    let (size, count, names) = (u16_at(58)?, u16_at(60)?, u16_at(62)?);
    if table == 0 || count == 0 || names >= count {
        return Some(None);
    }
    let mut section = [0; HEADER];
    let at = table.checked_add(u64::from(size) * u64::from(names))?;
    if file.read_exact_at(&mut section, at).is_err() {
        return Some(None);
    }
    let u64_at = |at: usize| Some(u64::from_le_bytes(section.get(at..at + 8)?.try_into().ok()?));
    let (offset, len) = (u64_at(24)?, u64_at(32)?.min(NAMES_MAX));
    let mut bytes = vec![0; usize::try_from(len).ok()?];
    Some(file.read_exact_at(&mut bytes, offset).is_ok().then_some(bytes))
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
