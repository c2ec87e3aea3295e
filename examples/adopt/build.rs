//! A new migration is a new program: without this, cargo would not see a file that was added.

fn main() {
    println!("cargo:rerun-if-changed=migrations");
}
