//! Link shim: makes one BPF object of the library's maps and programs. On the host it is an empty program.
fn main() {}
