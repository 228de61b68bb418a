//! The archive: members in the order in which they come, each with its sums, and the lists of sums at the end.

use std::io::{self, Read, Seek, Write};

use sha2::{Digest as _, Sha256};
use zip::write::SimpleFileOptions;
use zip::{CompressionMethod, DateTime, ZipWriter};

use super::Summary;
use super::manifest::Member;
use crate::audit::hex;

/// Members from here on have 64-bit sizes.
const LARGE: u64 = u32::MAX as u64;
/// Bytes copied at once.
const CHUNK: usize = 64 << 10;

/// A zip archive that is written.
pub(super) struct Archive<W: Write + Seek> {
    zip: ZipWriter<W>,
    members: Vec<Member>,
    #[cfg(feature = "gm")]
    sm3: String,
}

impl<W: Write + Seek> Archive<W> {
    pub(super) fn new(out: W) -> Self {
        Self {
            zip: ZipWriter::new(out),
            members: Vec::new(),
            #[cfg(feature = "gm")]
            sm3: String::new(),
        }
    }

    /// Adds a member of text.
    pub(super) fn text(&mut self, name: &str, text: &str) -> io::Result<()> {
        self.member(name, text.len() as u64, &mut text.as_bytes()).map(drop)
    }

    /// Adds a member of at most `len` bytes; returns how many there were.
    pub(super) fn member(&mut self, name: &str, len: u64, from: &mut dyn Read) -> io::Result<u64> {
        let options = SimpleFileOptions::default()
            .compression_method(CompressionMethod::Stored)
            .last_modified_time(DateTime::DEFAULT)
            .unix_permissions(0o644)
            .large_file(len >= LARGE);
        self.zip.start_file(name, options)?;
        let mut sha256 = Sha256::new();
        #[cfg(feature = "gm")]
        let mut sm3 = sm3::Sm3::default();
        let mut chunk = vec![0; CHUNK];
        let mut bytes = 0;
        loop {
            let read = match from.read(&mut chunk) {
                Ok(0) => break,
                Ok(read) => chunk.get(..read).unwrap_or_default(),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(error),
            };
            sha256.update(read);
            #[cfg(feature = "gm")]
            sm3::Digest::update(&mut sm3, read);
            self.zip.write_all(read)?;
            bytes += read.len() as u64;
        }
        #[cfg(feature = "gm")]
        self.sm3.extend([&hex(&sm3::Digest::finalize(sm3)), "  ", name, "\n"]);
        self.members.push(Member { name: name.to_owned(), bytes, sha256: hex(&sha256.finalize()) });
        Ok(bytes)
    }

    /// The members so far.
    pub(super) fn members(&self) -> Vec<Member> {
        self.members.clone()
    }

    /// Adds the lists of sums and ends the archive.
    pub(super) fn finish(mut self) -> Result<Summary, zip::result::ZipError> {
        let mut sums = String::new();
        for member in &self.members {
            sums.push_str(&member.sha256);
            sums.push_str("  ");
            sums.push_str(&member.name);
            sums.push('\n');
        }
        // Of the same members: neither list names a list.
        #[cfg(feature = "gm")]
        let sm3 = std::mem::take(&mut self.sm3);
        self.text("SHA256SUMS", &sums)?;
        #[cfg(feature = "gm")]
        self.text("SM3SUMS", &sm3)?;
        let bytes = self.members.iter().map(|member| member.bytes).sum();
        let members = self.members.len();
        self.zip.finish()?;
        Ok(Summary { members, bytes })
    }
}

#[cfg(all(test, feature = "gm"))]
mod tests {
    use std::io::Cursor;

    use super::Archive;

    #[test]
    fn sm3_sums_are_those_of_the_standard() {
        let mut archive = Archive::new(Cursor::new(Vec::new()));
        // GB/T 32905, A.1 and A.2.
        archive.text("a", "abc").unwrap_or_default();
        archive.text("b", &"abcd".repeat(16)).unwrap_or_default();
        let sums = "66c7f0f462eeedd9d1f2d46bdc10e4e24167c4875cf2f7a2297da02b8f4ba8e0  a\n\
                    debe9ff92275b8a138604889c18e5a4d6fdb70e5387e5765293dcba39c0c5732  b\n";
        assert_eq!(archive.sm3, sums);
    }
}
