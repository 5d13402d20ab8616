//! nanoscope.
fn main() {}
