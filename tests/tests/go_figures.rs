//! Where a program without symbols keeps the runtime's figures, against the symbols that it had.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::fs;

use goaudit_tests::go_fixture::{Build, each_version};
use goaudit_user::golang::{Program, RuntimeOffsets};
use object::{Object, ObjectSymbol};

/// An ELF file whose symbols nobody finds: its header names no sections. Code and data stay where they are.
fn without_sections(mut elf: Vec<u8>) -> Vec<u8> {
    // e_shoff; e_shentsize, e_shnum and e_shstrndx.
    for field in [0x28..0x30, 0x3a..0x40] {
        elf.get_mut(field).unwrap().fill(0);
    }
    elf
}

#[test]
fn the_runtimes_figures_are_found_without_symbols() {
    each_version("the_runtimes_figures_are_found_without_symbols", |toolchain| {
        for mode in ["-buildmode=exe", "-buildmode=pie"] {
            let build =
                |strip: &str| toolchain.build(&Build::of("runtime-cases").flags(&[mode, strip])).unwrap();
            let with_symbols = fs::read(build("-v")).unwrap();
            let without = without_sections(with_symbols.clone());
            let twin = object::File::parse(&*with_symbols).unwrap();
            let symbol = |name: &str| {
                let found = twin.symbols().find(|symbol| symbol.name() == Ok(name)).unwrap();
                found.address()..found.address() + found.size()
            };
            let (offsets, _) = RuntimeOffsets::of(Some((1, toolchain.minor(), 0)));
            let figures = Program::parse(&without).unwrap().figures(&offsets);
            // A stripped build is another one, with other addresses: it has the same.
            let stripped = fs::read(build("-ldflags=-s -w")).unwrap();
            let stripped = Program::parse(&stripped).unwrap().figures(&offsets);
            assert!(stripped.goroutines.is_ok(), "{:?}", stripped.goroutines.err());
            assert_eq!(stripped.heap_live.is_ok(), figures.heap_live.is_ok());
            let goroutines = figures.goroutines.unwrap();
            assert_eq!(goroutines.all, symbol("runtime.allglen").start);
            assert_eq!(goroutines.processors, symbol("runtime.allp").start);
            let scheduler = symbol("runtime.sched");
            assert_eq!(goroutines.system, scheduler.start + u64::from(offsets.sched_ngsys));
            if let Some(free) = offsets.sched_gfree_n {
                assert_eq!(goroutines.free, [scheduler.start + u64::from(free)]);
            } else {
                // One for goroutines with a stack, one for those without.
                assert_eq!(goroutines.free.len(), 2);
            }
            assert!(goroutines.free.iter().all(|at| scheduler.contains(at)));
            let heap = symbol("runtime.gcController").start + u64::from(offsets.heap_live);
            match figures.heap_live {
                Ok(found) => assert_eq!(found, heap),
                // The function that tells was inlined.
                Err(_) => assert!(toolchain.minor() < 19, "go {}", toolchain.version()),
            }
        }
    });
}
