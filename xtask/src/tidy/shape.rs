//! Rules on the shape of single files.

use super::File;

/// Most good files of this field are 60 to 300 lines; beyond this one they hold two ideas.
const LONGEST: usize = 700;

/// Names that say nothing about what is inside.
const LEFTOVERS: [&str; 6] = ["utils", "util", "common", "helpers", "misc", "types"];

pub(super) fn module_docs(files: &[File]) -> Vec<String> {
    rust(files)
        .filter(|file| {
            let first = file.text().lines().find(|line| !line.trim().is_empty());
            !first.is_some_and(|line| line.starts_with("//!"))
        })
        .map(|file| format!("{}:1: does not begin with //!", file.path))
        .collect()
}

pub(super) fn length(files: &[File]) -> Vec<String> {
    rust(files)
        .map(|file| (file, file.text().lines().count()))
        .filter(|(_, lines)| *lines > LONGEST)
        .map(|(file, lines)| format!("{}: {lines} lines", file.path))
        .collect()
}

pub(super) fn no_mod_rs(files: &[File]) -> Vec<String> {
    rust(files).filter(|file| file.path.ends_with("/mod.rs")).map(|file| file.path.clone()).collect()
}

pub(super) fn named_by_noun(files: &[File]) -> Vec<String> {
    rust(files)
        .filter(|file| {
            let stem = file.path.rsplit('/').next().and_then(|name| name.strip_suffix(".rs"));
            stem.is_some_and(|stem| LEFTOVERS.contains(&stem))
        })
        .map(|file| format!("{}: name it after what it holds", file.path))
        .collect()
}

fn rust(files: &[File]) -> impl Iterator<Item = &File> {
    files.iter().filter(|file| file.is_rust())
}

#[cfg(test)]
mod tests {
    use super::super::file;
    use super::*;

    #[test]
    fn a_module_without_docs_is_found() {
        let files = [file("a.rs", "//! Good.\n"), file("b.rs", "\nfn main() {}\n"), file("c.md", "text")];
        assert_eq!(module_docs(&files), ["b.rs:1: does not begin with //!"]);
    }

    #[test]
    fn long_files_and_empty_names_are_found() {
        let long = "//\n".repeat(LONGEST + 1);
        let files = [file("a/mod.rs", ""), file("a/utils.rs", &long), file("a/long.txt", &long)];
        assert_eq!(length(&files).len(), 1);
        assert_eq!(no_mod_rs(&files), ["a/mod.rs"]);
        assert_eq!(named_by_noun(&files).len(), 1);
    }
}
