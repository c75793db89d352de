//! The command line of identityd.
fn main() {}
