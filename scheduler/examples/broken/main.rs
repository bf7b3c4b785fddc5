//! Builds every variant of `broken/` into a directory:
//! `cargo run -p scheduler --example broken -- DIRECTORY`. Prints a line for
//! each: name, mode, rule, object.

mod variant;

use std::error::Error;
use std::path::PathBuf;

fn main() -> Result<(), Box<dyn Error>> {
    let dir = std::env::args_os()
        .nth(1)
        .map(PathBuf::from)
        .ok_or("usage: broken DIRECTORY")?;
    for variant in variant::all()? {
        let (object, _) = variant.build(&dir)?;
        println!(
            "{}\t{}\t{}\t{}",
            variant.name,
            variant.mode,
            variant.rule,
            object.display()
        );
    }
    Ok(())
}
