//! Names of types, read from programs' files, against what Go itself calls them.
#![expect(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on has failed")]

use std::fs;
use std::process::Command;

use goaudit_tests::go_fixture::{Build, each_version};
use goaudit_user::golang::Program;
use goaudit_user::golang::type_name::{Kind, TypeNames};

#[test]
fn names_are_those_that_go_tells() {
    each_version("names_are_those_that_go_tells", |toolchain| {
        let pie: &[&str] = &["-buildmode=pie", "-ldflags=-s -w"];
        for flags in [&[], pie] {
            let path = toolchain.build(&Build::of("types").flags(flags)).unwrap();
            let output = Command::new(&path).output().unwrap();
            assert!(output.status.success());
            let told = String::from_utf8(output.stdout).unwrap();
            let data = fs::read(&path).unwrap();
            let program = Program::parse(&data).unwrap();
            let release = program.build().and_then(goaudit_user::golang::BuildInfo::release);
            let types = TypeNames::new(program.module(), release).unwrap();
            let number =
                |line: &str, column: usize| line.split('\t').nth(column).unwrap().parse::<u64>().unwrap();
            let find = |word: &str| told.lines().find(|line| line.starts_with(word)).unwrap();
            // Position-independent programs are loaded elsewhere: the difference shows in any function's address.
            let (main, _) = program.functions().find(|(_, name)| *name == b"main.main").unwrap();
            let bias = number(find("main\t"), 1) - main.entry;
            assert_eq!(bias == 0, flags.is_empty());
            let (mut compared, mut packages) = (0, 0);
            for line in told.lines().filter(|line| line.starts_with(|c: char| c.is_ascii_digit())) {
                let name = line.split('\t').nth(2).unwrap();
                let found = types.find(program.image(), number(line, 0) - bias);
                let found = found.unwrap_or_else(|| panic!("{} {line}", toolchain.version()));
                assert_eq!(found.name, name, "{}", toolchain.version());
                let kind = Kind::number(found.kind.unwrap());
                assert_eq!(u64::from(kind), number(line, 1), "{}: {name}", toolchain.version());
                assert_eq!(found.direct, is_direct(name), "{}: {name}", toolchain.version());
                // Of structs and pointers to them: what has methods, or is a pointer to what has.
                let package = line.split('\t').nth(3).unwrap();
                if let Some(found) = &found.package {
                    assert_eq!(found, package, "{}: {name}", toolchain.version());
                    packages += 1;
                } else {
                    assert!(!WITH_PACKAGE.contains(&name), "{}: {name}", toolchain.version());
                }
                compared += 1;
            }
            assert!(compared > 30 && packages >= WITH_PACKAGE.len());
            let made = number(find("made\t"), 1).wrapping_sub(bias);
            assert_eq!(types.find(program.image(), made), None);
            for address in [0, 1, u64::MAX, main.entry] {
                assert_eq!(types.find(program.image(), address), None);
            }
        }
    });
}

/// Types of which the package must be found.
const WITH_PACKAGE: [&str; 6] = [
    "main.nested",
    "*main.nested",
    "*errors.errorString",
    "*fmt.wrapError",
    "*fs.PathError",
    "*reflect.rtype",
];

/// Pointers and what is shaped like one are in an interface themselves.
fn is_direct(name: &str) -> bool {
    let words = ["*", "map[", "chan ", "func(", "unsafe.Pointer", "main.onePointer", "[1]*int"];
    words.into_iter().any(|word| name.starts_with(word))
}
