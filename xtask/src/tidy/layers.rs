//! Rules on which layer may name what: the architecture's first invariant.

use super::File;

/// A name and the places that may use it.
struct Layer {
    /// Words that mean a use of it, found at the start of a word.
    words: &'static [&'static str],
    /// Prefixes of paths.
    allowed: &'static [&'static str],
    why: &'static str,
}

const LAYERS: [Layer; 4] = [
    Layer {
        words: &["aya::", "aya_log::", "use aya;"],
        allowed: &["goaudit-user/src/kernel", "goaudit-ebpf/"],
        why: "only the kernel layer names aya",
    },
    Layer {
        words: &["clap::", "clap_complete::", "clap_mangen::"],
        allowed: &["goaudit-user/src/cli", "goaudit-user/src/main.rs", "xtask/"],
        why: "only the command line names clap",
    },
    Layer {
        words: &["println!", "print!", "eprintln!", "eprint!", "dbg!"],
        allowed: &[
            "goaudit-user/src/cli",
            "goaudit-user/build.rs",
            "goaudit-user/examples/",
            "xtask/",
            "tests/",
        ],
        why: "only the command line prints",
    },
    Layer {
        words: &["anyhow::", "anyhow!"],
        allowed: &["goaudit-user/src/cli", "goaudit-user/src/main.rs", "xtask/", "tests/"],
        why: "libraries have typed errors",
    },
];

/// Where unsafe code may stand.
const UNSAFE_ALLOWED: [&str; 4] = [
    "goaudit-ebpf/",
    "goaudit-user/src/kernel",
    // Raw system calls, with arguments that no safe wrapper lets through.
    "tests/src/hardcase/call.rs",
    "tests/tests/live_kernel.rs",
];

pub(super) fn names(files: &[File]) -> Vec<String> {
    let mut breaches = Vec::new();
    for file in files.iter().filter(|file| file.is_rust() && !is_test(&file.path)) {
        for layer in LAYERS.iter().filter(|layer| !starts_with_any(&file.path, layer.allowed)) {
            for (number, line) in code_lines(without_tests(file.text())) {
                if layer.words.iter().any(|word| has_word(line, word)) {
                    breaches.push(format!("{}:{number}: {}", file.path, layer.why));
                }
            }
        }
    }
    breaches
}

pub(super) fn unsafe_code(files: &[File]) -> Vec<String> {
    let mut breaches = Vec::new();
    for file in files.iter().filter(|file| file.is_rust() && !starts_with_any(&file.path, &UNSAFE_ALLOWED)) {
        for (number, line) in code_lines(file.text()) {
            if ["unsafe {", "unsafe fn", "unsafe impl", "unsafe extern"]
                .iter()
                .any(|word| has_word(line, word))
            {
                breaches.push(format!("{}:{number}: unsafe code", file.path));
            }
        }
    }
    breaches
}

fn starts_with_any(path: &str, prefixes: &[&str]) -> bool {
    prefixes.iter().any(|prefix| path.starts_with(prefix))
}

/// Tests may name and print what they like.
fn is_test(path: &str) -> bool {
    path.contains("/tests/") || path.ends_with("/tests.rs")
}

/// The part of a file before its tests, which stand at its end.
fn without_tests(text: &str) -> &str {
    text.split("\n#[cfg(test)]\nmod tests {").next().unwrap_or(text)
}

/// Lines without their comments and without what stands in quotes on one line, numbered from 1.
fn code_lines(text: &str) -> impl Iterator<Item = (usize, &str)> {
    text.lines().enumerate().map(|(index, line)| {
        let code = line.find("//").map_or(line, |at| &line[..at]);
        // Good enough for names: a rule about code must not trip over a message.
        (index + 1, code.find('"').map_or(code, |at| &code[..at]))
    })
}

/// Whether `word` occurs where a word begins.
fn has_word(line: &str, word: &str) -> bool {
    line.match_indices(word).any(|(at, _)| {
        let before = line[..at].chars().next_back();
        !before.is_some_and(|letter| letter.is_alphanumeric() || letter == '_')
    })
}

#[cfg(test)]
mod tests {
    use super::super::file;
    use super::*;

    #[test]
    fn a_name_outside_its_layer_is_found() {
        let files = [
            file("goaudit-user/src/kernel/load.rs", "use aya::Ebpf;\n"),
            file("goaudit-user/src/decode.rs", "//! aya::Ebpf is elsewhere.\nuse aya::Ebpf;\n"),
            file("goaudit-user/src/audit/tests/attack.rs", "println!();\n"),
            file("goaudit-user/src/query.rs", "fn a() {}\n\n#[cfg(test)]\nmod tests {\n    println!();\n}\n"),
            file("goaudit-user/src/audit.rs", "let x = \"println!\"; // println!(\nprintln!();\n"),
        ];
        assert_eq!(
            names(&files),
            [
                "goaudit-user/src/decode.rs:2: only the kernel layer names aya",
                "goaudit-user/src/audit.rs:2: only the command line prints",
            ]
        );
    }

    #[test]
    fn a_word_inside_another_is_none() {
        assert!(!has_word("himalaya::peak()", "aya::"));
        assert!(!has_word("eprintln!()", "println!"));
        assert!(has_word("(aya::x)", "aya::"));
    }

    #[test]
    fn unsafe_outside_the_kernel_layer_is_found() {
        let files = [
            file("goaudit-user/src/event.rs", "let x = unsafe { y };\n"),
            file("goaudit-user/src/kernel/ring.rs", "let x = unsafe { y };\n"),
            file("xtask/src/main.rs", "#![forbid(unsafe_code)]\n"),
        ];
        assert_eq!(unsafe_code(&files), ["goaudit-user/src/event.rs:1: unsafe code"]);
    }
}
