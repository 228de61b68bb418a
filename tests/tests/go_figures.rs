//! Where a stripped program keeps the runtime's figures, against the symbols of its unstripped twin.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::fs;

use goaudit_tests::go_fixture::{Build, each_version};
use goaudit_user::golang::{Program, RuntimeOffsets};
use object::{Object, ObjectSymbol};

#[test]
fn the_runtimes_figures_are_found_without_symbols() {
    each_version("the_runtimes_figures_are_found_without_symbols", |toolchain| {
        for mode in ["-buildmode=exe", "-buildmode=pie"] {
            let build =
                |strip: &str| toolchain.build(&Build::of("runtime-cases").flags(&[mode, strip])).unwrap();
            let (stripped, twin) =
                (fs::read(build("-ldflags=-s -w")).unwrap(), fs::read(build("-v")).unwrap());
            let twin = object::File::parse(&*twin).unwrap();
            let symbol = |name: &str| {
                let found = twin.symbols().find(|symbol| symbol.name() == Ok(name)).unwrap();
                found.address()..found.address() + found.size()
            };
            let (offsets, _) = RuntimeOffsets::of(Some((1, toolchain.minor(), 0)));
            let figures = Program::parse(&stripped).unwrap().figures(&offsets);
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
