//! Rules against traces of the machine that a change was made on, in text and in binary files alike.
//!
//! What to look for is read from the machine itself, so that no such name stands here either.

use std::env;
use std::fs;
use std::path::Path;

use super::File;
use crate::workspace::root;

/// Shorter paths ("/", "/root") occur for good reasons.
const SHORTEST: usize = 8;

/// Variables that name where packages come from.
const SOURCE_VARIABLES: [&str; 4] = ["GOPROXY", "PIP_INDEX_URL", "npm_config_registry", "RUSTUP_DIST_SERVER"];

/// Hosts that are meant as such: code lives there, and cargo's lock file names it in every entry.
const MEANT: [&str; 1] = ["github.com"];

pub(super) fn paths(files: &[File]) -> Vec<String> {
    let tree = root();
    let variables = ["HOME", "CARGO_HOME", "RUSTUP_HOME", "CARGO_TARGET_DIR"]
        .map(|name| env::var(name).unwrap_or_default());
    let needles: Vec<String> = std::iter::once(tree.to_string_lossy().into_owned())
        .chain(variables)
        .filter(|path| path.len() >= SHORTEST && path.starts_with('/'))
        .collect();
    occurrences(files, &needles)
}

pub(super) fn hosts(files: &[File]) -> Vec<String> {
    let mut texts: Vec<String> = SOURCE_VARIABLES.iter().filter_map(|name| env::var(name).ok()).collect();
    texts.extend(texts_in(Path::new("/etc/apt/sources.list.d")));
    texts.extend(fs::read_to_string("/etc/apt/sources.list"));
    let mut hosts: Vec<String> = texts.iter().flat_map(|text| hosts_in(text)).collect();
    hosts.sort();
    hosts.dedup();
    occurrences(files, &hosts)
}

fn texts_in(dir: &Path) -> Vec<String> {
    let entries = fs::read_dir(dir).into_iter().flatten();
    entries.filter_map(|entry| fs::read_to_string(entry.ok()?.path()).ok()).collect()
}

/// The host of every address in a text.
fn hosts_in(text: &str) -> Vec<String> {
    text.split("://")
        .skip(1)
        .filter_map(|rest| rest.split(['/', ' ', '\n', ',', '"', '\'']).next())
        .filter_map(|authority| authority.rsplit('@').next()?.split(':').next())
        .filter(|host| host.contains('.') && !MEANT.contains(host))
        .map(str::to_owned)
        .collect()
}

fn occurrences(files: &[File], needles: &[String]) -> Vec<String> {
    let mut breaches = Vec::new();
    for file in files {
        for needle in needles {
            let found = file.bytes.windows(needle.len()).position(|window| window == needle.as_bytes());
            if let Some(at) = found {
                let line = file.bytes.iter().take(at).filter(|byte| **byte == b'\n').count() + 1;
                breaches.push(format!("{}:{line}: names {needle}", file.path));
            }
        }
    }
    breaches
}

#[cfg(test)]
mod tests {
    use super::super::file;
    use super::*;

    #[test]
    fn hosts_are_read_from_addresses() {
        let text = "deb http://one.invalid/debian x main\nURIs: https://user:pw@two.invalid:8080/y\nhttps://github.com/a";
        assert_eq!(hosts_in(text), ["one.invalid", "two.invalid"]);
    }

    #[test]
    fn a_trace_is_found_in_a_binary_file() {
        let files = [File { path: "x.o".to_owned(), bytes: b"\x7fELF\0\n/some/where/else\0\xff".to_vec() }];
        assert_eq!(occurrences(&files, &["/some/where".to_owned()]), ["x.o:2: names /some/where"]);
        assert!(occurrences(&[file("a", "b")], &["/some/where".to_owned()]).is_empty());
    }
}
