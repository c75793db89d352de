//! A migration is compiled into the binary, and a new file is no change of any source.
fn main() {
    println!("cargo::rerun-if-changed=../../migrations");
}
