//! Embeds the eBPF object: the one kept in the tree if it was made of the sources that the tree has; else it is built
//! here when the BPF toolchain is there.
//!
//! `GOAUDIT_EBPF=build` builds always and makes a failed build an error, `GOAUDIT_EBPF=kept` never builds.

use std::env;
use std::error::Error;
use std::fs;
use std::path::{Path, PathBuf};

#[path = "../goaudit-ebpf/build_object.rs"]
#[expect(dead_code, unreachable_pub, reason = "one file for build.rs and xtask; each uses a part")]
mod build_object;

fn main() -> Result<(), Box<dyn Error>> {
    let out = PathBuf::from(env::var("OUT_DIR")?);
    let manifest = PathBuf::from(env::var("CARGO_MANIFEST_DIR")?);
    let workspace = manifest.parent().ok_or("no workspace around this package")?;
    let arch = env::var("CARGO_CFG_TARGET_ARCH")?;
    let kernel_log = env::var_os("CARGO_FEATURE_KERNEL_LOG").is_some();

    for changed in
        ["goaudit-ebpf/src", "goaudit-ebpf/Cargo.toml", "goaudit-ebpf/build_object.rs", "Cargo.lock"]
    {
        println!("cargo:rerun-if-changed={}", workspace.join(changed).display());
    }
    println!("cargo:rerun-if-env-changed=GOAUDIT_EBPF");
    println!("cargo:rerun-if-env-changed=PATH");

    let kept = build_object::kept_object(workspace, &arch);
    println!("cargo:rerun-if-changed={}", kept.display());
    println!("cargo:rerun-if-changed={}", build_object::kept_sources(workspace).display());
    let wish = env::var("GOAUDIT_EBPF").unwrap_or_default();
    let built = match wish.as_str() {
        "kept" => Err("GOAUDIT_EBPF=kept".to_owned()),
        "" if !kernel_log && kept.exists() && build_object::kept_is_current(workspace) => {
            Err("the kept object is current".to_owned())
        }
        "" | "build" => build_object::toolchain()
            .and_then(|()| build_object::build_object(workspace, &out.join("bpf"), &arch, kernel_log)),
        other => return Err(format!("GOAUDIT_EBPF={other}: `kept`, `build` or nothing").into()),
    };
    let (object, origin) = match built {
        Ok(built) => (built, "built"),
        Err(reason) if wish == "build" => return Err(reason.into()),
        Err(reason) => {
            // No toolchain is the usual case of a user and needs no words; a broken one does.
            if reason.starts_with("the eBPF build") {
                for line in reason.lines() {
                    println!("cargo:warning={line}");
                }
                println!("cargo:warning=the kept eBPF object is embedded instead");
            }
            if kernel_log {
                println!("cargo:warning=the kept eBPF object has no kernel-log diagnostics");
            }
            (kept, "kept")
        }
    };
    embed(&object, &out.join("goaudit.bpf.o"))?;
    println!("cargo:rustc-env=GOAUDIT_EBPF_ORIGIN={origin}");
    Ok(())
}

/// Copies the object to where `include_bytes!` finds it.
fn embed(object: &Path, to: &Path) -> Result<(), Box<dyn Error>> {
    let bytes = fs::read(object).map_err(|error| {
        format!(
            "no eBPF object for this architecture: {}: {error} (install bpf-linker and rust-src, or \
             `cargo xtask build-ebpf`)",
            object.display()
        )
    })?;
    fs::write(to, bytes)?;
    Ok(())
}
