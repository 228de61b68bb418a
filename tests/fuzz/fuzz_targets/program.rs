//! Programs of any bytes: reading one as a Go program does not panic.
#![no_main]

use goaudit_user::golang::Program;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    if let Ok(program) = Program::parse(data) {
        let _ = program.functions().count();
    }
});
