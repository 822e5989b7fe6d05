//! Puts modelled atomics into the files that have a model.

fn main() {
    println!("cargo::rustc-cfg=monoport_loom");
}
