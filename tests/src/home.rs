//! Whose tests these are.

use nix::unistd::{User, getuid};
use std::path::PathBuf;

/// The calling user's home directory, as the server finds it: by the password database, whatever
/// `HOME` says.
#[must_use]
pub fn home() -> PathBuf {
    User::from_uid(getuid()).unwrap().expect("the tests' user has a name").dir
}
