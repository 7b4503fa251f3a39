//! Leaves `target/PROFILE/zyg`, where everybody looks for the program, as a link to where it is built.
//!
//! `.cargo/config.toml` names the target, so that the program can be linked statically, and Cargo
//! then builds into a directory of the target's own.

use std::path::{Path, PathBuf};
use std::{env, fs, io};

const PROGRAM: &str = "zyg";

fn main() -> io::Result<()> {
    println!("cargo::rerun-if-changed=build.rs");
    let variable = |name| env::var_os(name).unwrap_or_default();
    match place(&PathBuf::from(variable("OUT_DIR")), Path::new(&variable("TARGET"))) {
        Some((link, built)) => leave_link(&link, &built),
        None => Ok(()),
    }
}

/// Where the link is to be, and what it says: nothing where there is no directory of the target's
/// own. `out` is `…/target/TRIPLE/PROFILE/build/zyg-HASH/out`.
fn place(out: &Path, triple: &Path) -> Option<(PathBuf, PathBuf)> {
    let profile = out.ancestors().nth(3)?;
    let of_target = profile.parent()?;
    let name = profile.file_name()?;
    let link = of_target.parent()?.join(name).join(PROGRAM);
    let built = Path::new("..").join(triple).join(name).join(PROGRAM);
    of_target.ends_with(triple).then_some((link, built))
}

fn leave_link(link: &Path, built: &Path) -> io::Result<()> {
    if fs::read_link(link).is_ok_and(|there| there == built) {
        return Ok(());
    }
    if let Some(directory) = link.parent() {
        fs::create_dir_all(directory)?;
    }
    // What may be there was built without a target, and would be taken for what is built now.
    match fs::remove_file(link) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => std::os::unix::fs::symlink(built, link),
    }
}
