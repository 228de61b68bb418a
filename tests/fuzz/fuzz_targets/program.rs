//! Programs of any bytes: whatever is asked of one as a Go program, there is an answer and no panic.
#![no_main]

use std::sync::LazyLock;

use goaudit_user::golang::profile::Profile;
use goaudit_user::golang::target::Target;
use goaudit_user::golang::type_name::TypeNames;
use goaudit_user::golang::{BuildInfo, Program, RuntimeOffsets, Wanted};
use libfuzzer_sys::fuzz_target;

static PROFILE: LazyLock<Profile> = LazyLock::new(|| Profile::builtin().expect("the built-in profiles"));

/// Of the fixture that is the seed, of the runtime, and of nothing.
const WANTED: [&str; 5] =
    ["main.main", "runtime.gopanic", "internal/abi.NoEscape", "main.none", "fmt.(*pp).printArg"];

fuzz_target!(|data: &[u8]| {
    let Ok(program) = Program::parse(data) else { return };
    for (function, _) in program.functions() {
        let _ = (program.file(&function), program.inlined_into(&function));
        let _ = (program.places(function.entry), program.places(function.end.wrapping_sub(1)));
    }
    let _ = program.plan(&WANTED.map(Wanted::new), None);
    let _ = Target::plan(&program, &PROFILE);
    let release = program.build().and_then(BuildInfo::release);
    let (offsets, _) = RuntimeOffsets::of_program(release, program.table().format());
    let _ = (program.figures(&offsets), program.build_id(), program.warnings(), program.loading());
    let _ = (program.is_cgo(), program.is_race(), program.image().code_delta());
    if let (Some(types), Some((start, end))) = (TypeNames::of(&program), program.module().types) {
        let _ = types.address(program.image(), "*errors.errorString");
        // Descriptors stand one behind the other at the start.
        for address in (start..end).step_by(8).take(1 << 12) {
            let _ = types.find(program.image(), address);
        }
    }
});
