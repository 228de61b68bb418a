//! Yama's mode 3, which refuses everybody and stays until the machine starts again: the last file by its name.

use goaudit_tests::capture::Capture;
use goaudit_tests::compare;
use goaudit_tests::needs;

#[test]
fn yama_3_refuses_everybody() {
    needs!(Root, Bpf, Btf, Yama, Lab);
    let capture = Capture::of(&["ptrace-yama", "3"]);
    capture.assert_sound();
    compare::everything(&capture);
    compare::attributed(&capture);
}
