//! `goaudit inspect` and the reading of Go programs, against Go's own tools on unstripped twins of the same build.
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test that cannot go on has failed"
)]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::Stdio;

use goaudit_tests::ability::tell_skip;
use goaudit_tests::go_fixture::{self, Build, Toolchain, each_version, newest_version};
use goaudit_tests::goaudit::goaudit;
use goaudit_user::golang::{BuildInfo, Format, Program, Verdict, Wanted, normalise};
use object::{Object, ObjectSection};
use proptest::prelude::*;
use serde_json::{Value, json};

const STRIPPED: &[&str] = &["-ldflags=-s -w"];

/// Symbols of Go's code by address, from `go tool nm`.
fn symbols(toolchain: &Toolchain, program: &Path) -> BTreeMap<u64, BTreeSet<String>> {
    let mut symbols: BTreeMap<u64, BTreeSet<String>> = BTreeMap::new();
    for line in toolchain.tell(&["tool", "nm", "-n"], program).unwrap().lines() {
        let line = line.trim_start();
        let (address, rest) = line.split_once(' ').unwrap();
        let (kind, name) = rest.trim_start().split_once(' ').unwrap_or_default();
        if let (Ok(address), "T" | "t") = (u64::from_str_radix(address, 16), kind) {
            symbols.entry(address).or_default().insert(normalise(name.as_bytes()).replace('·', "."));
        }
    }
    symbols
}

/// Addresses of RET instructions by function, from `go tool objdump`.
fn returns(toolchain: &Toolchain, program: &Path, filter: &str) -> BTreeMap<String, BTreeSet<u64>> {
    let mut returns: BTreeMap<String, BTreeSet<u64>> = BTreeMap::new();
    let mut function = String::new();
    for line in toolchain.tell(&["tool", "objdump", "-s", filter], program).unwrap().lines() {
        if let Some(header) = line.strip_prefix("TEXT ") {
            header.split("(SB)").next().unwrap().clone_into(&mut function);
        } else if line.trim_end().ends_with("\tRET") {
            let address = line.split('\t').find_map(|word| word.trim().strip_prefix("0x")).unwrap();
            returns.entry(function.clone()).or_default().insert(u64::from_str_radix(address, 16).unwrap());
        }
    }
    returns
}

fn check_functions(toolchain: &Toolchain, stripped: &Program<'_>, twin: &Path) {
    let symbols = symbols(toolchain, twin);
    let mut compared = 0;
    for (function, raw) in stripped.functions() {
        // nm writes a dot for the middle dot of the compiler's own names.
        let name = normalise(raw).replace('·', ".");
        // The linker's own marks are no functions, and cgo's C symbols are not in Go's table.
        if name.contains(':') {
            continue;
        }
        let there = symbols
            .get(&function.entry)
            .unwrap_or_else(|| panic!("no symbol at {:#x} {name}", function.entry));
        assert!(there.contains(&name), "{name} at {:#x}: {there:?}", function.entry);
        compared += 1;
    }
    // The smallest program of the oldest Go has some 1,000.
    assert!(compared > 900, "only {compared} functions");
}

#[test]
fn functions_of_stripped_programs_are_those_of_nm() {
    each_version("functions_of_stripped_programs_are_those_of_nm", |toolchain| {
        let plain = Build::of("inspect");
        let data = fs::read(toolchain.build(&plain.flags(STRIPPED)).unwrap()).unwrap();
        let program = Program::parse(&data).unwrap();
        check_functions(toolchain, &program, &toolchain.build(&plain).unwrap());
    });
}

/// Their function tables have the formats of Go 1.2 and 1.16, their build info is behind pointers. They are read, and what
/// cannot be probed says why.
#[test]
fn programs_of_older_go_are_read_and_refused() {
    for (version, format) in [("1.15.15", Format::Go1_2), ("1.16.15", Format::Go1_16)] {
        let toolchain = match go_fixture::toolchain(version) {
            Ok(toolchain) => toolchain,
            Err(why) => {
                let missing = format!("go toolchain {version}");
                tell_skip("programs_of_older_go_are_read_and_refused", &missing, &why);
                continue;
            }
        };
        let plain = Build::of("tiny");
        let data = fs::read(toolchain.build(&plain.flags(STRIPPED)).unwrap()).unwrap();
        let program = Program::parse(&data).unwrap();
        assert_eq!(program.table().format(), format, "{version}");
        assert_eq!(program.build().map(|build| build.go_version.as_str()), Some(&*format!("go{version}")));
        check_functions(&toolchain, &program, &toolchain.build(&plain).unwrap());
        let row = program.plan(&[Wanted::new("main.main")], None).remove(0);
        assert_eq!(row.verdict, Verdict::Refused, "{version}: {}", row.reason);
        assert!(row.reason.contains("passes arguments on the stack"), "{version}: {}", row.reason);
    }
}

#[test]
fn position_independent_and_externally_linked_programs() {
    each_version("position_independent_and_externally_linked_programs", |toolchain| {
        // One build each of the standard library: the newest version stands for the others, unless all are asked for.
        let all = std::env::var_os(goaudit_tests::go_fixture::VERSIONS).is_some();
        if !all && toolchain.version() != goaudit_tests::go_fixture::DEFAULT[2] {
            return;
        }
        let plain = Build::of("inspect");
        for (build, strip) in [
            (plain.flags(&["-buildmode=pie"]), &["-buildmode=pie", "-ldflags=-s -w"]),
            (
                plain.cgo().flags(&["-buildmode=pie", "-ldflags=-linkmode=external"]),
                &["-buildmode=pie", "-ldflags=-linkmode=external -s -w"],
            ),
        ] {
            let data = fs::read(toolchain.build(&build.flags(strip)).unwrap()).unwrap();
            let program = Program::parse(&data).unwrap();
            assert!(program.image().position_independent());
            assert!(!program.image().has_symbols());
            assert_eq!(program.is_cgo(), build.cgo);
            if build.cgo {
                // The external linker lays both out anew, so the twin differs; verdicts must be those of the twin.
                let twin = fs::read(toolchain.build(&build).unwrap()).unwrap();
                let twin = Program::parse(&twin).unwrap();
                let names = |program: &Program<'_>| {
                    program
                        .functions()
                        .map(|(_, name)| String::from_utf8_lossy(name).into_owned())
                        .collect::<Vec<_>>()
                };
                assert_eq!(names(&program), names(&twin));
            }
            check_functions(
                toolchain,
                &Program::parse(&fs::read(toolchain.build(&build).unwrap()).unwrap()).unwrap(),
                &toolchain.build(&build).unwrap(),
            );
            check_verdicts(toolchain, &program);
        }
    });
}

#[test]
fn build_info_is_that_of_go_version() {
    each_version("build_info_is_that_of_go_version", |toolchain| {
        let path = toolchain.build(&Build::of("inspect").flags(STRIPPED)).unwrap();
        let data = fs::read(&path).unwrap();
        let program = Program::parse(&data).unwrap();
        let build: &BuildInfo = program.build().unwrap();
        let told = toolchain.tell(&["version", "-m"], &path).unwrap();
        let mut lines = told.lines();
        assert!(lines.next().unwrap().ends_with(&format!(": {}", build.go_version)));
        for line in lines {
            let words: Vec<&str> = line.trim_start_matches('\t').split('\t').collect();
            match words[0] {
                "path" => assert_eq!(build.main_package.as_deref(), Some(words[1])),
                "mod" | "dep" => assert!(
                    build.modules.iter().any(|module| module.path == words[1] && module.version == words[2]),
                    "{line}"
                ),
                "build" => {
                    let (key, value) = words[1].split_once('=').unwrap();
                    assert_eq!(build.setting(key.trim_matches('"')), Some(value.trim_matches('"')), "{line}");
                }
                other => panic!("{other}: {line}"),
            }
        }
    });
}

#[test]
fn return_sites_are_those_of_objdump() {
    each_version("return_sites_are_those_of_objdump", |toolchain| {
        let plain = Build::of("inspect");
        let twin = toolchain.build(&plain).unwrap();
        let data = fs::read(toolchain.build(&plain.flags(STRIPPED)).unwrap()).unwrap();
        let program = Program::parse(&data).unwrap();
        let told = returns(toolchain, &twin, r"^(main|example\.com.*|fmt|strconv|os|net|sync)\.");
        let wanted: Vec<Wanted> = told.keys().map(|name| Wanted::new(name)).collect();
        let mut compared = 0;
        let mut refused = BTreeMap::new();
        for probe in program.plan(&wanted, None) {
            if probe.entry.is_none() {
                *refused.entry(probe.reason).or_insert(0) += 1;
                continue;
            }
            let sites: BTreeSet<u64> = probe.returns.iter().copied().collect();
            // File offsets here; one segment holds all code, so the distance is one number.
            let (function, _) =
                program.functions().find(|(_, name)| *name == probe.function.as_bytes()).unwrap();
            let distance = function.entry - program.image().code_offset(function.entry).unwrap();
            let theirs: BTreeSet<u64> = told
                .iter()
                .filter(|(name, _)| normalise(name.as_bytes()) == normalise(probe.function.as_bytes()))
                .flat_map(|(_, sites)| sites.iter().map(|site| site - distance))
                .collect();
            // Instances of one generic function share a form of the name.
            let same = if probe.function.contains('[') { sites.is_subset(&theirs) } else { sites == theirs };
            assert!(same, "{}: {sites:x?} and {theirs:x?}", probe.function);
            compared += 1;
        }
        // What is refused is few, and for known reasons.
        let count: usize = refused.values().sum();
        assert!(compared > 400 && count * 10 < compared, "{compared} compared, refused: {refused:#?}");
    });
}

/// The verdicts that the fixture's source promises.
fn check_verdicts(toolchain: &Toolchain, program: &Program<'_>) {
    let verdict = |name: &str| {
        let mut rows = program.plan(&[Wanted::new(name)], None);
        assert!(!rows.is_empty());
        rows.remove(0)
    };
    for (name, returns) in [
        ("main.recurse", 2..=2),
        ("main.mediumFrame", 1..=1),
        ("main.hugeFrame", 1..=1),
        ("main.jumpTable", 11..=11),
        ("main.deferred", 1..=2),
        ("main.spin", 1..=2),
        ("example.com/inspect/policy.(*Enforcer).Enforce", 4..=5),
        ("example.com/inspect/policy/v2.(*Enforcer).Enforce", 4..=5),
        ("example.com/inspect/yaml.v3.Unmarshal", 1..=1),
        ("main.(*inner).Step", 1..=1),
    ] {
        let probe = verdict(name);
        assert_eq!(probe.verdict, Verdict::Present, "{name}: {}", probe.reason);
        assert!(returns.contains(&probe.returns.len()), "{name}: {:?}", probe.returns);
        assert_eq!(probe.code_sha256.map(|hash| hash.len()), Some(64));
    }
    let enters = verdict("main.hugeFrame").entry.unwrap();
    let jumps = toolchain.minor() < 21 || program.image().arch() == goaudit_user::golang::Arch::Arm64;
    assert_eq!(enters.ignore_when_taken, jumps, "{enters:?}");

    let tiny = verdict("example.com/inspect/policy.Tiny");
    assert_eq!((tiny.verdict, tiny.entry), (Verdict::InlinedOnly, None), "{}", tiny.reason);
    assert!(tiny.inlined_places >= 1);
    let sometimes = verdict("example.com/inspect/policy.Sometimes");
    assert_eq!(sometimes.verdict, Verdict::InlinedAt, "{}", sometimes.reason);
    assert_eq!(sometimes.inlined_into[0].function, "main.main");
    // Two major versions: that every call of one is seen says nothing of the other.
    let mixed = program.plan(&[Wanted::new("example.com/inspect/policy.Mixed")], None);
    let mixed: Vec<_> = mixed.iter().map(|probe| (probe.function.as_str(), probe.verdict)).collect();
    let (v2, v3) = ("example.com/inspect/policy/v2.Mixed", "example.com/inspect/policy/v3.Mixed");
    assert_eq!(mixed, [(v2, Verdict::InlinedOnly), (v3, Verdict::Present)]);
    for (name, reason) in [
        ("main.neverReturns", "never returns"),
        ("main.asmAdd", if toolchain.minor() >= 18 { "assembly" } else { "" }),
        ("main.(*outer).Step", "ends in a jump"),
        ("example.com/inspect/policy.Other", "first instruction is a return"),
        ("runtime.mallocgc", "Go runtime"),
    ] {
        let probe = verdict(name);
        // Whether a wrapper ends in a jump differs by architecture and version; it is never silently wrong.
        if name != "main.(*outer).Step" || probe.verdict == Verdict::Refused {
            assert_eq!(probe.verdict, Verdict::Refused, "{name}");
            assert!(probe.reason.contains(reason), "{name}: {}", probe.reason);
        }
    }
    let absent = verdict("main.recurs");
    assert_eq!(absent.verdict, Verdict::Absent);
    assert_eq!(absent.nearest[0], "main.recurse");
    if toolchain.minor() >= 18 {
        let instances = program.plan(&[Wanted::new("main.mapped"), Wanted::new("main.(*box).Get")], None);
        assert_eq!(instances.len(), 4, "{instances:#?}");
        assert!(instances.iter().all(|probe| probe.verdict == Verdict::Present), "{instances:#?}");
    }
    if toolchain.minor() >= 23 {
        assert_eq!(verdict("main.ranged").verdict, Verdict::Present);
        assert_eq!(verdict("main.ranged-range1").verdict, Verdict::Present);
    }
}

#[test]
fn verdicts_are_those_of_the_source() {
    each_version("verdicts_are_those_of_the_source", |toolchain| {
        let mut builds = vec![Build::of("inspect").flags(STRIPPED)];
        if toolchain.minor() >= 18 {
            builds.push(Build::of("inspect").arch("arm64"));
        }
        for build in builds {
            let data = fs::read(toolchain.build(&build).unwrap()).unwrap();
            check_verdicts(toolchain, &Program::parse(&data).unwrap());
        }
    });
}

#[test]
fn the_command_tells_the_plan() {
    each_version("the_command_tells_the_plan", |toolchain| {
        let path = toolchain.build(&Build::of("inspect").flags(STRIPPED)).unwrap();
        let inspect = |arguments: &[&str]| goaudit().arg("inspect").args(arguments).output().unwrap();
        let file = path.to_str().unwrap();
        let told = inspect(&[
            file,
            "--json",
            "--function",
            "main.recurse",
            "--emulated-ns",
            "7",
            "--stepped-ns",
            "50",
        ]);
        assert!(told.status.success(), "{}", String::from_utf8_lossy(&told.stderr));
        let view: Value = serde_json::from_slice(&told.stdout).unwrap();
        assert_eq!(view["go_version"], format!("go{}", toolchain.version()));
        assert_eq!(view["build"]["stripped"], true);
        assert_eq!(view["build"]["static"], true);
        let layout = json!({ "confidence": "known", "release": format!("1.{}", toolchain.minor()) });
        assert_eq!(view["runtime_layout"], layout);
        let stacks = json!({ "functions": true, "lines": true, "inlined": true, "c_functions": false });
        assert_eq!(view["stack_traces"], stacks);
        assert_eq!(view["probes"][0]["verdict"], "present");
        assert_eq!(view["probes"][0]["entry"]["class"], "emulated");
        assert_eq!(view["probes"][0]["predicted_ns_per_call"], 57);
        assert_eq!(view["probes"][0]["returns"].as_array().unwrap().len(), 2);

        let text = inspect(&[file, "--function", "example.com/inspect/policy.Tiny"]);
        let text = String::from_utf8(text.stdout).unwrap();
        assert!(text.contains("inlined only: the compiler inlined every call of it"), "{text}");
        let strict = inspect(&[file, "--strict", "--function", "example.com/inspect/policy.Tiny"]);
        assert_eq!(strict.status.code(), Some(4));
        for (name, code) in [("policy/v3.Mixed", 0), ("policy.Mixed", 4)] {
            let strict = inspect(&[file, "--strict", "--function", &format!("example.com/inspect/{name}")]);
            assert_eq!(strict.status.code(), Some(code), "{name}");
        }
        // Nothing that can be probed is not everything.
        assert_eq!(inspect(&[file, "--strict"]).status.code(), Some(4));

        // Without functions: those of profiles that the program has, here of one's own.
        let directory = tempfile::tempdir().unwrap();
        let profile = directory.path().join("own.toml");
        let probe = |id: &str, package: &str, function: &str| {
            format!(
                "[[probe]]\nid = \"own.{id}\"\nkind = \"call\"\nmodule = \"{package}\"\nfunction = \"{function}\"\n\
                 signature = \"func()\"\n"
            )
        };
        let policy = "example.com/inspect/policy";
        fs::write(
            &profile,
            probe("recurse", "main", "recurse") + &probe("tiny", policy, "Tiny") + &probe("no", policy, "No"),
        )
        .unwrap();
        let told = inspect(&[file, "--json", "--profile", profile.to_str().unwrap()]);
        assert!(told.status.success(), "{}", String::from_utf8_lossy(&told.stderr));
        let own: Value = serde_json::from_slice(&told.stdout).unwrap();
        let verdicts: BTreeMap<&str, &str> = own["probes"]
            .as_array()
            .unwrap()
            .iter()
            .map(|row| (row["profile"].as_str().unwrap(), row["verdict"].as_str().unwrap()))
            .collect();
        assert_eq!(verdicts, BTreeMap::from([("own.recurse", "present"), ("own.tiny", "inlined_only")]));
        let text = String::from_utf8(inspect(&[file]).stdout).unwrap();
        assert!(text.contains("no function of a profile is in it"), "{text}");
        assert!(text.contains(", exe, static, stripped, "), "{text}");
        assert!(text.contains("\n  runtime layout known: that of Go 1."), "{text}");
        let stacks = "\n  stack traces: Go functions with file and line, inlined calls too";
        assert!(text.contains(stacks), "{text}");

        // A running process, by its number, gives the same plan as its file.
        let mut child = std::process::Command::new(&path)
            .arg("wait")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let pid = child.id().to_string();
        let running = inspect(&[&pid, "--json", "--function", "main.recurse"]);
        drop(child.stdin.take());
        child.wait().unwrap();
        let running: Value = serde_json::from_slice(&running.stdout).unwrap();
        assert_eq!(running["probes"][0]["returns"], view["probes"][0]["returns"]);
        assert_eq!(running["build"], view["build"]);
    });
}

#[test]
fn what_cannot_be_inspected_is_told() {
    let directory = tempfile::tempdir().unwrap();
    let inspect = |path: &str| {
        let output = goaudit().arg("inspect").arg(path).output().unwrap();
        (output.status.code(), String::from_utf8(output.stderr).unwrap())
    };
    let script = directory.path().join("script");
    fs::write(&script, "#!/bin/sh\n").unwrap();
    for (path, reason) in [
        (script.to_str().unwrap(), "not an ELF file"),
        (std::env::current_exe().unwrap().to_str().unwrap(), "not built by the Go compiler"),
        (directory.path().to_str().unwrap(), "not a regular file"),
        ("4000000000", "no process has the number"),
        ("/nonexistent/program", "No such file"),
    ] {
        let (code, error) = inspect(path);
        assert_eq!(code, Some(1), "{path}: {error}");
        assert!(error.contains(reason), "{path}: {error}");
    }
    let pipe = directory.path().join("pipe");
    assert!(std::process::Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    let (code, error) = inspect(pipe.to_str().unwrap());
    assert_eq!(code, Some(1), "{error}");
    assert!(error.contains("not a regular file"), "{error}");
    // Nobody asks for it while it is held here.
    let mut ended = std::process::Command::new("true").spawn().unwrap();
    let pid = ended.id().to_string();
    while Path::new("/proc").join(&pid).join("exe").read_link().is_ok() {
        std::thread::yield_now();
    }
    let (code, error) = inspect(&pid);
    ended.wait().unwrap();
    assert_eq!(code, Some(1), "{error}");
    assert!(error.contains("a process that has ended"), "{error}");
    each_version("what_cannot_be_inspected_is_told", |toolchain| {
        let data = fs::read(toolchain.build(&Build::of("inspect").flags(STRIPPED)).unwrap()).unwrap();
        let cut = directory.path().join("cut");
        fs::write(&cut, &data[..data.len() / 2]).unwrap();
        let (code, error) = inspect(cut.to_str().unwrap());
        assert_eq!(code, Some(1), "{error}");
        assert!(error.contains("cut off"), "{error}");
        // A function table whose head says what cannot be: of a machine with pointers of 119 bytes.
        let mut damaged = data.clone();
        damaged[section(&data, ".gopclntab") + 7] = 0x77;
        let path = directory.path().join("damaged");
        fs::write(&path, &damaged).unwrap();
        let (code, error) = inspect(path.to_str().unwrap());
        assert_eq!(code, Some(1), "{error}");
        assert!(error.contains("the Go function table is damaged"), "{error}");
    });
    newest_version("what_cannot_be_inspected_is_told", |toolchain| {
        let small = toolchain.build(&Build::of("runtime-cases").arch("386").flags(STRIPPED)).unwrap();
        let (code, error) = inspect(small.to_str().unwrap());
        assert_eq!(code, Some(1), "{error}");
        assert!(error.contains("32-bit"), "{error}");
    });
}

/// File offset of a section.
fn section(data: &[u8], name: &str) -> usize {
    let file = object::File::parse(data).unwrap();
    let (offset, _) = file.section_by_name(name).unwrap().file_range().unwrap();
    usize::try_from(offset).unwrap()
}

#[test]
fn damaged_programs_never_panic() {
    each_version("damaged_programs_never_panic", |toolchain| {
        let data = fs::read(toolchain.build(&Build::of("inspect").flags(STRIPPED)).unwrap()).unwrap();
        let (table, module) = {
            let program = Program::parse(&data).unwrap();
            let image = program.image();
            // Both lie in data, which has an offset too; the first bytes of the table tell where.
            let _ = image;
            (program.table().address(), program.module().address)
        };
        let header = |needle: u64| {
            let bytes = needle.to_le_bytes();
            data.windows(8).position(|window| window == bytes).unwrap_or(0)
        };
        // The module data begins with the table's address.
        let module_at = header(table);
        let table_at = data
            .windows(8)
            .position(|window| window[4..] == [0, 0, 1, 8] && window[1..4] == [0xff; 3])
            .unwrap();
        assert!(module > 0);
        let damage = prop_oneof![
            (0..data.len()).prop_map(Damage::Cut),
            (0_usize..1024, any::<u8>()).prop_map(|(at, byte)| Damage::Set(at, byte)),
            (0_usize..512, any::<u8>()).prop_map(move |(at, byte)| Damage::Set(module_at + at, byte)),
            (0_usize..128, any::<u8>()).prop_map(move |(at, byte)| Damage::Set(table_at + at, byte)),
            (0..data.len() - table_at, any::<u8>())
                .prop_map(move |(at, byte)| Damage::Set(table_at + at, byte)),
        ];
        let wanted = [Wanted::new("main.recurse"), Wanted::new("main.jumpTable"), Wanted::new("main.none")];
        let mut runner = proptest::test_runner::TestRunner::new(ProptestConfig {
            cases: 96,
            failure_persistence: None,
            ..ProptestConfig::default()
        });
        let outcome = runner.run(&proptest::collection::vec(damage, 1..6), |damages| {
            let mut data = data.clone();
            for damage in damages {
                match damage {
                    Damage::Cut(at) => data.truncate(at),
                    Damage::Set(at, byte) => {
                        if let Some(place) = data.get_mut(at) {
                            *place = byte;
                        }
                    }
                }
            }
            if let Ok(program) = Program::parse(&data) {
                // Whatever it answers, an answer it must be.
                let _ = (program.plan(&wanted, None), program.warnings(), program.build_id());
            }
            Ok(())
        });
        outcome.unwrap();
    });
}

#[derive(Debug, Clone, Copy)]
enum Damage {
    Cut(usize),
    Set(usize, u8),
}

/// Replaces bytes at every place where they are. Returns how many there were.
fn replace(data: &mut [u8], from: &[u8], to: &[u8]) -> usize {
    assert_eq!(from.len(), to.len());
    let places: Vec<usize> = (0..data.len()).filter(|&at| data[at..].starts_with(from)).collect();
    for at in &places {
        data[*at..*at + to.len()].copy_from_slice(to);
    }
    places.len()
}

#[test]
fn programs_that_do_not_tell_everything() {
    each_version("programs_that_do_not_tell_everything", |toolchain| {
        let data = fs::read(toolchain.build(&Build::of("inspect").flags(STRIPPED)).unwrap()).unwrap();
        let intact = Program::parse(&data).unwrap();
        let wanted = ["main.recurse", "example.com/inspect/policy.Tiny", "main.none"].map(Wanted::new);

        // Where the inline data are is not to be found.
        let mut unread = data.clone();
        let base = intact.module().gofunc.unwrap();
        assert!(replace(&mut unread, &base.to_le_bytes(), &[0; 8]) > 0);
        let unread = Program::parse(&unread).unwrap();
        assert_eq!(unread.module().gofunc, None);
        assert!(unread.warnings().iter().any(|warning| warning.contains("inlined where cannot be read")));
        let rows = unread.plan(&wanted, None);
        let verdicts: Vec<Verdict> = rows.iter().map(|row| row.verdict).collect();
        assert_eq!(verdicts, [Verdict::InlinedAt, Verdict::InlinedOnly, Verdict::Absent], "{rows:#?}");
        let told =
            |row: usize, reason: &str| assert!(rows[row].reason.contains(reason), "{}", rows[row].reason);
        told(0, "cannot be told");
        told(1, "cannot be told");
        told(2, "or was inlined");

        // Functions that overlap; the runtime would not start it.
        let mut unsorted = data.clone();
        let table = section(&data, ".gopclntab");
        let word =
            |at: usize| usize::try_from(u64::from_le_bytes(data[at..at + 8].try_into().unwrap())).unwrap();
        let rows = table + word(table + 8 + 8 * 7);
        unsorted[rows + 80..rows + 84].copy_from_slice(&data[rows + 160..rows + 164]);
        let error = Program::parse(&unsorted).unwrap_err().to_string();
        assert!(error.contains("not in the order of addresses"), "{error}");

        // Every function shares a table that goes on for very long: it must end, and say that this cannot be.
        let mut endless = data.clone();
        let (values, records) = (table + word(table + 8 + 8 * 6), rows);
        for four in endless[values + 1..records].as_chunks_mut::<4>().0 {
            *four = [2, 1, 1, 1];
        }
        let _ = Program::parse(&endless).map(|program| program.plan(&wanted, None));
    });
}

#[test]
fn a_hostile_version_does_not_reach_the_terminal() {
    newest_version("a_hostile_version_does_not_reach_the_terminal", |toolchain| {
        let path = toolchain.build(&Build::of("inspect").flags(STRIPPED)).unwrap();
        let mut data = fs::read(path).unwrap();
        assert!(replace(&mut data, format!("go{}", toolchain.version()).as_bytes(), b"\x1b[31m\n;;") > 0);
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("program");
        fs::write(&path, data).unwrap();
        let told = goaudit().arg("inspect").arg(&path).args(["--function", "main.recurse"]).output().unwrap();
        let text = String::from_utf8(told.stdout).unwrap();
        assert!(text.contains(r"  \x1b[31m\n;; amd64"), "{text}");
        assert!(!text.contains(|char: char| char.is_control() && char != '\n'), "{text:?}");
        assert!(text.contains("runtime layout assumed: that of Go 1.27"), "{text}");
    });
}
