//! The lab's kernels: distribution kernels, because those are what goaudit will meet.
//!
//! Package names carry ABI numbers that move with every security update, so the newest that fits a pattern is
//! taken and its name kept beside the image.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use super::archive::Suite;
use crate::workspace::cache;

/// One kernel version of the lab.
pub(crate) struct Kernel {
    /// Its major and minor number, as in "6.1".
    pub(crate) version: &'static str,
    /// The Debian suite that carries it.
    suite: &'static str,
    /// The package's name up to the part that moves.
    prefix: &'static str,
}

/// The supported kernels, oldest first: 5.10 is the oldest promised, the last is the newest to be had.
pub(crate) static KERNELS: [Kernel; 5] = [
    Kernel { version: "5.10", suite: "bullseye", prefix: "linux-image-5.10." },
    Kernel { version: "6.1", suite: "bookworm", prefix: "linux-image-6.1." },
    Kernel { version: "6.12", suite: "trixie", prefix: "linux-image-6.12." },
    Kernel { version: "6.18", suite: "trixie-backports", prefix: "linux-image-6.18." },
    // From 7 on Debian puts the image into a package of this name.
    Kernel { version: "7.3", suite: "trixie-backports", prefix: "linux-binary-7.3." },
];

/// The smallest image that has everything the tests look at: virtual hardware only, BTF, BPF LSM.
const SUFFIX: &str = "-cloud-amd64";

/// The lab kernel of this version.
pub(crate) fn kernel(version: &str) -> Option<&'static Kernel> {
    KERNELS.iter().find(|kernel| kernel.version == version)
}

impl Kernel {
    fn dir(&self) -> PathBuf {
        cache().join("kernels").join(self.version)
    }

    /// The bootable image, once installed.
    pub(crate) fn image(&self) -> PathBuf {
        self.dir().join("vmlinuz")
    }

    pub(super) fn present(&self) -> Option<String> {
        let package = fs::read_to_string(self.dir().join("package")).ok()?;
        self.image().is_file().then(|| package.trim().to_owned())
    }

    pub(super) fn install(&self) -> Result<()> {
        let suite = Suite::open(self.suite)?;
        let package = newest(suite.names(self.prefix)?)
            .with_context(|| format!("{} carries no package {}*{SUFFIX}", self.suite, self.prefix))?;
        if self.present().as_deref() == Some(package.as_str()) {
            return Ok(());
        }
        let unpacked = suite.unpack(&package)?;
        let placed = self.place(&unpacked, &package);
        Suite::discard(&unpacked);
        placed
    }

    fn place(&self, unpacked: &Path, package: &str) -> Result<()> {
        let image = find_image(unpacked).with_context(|| format!("{package} holds no vmlinuz"))?;
        let dir = self.dir();
        fs::create_dir_all(&dir).with_context(|| format!("failed to create {}", dir.display()))?;
        // The package file is what `present` asks for, so it comes last.
        fs::remove_file(dir.join("package")).ok();
        fs::copy(&image, self.image()).with_context(|| format!("failed to copy {}", image.display()))?;
        fs::write(dir.join("package"), package)?;
        Ok(())
    }
}

/// `boot/vmlinuz-VERSION`, or since 7 `usr/lib/modules/VERSION/vmlinuz`.
fn find_image(unpacked: &Path) -> Option<PathBuf> {
    let in_boot = fs::read_dir(unpacked.join("boot")).ok().and_then(|entries| {
        entries
            .filter_map(|entry| Some(entry.ok()?.path()))
            .find(|path| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("vmlinuz")))
    });
    in_boot.or_else(|| {
        ["usr/lib/modules", "lib/modules"].iter().find_map(|modules| {
            let entries = fs::read_dir(unpacked.join(modules)).ok()?;
            entries.filter_map(|entry| Some(entry.ok()?.path().join("vmlinuz"))).find(|path| path.is_file())
        })
    })
}

/// The newest of the packages that end as ours do: numbers in names compare as numbers.
fn newest(names: Vec<String>) -> Option<String> {
    names.into_iter().filter(|name| name.ends_with(SUFFIX)).max_by_key(|name| numbers(name))
}

fn numbers(name: &str) -> Vec<u64> {
    name.split(|letter: char| !letter.is_ascii_digit()).filter_map(|digits| digits.parse().ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_package_is_the_one_with_the_highest_numbers() {
        let names = [
            "linux-image-6.1.0-9-cloud-amd64",
            "linux-image-6.1.0-41-cloud-amd64",
            "linux-image-6.1.0-43-amd64",
        ];
        let found = newest(names.iter().map(|name| (*name).to_owned()).collect());
        assert_eq!(found.as_deref(), Some("linux-image-6.1.0-41-cloud-amd64"));
        assert_eq!(newest(Vec::new()), None);
    }

    #[test]
    fn every_kernel_is_found_by_its_version() {
        for listed in &KERNELS {
            assert!(kernel(listed.version).is_some_and(|found| std::ptr::eq(found, listed)));
            assert!(listed.prefix.contains(listed.version));
        }
        assert!(kernel("4.19").is_none());
    }
}
