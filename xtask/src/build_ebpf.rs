//! `cargo xtask build-ebpf`: the eBPF object that users without a BPF toolchain get embedded.
//!
//! The recipe itself is shared with goaudit-user's build script, as a file. Its bytes depend on the sources, the
//! lock file, the compiler and bpf-linker only, so "is the kept object current" is a comparison of bytes. What it was made
//! of is noted beside it, so that other builds need not make it to know.

use std::fs;
use std::path::PathBuf;

use anyhow::{Context, Result, anyhow, bail};

use crate::setup::{self, Group};
use crate::workspace::{root, target};

#[path = "../../goaudit-ebpf/build_object.rs"]
#[expect(unreachable_pub, reason = "the file is shared with a build script")]
mod build_object;

/// Build the eBPF object and keep it in the tree, or check that the kept one is current.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Build into a temporary place and compare; fails when the kept object is stale.
    #[arg(long)]
    check: bool,
    /// Only this architecture; without it all that are kept.
    #[arg(long, value_parser = build_object::ARCHITECTURES)]
    arch: Option<String>,
}

pub(crate) fn run(args: &Args) -> Result<()> {
    setup::ensure(Group::Ebpf)?;
    let stale: Vec<&str> = build_object::ARCHITECTURES
        .into_iter()
        .filter(|arch| args.arch.as_deref().is_none_or(|wanted| wanted == *arch))
        .map(|arch| Ok((arch, is_stale(arch, !args.check)?)))
        .collect::<Result<Vec<_>>>()?
        .into_iter()
        .filter_map(|(arch, stale)| stale.then_some(arch))
        .collect();
    if args.check && !stale.is_empty() {
        bail!("the kept eBPF object of {} is stale; run: cargo xtask build-ebpf", stale.join(" and "));
    }
    if args.check && !build_object::kept_is_current(&root()) {
        bail!(
            "the kept eBPF objects are current, but {} is not; run: cargo xtask build-ebpf",
            build_object::kept_sources(&root()).display()
        );
    }
    // A note about one object alone would be wrong about the others.
    if !args.check && args.arch.is_none() {
        let sources = build_object::sources(&root()).map_err(|why| anyhow!(why))?;
        let note = build_object::kept_sources(&root());
        fs::write(&note, sources).with_context(|| format!("failed to write {}", note.display()))?;
    }
    Ok(())
}

/// For `cargo xtask test`: fails when a kept object is stale. The BPF toolchain must be there.
pub(crate) fn check() -> Result<()> {
    run(&Args { check: true, arch: None })
}

/// Builds the object of one architecture; true when the kept one differs. With `keep` it is replaced.
fn is_stale(arch: &str, keep: bool) -> Result<bool> {
    let built = build(arch)?;
    let fresh = fs::read(&built).with_context(|| format!("failed to read {}", built.display()))?;
    let kept = build_object::kept_object(&root(), arch);
    let stale = fs::read(&kept).ok().as_deref() != Some(&fresh[..]);
    if !stale {
        println!("eBPF object {arch}: current ({} bytes)", fresh.len());
    } else if keep {
        if let Some(dir) = kept.parent() {
            fs::create_dir_all(dir).with_context(|| format!("failed to create {}", dir.display()))?;
        }
        fs::write(&kept, &fresh).with_context(|| format!("failed to write {}", kept.display()))?;
        println!("eBPF object {arch}: renewed ({} bytes)", fresh.len());
    } else {
        println!("eBPF object {arch}: STALE");
    }
    Ok(stale)
}

fn build(arch: &str) -> Result<PathBuf> {
    build_object::toolchain().map_err(|why| anyhow!(why))?;
    // One directory per architecture: they differ by a cfg only, and would rebuild `core` at each turn.
    let dir = target().join("ebpf").join(arch);
    eprintln!("building the eBPF object for {arch} in {}", dir.display());
    build_object::build_object(&root(), &dir, arch, false).map_err(|why| anyhow!(why))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As `Cargo.lock` has them.
    const LOCK: &str = r#"
version = 4

[[package]]
name = "one"
version = "0.1.0"
dependencies = [
 "other",
 "two 2.0.0",
]

[[package]]
name = "other"
version = "0.3.0"
source = "registry"
checksum = "33"

[[package]]
name = "stranger"
version = "0.1.0"
checksum = "99"
dependencies = [
 "two 1.0.0",
]

[[package]]
name = "two"
version = "1.0.0"
checksum = "11"

[[package]]
name = "two"
version = "2.0.0"
checksum = "22"
dependencies = [
 "other",
]
"#;

    #[test]
    fn all_that_is_depended_on_and_nothing_else() {
        let locked: Vec<String> = build_object::locked(LOCK, "one").into_iter().collect();
        assert_eq!(locked, ["one 0.1.0", "other 0.3.0 33", "two 2.0.0 22"]);
    }

    #[test]
    fn a_changed_source_is_not_what_the_object_was_made_of() {
        let tree = std::env::temp_dir().join(format!("goaudit-test-sources-{}", std::process::id()));
        let write = |name: &str, text: &str| {
            let path = tree.join(name);
            fs::create_dir_all(path.parent().unwrap_or(&tree)).and_then(|()| fs::write(path, text)).ok();
        };
        for name in ["goaudit-ebpf/src/main.rs", "goaudit-ebpf/Cargo.toml", "goaudit-ebpf/build_object.rs"] {
            write(name, "");
        }
        write("Cargo.lock", LOCK);
        assert!(!build_object::kept_is_current(&tree), "there is no note");
        let sources = build_object::sources(&tree).unwrap_or_default();
        write("goaudit-ebpf/object/sources", &sources);
        assert!(build_object::kept_is_current(&tree), "{sources}");
        write("goaudit-ebpf/src/kernel/read.rs", "");
        assert!(!build_object::kept_is_current(&tree), "a new file");
        fs::remove_file(tree.join("goaudit-ebpf/src/kernel/read.rs")).ok();
        write("goaudit-ebpf/src/main.rs", "fn main() {}");
        assert!(!build_object::kept_is_current(&tree), "a changed file");
        fs::remove_dir_all(&tree).ok();
    }
}
