//! How the eBPF object is built: one recipe, shared as a file by `goaudit-user/build.rs` and `xtask`.
//!
//! Only the standard library is used, because a build script includes this file. The bytes depend on the
//! sources, `Cargo.lock` and the compiler, never on where the tree lies: paths are remapped, the flags of the
//! outer build do not leak in, and release settings are stated here.

use std::collections::BTreeSet;
use std::env;
use std::ffi::OsString;
use std::fmt::Write as _;
use std::fs;
use std::hash::{DefaultHasher, Hasher as _};
use std::path::{Path, PathBuf};
use std::process::Command;

/// Architectures whose object is kept in the tree.
pub const ARCHITECTURES: [&str; 2] = ["x86_64", "aarch64"];

/// Where the kept object of an architecture lies.
pub fn kept_object(workspace: &Path, arch: &str) -> PathBuf {
    workspace.join("goaudit-ebpf/object").join(format!("{arch}.bpf.o"))
}

/// Where it is noted what the kept objects were made of.
pub fn kept_sources(workspace: &Path) -> PathBuf {
    workspace.join("goaudit-ebpf/object/sources")
}

/// Whether the kept objects were made of the sources and dependencies that the tree has now.
pub fn kept_is_current(workspace: &Path) -> bool {
    let kept = fs::read_to_string(kept_sources(workspace));
    kept.is_ok_and(|kept| sources(workspace).as_ref() == Ok(&kept))
}

/// What an object is made of, a line each: files with a hash, and dependencies as `Cargo.lock` has them. The hash is no
/// proof against anybody: who can change a source can change the object too. `build-ebpf --check` compares bytes.
pub fn sources(workspace: &Path) -> Result<String, String> {
    let mut files = BTreeSet::new();
    for part in ["src", "Cargo.toml", "build_object.rs"] {
        files_below(&workspace.join("goaudit-ebpf").join(part), &mut files)?;
    }
    let mut told = String::new();
    for file in files {
        let mut hasher = DefaultHasher::new();
        hasher.write(&fs::read(&file).map_err(|error| format!("{}: {error}", file.display()))?);
        let name = file.strip_prefix(workspace).unwrap_or(&file).display();
        writeln!(told, "{:016x} {name}", hasher.finish()).map_err(|error| error.to_string())?;
    }
    let lock = workspace.join("Cargo.lock");
    let lock = fs::read_to_string(&lock).map_err(|error| format!("{}: {error}", lock.display()))?;
    for package in locked(&lock, "goaudit-ebpf") {
        writeln!(told, "{package}").map_err(|error| error.to_string())?;
    }
    Ok(told)
}

/// `path`, or everything below it.
fn files_below(path: &Path, files: &mut BTreeSet<PathBuf>) -> Result<(), String> {
    let told = |error| format!("{}: {error}", path.display());
    if path.is_file() {
        files.insert(path.to_path_buf());
        return Ok(());
    }
    for entry in fs::read_dir(path).map_err(told)? {
        files_below(&entry.map_err(told)?.path(), files)?;
    }
    Ok(())
}

/// Everything that `root` depends on, as name, version and checksum.
pub fn locked(lock: &str, root: &str) -> BTreeSet<String> {
    let value = |line: &str, key: &str| {
        line.strip_prefix(key)?.strip_prefix(" = ").map(|value| value.trim_matches('"').to_owned())
    };
    let packages: Vec<&str> = lock.split("[[package]]").skip(1).collect();
    let mut told = BTreeSet::new();
    let mut wanted = vec![root.to_owned()];
    while let Some(dependency) = wanted.pop() {
        // The version is there where several are locked.
        let (name, version) = dependency.split_once(' ').unwrap_or((&dependency, ""));
        for package in &packages {
            let of = |key| package.lines().find_map(|line| value(line, key)).unwrap_or_default();
            if of("name") == name
                && (version.is_empty() || of("version") == version)
                && told.insert(format!("{name} {} {}", of("version"), of("checksum")).trim_end().to_owned())
            {
                let list = package.split_once("dependencies = [").map_or("", |(_, list)| list);
                wanted.extend(list.split('"').skip(1).step_by(2).map(str::to_owned));
            }
        }
    }
    told
}

/// The compiler that the outer build uses.
fn rustc() -> OsString {
    env::var_os("RUSTC").unwrap_or_else(|| "rustc".into())
}

/// `library` folder of the compiler's own sources, needed to build `core` for the BPF target.
fn library_sources() -> Result<PathBuf, String> {
    let output = Command::new(rustc())
        .args(["--print", "sysroot"])
        .output()
        .map_err(|error| format!("rustc does not run: {error}"))?;
    let sysroot = String::from_utf8(output.stdout).map_err(|error| format!("sysroot: {error}"))?;
    Ok(PathBuf::from(sysroot.trim()).join("lib/rustlib/src/rust/library"))
}

/// Whether this machine can build the object; if not, what it lacks and how to get it.
pub fn toolchain() -> Result<(), String> {
    let library = library_sources()?;
    if !library.join("Cargo.lock").exists() {
        return Err(format!(
            "the compiler's sources are not in {} (`rustup component add rust-src`, or `cargo xtask setup`)",
            library.display()
        ));
    }
    match Command::new("bpf-linker").arg("--version").output() {
        Ok(output) if output.status.success() => Ok(()),
        Ok(output) => Err(format!("bpf-linker does not run: {}", String::from_utf8_lossy(&output.stderr))),
        Err(_) => Err("bpf-linker is not on PATH (`cargo install bpf-linker --locked`, or \
                       `cargo xtask setup`)"
            .into()),
    }
}

/// Builds the object of `arch` below `target_dir` and says where it is.
pub fn build_object(
    workspace: &Path,
    target_dir: &Path,
    arch: &str,
    kernel_log: bool,
) -> Result<PathBuf, String> {
    let library = library_sources()?;
    let cargo_home = env::var_os("CARGO_HOME")
        .map_or_else(|| PathBuf::from(env::var_os("HOME").unwrap_or_default()).join(".cargo"), PathBuf::from);
    let mut flags: Vec<OsString> = vec![
        format!("--cfg=bpf_target_arch=\"{arch}\"").into(),
        "-Cdebuginfo=2".into(),
        "-Clink-arg=--btf".into(),
    ];
    // Longest prefixes last: the last match wins.
    for (from, to) in [
        (cargo_home.clone(), "cargo"),
        (library.clone(), "library"),
        (target_dir.to_path_buf(), "target"),
        (workspace.to_path_buf(), "goaudit"),
    ] {
        let from = from.canonicalize().unwrap_or(from);
        let mut flag = OsString::from("--remap-path-prefix=");
        flag.push(from);
        flag.push("=");
        flag.push(to);
        flags.push(flag);
    }
    let mut encoded = OsString::new();
    for (position, flag) in flags.iter().enumerate() {
        if position > 0 {
            encoded.push("\x1f");
        }
        encoded.push(flag);
    }

    let cargo = env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(cargo);
    command
        .current_dir(workspace)
        .args(["build", "--package", "goaudit-ebpf", "--bin", "goaudit-ebpf", "--release", "--quiet"])
        .args(["--target", "bpfel-unknown-none", "-Z", "build-std=core", "--target-dir"])
        .arg(target_dir);
    if kernel_log {
        command.args(["--features", "kernel-log"]);
    }
    // Nothing of the outer build may change the bytes.
    for (name, _) in env::vars_os() {
        let name_text = name.to_string_lossy();
        let leaks = ["CARGO_PROFILE_", "CARGO_BUILD_", "CARGO_TARGET_", "CARGO_FEATURE_", "CARGO_CFG_"]
            .iter()
            .any(|prefix| name_text.starts_with(prefix));
        let leaks = leaks
            || [
                "RUSTFLAGS",
                "CARGO_ENCODED_RUSTFLAGS",
                "RUSTC_WRAPPER",
                "RUSTC_WORKSPACE_WRAPPER",
                "CARGO_INCREMENTAL",
            ]
            .contains(&&*name_text);
        if leaks {
            command.env_remove(&name);
        }
    }
    // bpf-linker looks for the compiler's own libLLVM there. rustup's proxies set this, a bare cargo does not.
    if let Some(libraries) = library.ancestors().nth(4) {
        let mut path = libraries.as_os_str().to_owned();
        if let Some(rest) = env::var_os("LD_LIBRARY_PATH") {
            path.push(":");
            path.push(rest);
        }
        command.env("LD_LIBRARY_PATH", path);
    }
    command
        .env("RUSTC_BOOTSTRAP", "1")
        .env("CARGO_ENCODED_RUSTFLAGS", encoded)
        .env("CARGO_PROFILE_RELEASE_DEBUG", "2")
        .env("CARGO_PROFILE_RELEASE_STRIP", "none")
        .env("CARGO_PROFILE_RELEASE_LTO", "off")
        .env("CARGO_PROFILE_RELEASE_OPT_LEVEL", "3")
        .env("CARGO_PROFILE_RELEASE_PANIC", "abort")
        .env("CARGO_PROFILE_RELEASE_CODEGEN_UNITS", "1");
    let output = command.output().map_err(|error| format!("cargo does not run: {error}"))?;
    if !output.status.success() {
        return Err(format!("the eBPF build failed:\n{}", String::from_utf8_lossy(&output.stderr)));
    }
    let linked = target_dir.join("bpfel-unknown-none/release/goaudit-ebpf");
    let bytes =
        fs::read(&linked).map_err(|error| format!("the eBPF build made no {}: {error}", linked.display()))?;
    let bytes = without_debug_sections(&bytes)
        .ok_or_else(|| format!("the eBPF build made something else than ELF64: {}", linked.display()))?;
    let object = target_dir.join(format!("{arch}.bpf.o"));
    fs::write(&object, bytes).map_err(|error| format!("{}: {error}", object.display()))?;
    Ok(object)
}

/// The object without DWARF, which is four fifths of it and which nobody reads: BTF, made from it, stays.
/// Sections keep their numbers; the removed ones become empty.
fn without_debug_sections(object: &[u8]) -> Option<Vec<u8>> {
    const HEADER: usize = 64;
    const NULL: u64 = 0;
    const NO_BITS: u64 = 8;
    let number = |bytes: &[u8], at: usize, len: usize| -> Option<u64> {
        let mut number = [0; 8];
        number.get_mut(..len)?.copy_from_slice(bytes.get(at..at + len)?);
        Some(u64::from_le_bytes(number))
    };
    if object.get(..6)? != b"\x7fELF\x02\x01" {
        return None;
    }
    let table = usize::try_from(number(object, 0x28, 8)?).ok()?;
    let count = usize::try_from(number(object, 0x3c, 2)?).ok()?;
    let names_index = usize::try_from(number(object, 0x3e, 2)?).ok()?;
    let mut sections = Vec::new();
    for index in 0..count {
        sections.push(object.get(table + index * HEADER..table + (index + 1) * HEADER)?.to_vec());
    }
    let names_at = usize::try_from(number(sections.get(names_index)?, 0x18, 8)?).ok()?;

    let mut stripped = object.get(..HEADER)?.to_vec();
    for section in &mut sections {
        let name_at = names_at + usize::try_from(number(section, 0, 4)?).ok()?;
        let name = object.get(name_at..)?.split(|byte| *byte == 0).next()?;
        let kind = number(section, 4, 4)?;
        if name.starts_with(b".debug") || name.starts_with(b".rel.debug") {
            section.fill(0);
        } else if kind != NULL && kind != NO_BITS {
            let start = usize::try_from(number(section, 0x18, 8)?).ok()?;
            let len = usize::try_from(number(section, 0x20, 8)?).ok()?;
            stripped.resize(stripped.len().next_multiple_of(8), 0);
            let moved = (stripped.len() as u64).to_le_bytes();
            section.get_mut(0x18..0x20)?.copy_from_slice(&moved);
            stripped.extend_from_slice(object.get(start..start.checked_add(len)?)?);
        }
    }
    stripped.resize(stripped.len().next_multiple_of(8), 0);
    let table = (stripped.len() as u64).to_le_bytes();
    stripped.get_mut(0x28..0x30)?.copy_from_slice(&table);
    for section in &sections {
        stripped.extend_from_slice(section);
    }
    Some(stripped)
}
