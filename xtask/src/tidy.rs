//! `cargo xtask tidy`: the rules of the tree that no compiler checks.
//!
//! A table of rules; each looks at all files of the tree (what git knows, and what it would add) and tells every
//! breach with its place. The rules are those of ARCHITECTURE.md and CONTRIBUTING.md.

mod hooks;
mod layers;
mod places;
mod shape;

use std::fs;

use anyhow::{Context, Result, bail};

use crate::command::{capture, command};
use crate::workspace::root;

/// One file of the tree.
pub(crate) struct File {
    /// Relative to the root, with `/`.
    path: String,
    bytes: Vec<u8>,
}

impl File {
    /// Its text; empty for files that are not text.
    fn text(&self) -> &str {
        std::str::from_utf8(&self.bytes).unwrap_or_default()
    }

    fn is_rust(&self) -> bool {
        std::path::Path::new(&self.path).extension().is_some_and(|extension| extension == "rs")
    }
}

/// A rule: its name and the check, which returns breaches as "path:line: what".
struct Rule {
    name: &'static str,
    check: fn(&[File]) -> Vec<String>,
}

const RULES: [Rule; 9] = [
    Rule { name: "modules say what they are for", check: shape::module_docs },
    Rule { name: "no file over 700 lines", check: shape::length },
    Rule { name: "module files are foo.rs beside foo/", check: shape::no_mod_rs },
    Rule { name: "no module of leftovers", check: shape::named_by_noun },
    Rule { name: "names stay in their layer", check: layers::names },
    Rule { name: "unsafe stays in the kernel layer", check: layers::unsafe_code },
    Rule { name: "no path of this machine", check: places::paths },
    Rule { name: "no host of a package source", check: places::hosts },
    Rule { name: "a hook has both sides and a live test", check: hooks::complete },
];

pub(crate) fn run() -> Result<()> {
    let files = files()?;
    let mut breaches = 0;
    for rule in RULES {
        let found = (rule.check)(&files);
        println!("tidy: {:<40} {}", rule.name, if found.is_empty() { "ok" } else { "BROKEN" });
        for breach in &found {
            println!("  {breach}");
        }
        breaches += found.len();
    }
    if breaches > 0 {
        bail!("{breaches} breaches of the tree's rules");
    }
    Ok(())
}

/// All files that are, or would be, part of the tree.
fn files() -> Result<Vec<File>> {
    let listed =
        capture(command("git").args(["ls-files", "-z", "--cached", "--others", "--exclude-standard"]))
            .context("failed to list the tree's files (is this a git work tree?)")?;
    let mut files = Vec::new();
    for path in listed.split('\0').filter(|path| !path.is_empty()) {
        // Links and files deleted but not yet committed have no content to judge.
        let full = root().join(path);
        if full.is_file() {
            let bytes = fs::read(&full).with_context(|| format!("failed to read {path}"))?;
            files.push(File { path: path.to_owned(), bytes });
        }
    }
    Ok(files)
}

#[cfg(test)]
fn file(path: &str, text: &str) -> File {
    File { path: path.to_owned(), bytes: text.as_bytes().to_vec() }
}
