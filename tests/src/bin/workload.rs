//! The program that the live tests watch; see `goaudit_tests::workload`.

fn main() {
    goaudit_tests::workload::main();
}
