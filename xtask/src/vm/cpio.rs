//! The kernel's initramfs format: cpio "newc" (Documentation/driver-api/early-userspace/buffer-format.rst).
//!
//! Written here because it is forty lines and spares a tool; owner is always root, time always zero, so the
//! same files give the same bytes.

use std::io::{self, Write};

/// Type bits of st_mode.
const DIRECTORY: u32 = 0o040_000;
const REGULAR: u32 = 0o100_000;
const SYMLINK: u32 = 0o120_000;
const CHARACTER_DEVICE: u32 = 0o020_000;

/// Writes one archive; entries appear in the order of the calls, parents must come first.
pub(super) struct Archive<W> {
    out: W,
    /// Inode numbers only have to differ: equal ones would be hard links.
    entries: u32,
    written: usize,
}

/// What an entry is, besides its name and content.
struct Kind {
    mode: u32,
    links: u32,
    device: (u32, u32),
}

impl<W: Write> Archive<W> {
    pub(super) fn new(out: W) -> Self {
        Self { out, entries: 0, written: 0 }
    }

    /// `mode` holds permission bits only, here and below.
    pub(super) fn directory(&mut self, name: &str, mode: u32) -> io::Result<()> {
        self.entry(name, &Kind { mode: DIRECTORY | mode, links: 2, device: (0, 0) }, b"")
    }

    pub(super) fn file(&mut self, name: &str, mode: u32, content: &[u8]) -> io::Result<()> {
        self.entry(name, &Kind { mode: REGULAR | mode, links: 1, device: (0, 0) }, content)
    }

    pub(super) fn symlink(&mut self, name: &str, target: &str) -> io::Result<()> {
        self.entry(name, &Kind { mode: SYMLINK | 0o777, links: 1, device: (0, 0) }, target.as_bytes())
    }

    pub(super) fn character_device(&mut self, name: &str, mode: u32, device: (u32, u32)) -> io::Result<()> {
        self.entry(name, &Kind { mode: CHARACTER_DEVICE | mode, links: 1, device }, b"")
    }

    /// Ends the archive.
    pub(super) fn finish(mut self) -> io::Result<W> {
        self.entries = 0;
        self.entry("TRAILER!!!", &Kind { mode: 0, links: 1, device: (0, 0) }, b"")?;
        self.out.flush()?;
        Ok(self.out)
    }

    fn entry(&mut self, name: &str, kind: &Kind, content: &[u8]) -> io::Result<()> {
        let size =
            u32::try_from(content.len()).map_err(|_| io::Error::other(format!("{name} is over 4 GiB")))?;
        let name_size = u32::try_from(name.len() + 1).map_err(io::Error::other)?;
        let (major, minor) = kind.device;
        let inode = self.entries;
        self.entries += 1;
        // ino, mode, uid, gid, nlink, mtime, filesize, devmajor, devminor, rdevmajor, rdevminor, namesize, check
        let fields = [inode, kind.mode, 0, 0, kind.links, 0, size, 0, 0, major, minor, name_size, 0];
        self.put(b"070701")?;
        for field in fields {
            self.put(format!("{field:08x}").as_bytes())?;
        }
        self.put(name.as_bytes())?;
        self.put(b"\0")?;
        self.align()?;
        self.put(content)?;
        self.align()
    }

    fn put(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.written += bytes.len();
        self.out.write_all(bytes)
    }

    /// Header plus name, and content, each end at a multiple of four.
    fn align(&mut self) -> io::Result<()> {
        let padding = self.written.next_multiple_of(4) - self.written;
        self.put(b"\0\0\0".get(..padding).unwrap_or_default())
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]
    use super::*;

    #[test]
    fn an_entry_is_laid_out_as_the_kernel_reads_it() {
        let mut archive = Archive::new(Vec::new());
        archive.file("init", 0o755, b"#!x").unwrap();
        let bytes = archive.finish().unwrap();
        let text = String::from_utf8(bytes).unwrap();
        let header = "070701\
            00000000000081ed0000000000000000000000010000000000000003\
            00000000000000000000000000000000\
            0000000500000000";
        assert!(text.starts_with(header), "{text}");
        // 110 bytes of header, "init\0" to 115, padded to 116; content of 3 bytes padded to 120.
        assert_eq!(&text[110..120], "init\0\0#!x\0");
        assert_eq!(&text[120..126], "070701");
        assert!(text.contains("TRAILER!!!\0"));
        assert_eq!(text.len() % 4, 0);
    }

    #[test]
    fn busybox_can_unpack_it() {
        let Some(busybox) = crate::workspace::find_program("busybox") else { return };
        let mut archive = Archive::new(Vec::new());
        archive.directory("d", 0o755).unwrap();
        archive.file("d/f", 0o644, b"content").unwrap();
        archive.symlink("d/l", "f").unwrap();
        let bytes = archive.finish().unwrap();
        let mut child = std::process::Command::new(busybox)
            .args(["cpio", "-t"])
            .stdin(std::process::Stdio::piped())
            .stdout(std::process::Stdio::piped())
            .stderr(std::process::Stdio::null())
            .spawn()
            .unwrap();
        child.stdin.take().unwrap().write_all(&bytes).unwrap();
        let listed = child.wait_with_output().unwrap();
        assert_eq!(String::from_utf8(listed.stdout).unwrap(), "d\nd/f\nd/l\n");
    }
}
