//! Has the list of disposable providers, that of `mailchecker`, be one text. As the array of texts that it is there, it would be two
//! megabytes more of the program, and an adjusted address for each at every start.

use std::error::Error;
use std::path::PathBuf;

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo::rerun-if-changed=build.rs");
    let list = format!("\n{}\n", mailchecker::blacklist().join("\n"));
    std::fs::write(PathBuf::from(std::env::var("OUT_DIR")?).join("disposable.txt"), list)?;
    Ok(())
}
