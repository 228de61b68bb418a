//! The program that the live tests watch; see `goaudit_tests::hardcase`.

fn main() {
    goaudit_tests::hardcase::main();
}
