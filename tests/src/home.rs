//! Whose tests these are.

use nix::unistd::getuid;
use std::path::PathBuf;

/// The calling user's home directory, as the server finds it: by the password database, whatever
/// `HOME` says.
#[must_use]
pub fn home() -> PathBuf {
    zygote::users::with_uid(getuid().as_raw()).expect("the tests' user has a name").home
}
