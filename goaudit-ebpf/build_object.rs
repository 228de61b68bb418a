//! How the eBPF object is built: one recipe, shared as a file by `goaudit-user/build.rs` and `xtask`.
//!
//! Only the standard library is used, because a build script includes this file. The bytes depend on the
//! sources, `Cargo.lock` and the compiler, never on where the tree lies: paths are remapped, the flags of the
//! outer build do not leak in, and release settings are stated here.

use std::env;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Architectures whose object is kept in the tree.
pub const ARCHITECTURES: [&str; 2] = ["x86_64", "aarch64"];

/// Where the kept object of an architecture lies.
pub fn kept_object(workspace: &Path, arch: &str) -> PathBuf {
    workspace.join("goaudit-ebpf/object").join(format!("{arch}.bpf.o"))
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
    let object = target_dir.join("bpfel-unknown-none/release/goaudit-ebpf");
    if object.exists() { Ok(object) } else { Err(format!("the eBPF build made no {}", object.display())) }
}
