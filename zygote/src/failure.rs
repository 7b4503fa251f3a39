//! From an error number to a [`Failure`] that names the step and what it was done to.

use nix::errno::Errno;
use zyg_protocol::message::{Bytes, Failure, Step};

/// Adds the step to an error, so that `?` reports where it happened.
pub(crate) trait At<T>: Sized {
    /// Names the step.
    fn at(self, step: Step) -> Result<T, Failure>;
    /// Names the step and the path or name that it was done to.
    fn at_subject(self, step: Step, subject: impl AsRef<[u8]>) -> Result<T, Failure>;
}

impl<T, E: IntoErrno> At<T> for Result<T, E> {
    fn at(self, step: Step) -> Result<T, Failure> {
        self.map_err(|error| failure(step, &[], error.into_errno()))
    }

    fn at_subject(self, step: Step, subject: impl AsRef<[u8]>) -> Result<T, Failure> {
        self.map_err(|error| failure(step, subject.as_ref(), error.into_errno()))
    }
}

/// The failure of a step.
pub(crate) fn failure(step: Step, subject: &[u8], errno: Errno) -> Failure {
    Failure { step, errno: errno as i32, subject: Bytes::from(subject) }
}

/// The error number behind an error.
pub(crate) trait IntoErrno {
    /// The number; `EIO` where the error has none.
    fn into_errno(self) -> Errno;
}

impl IntoErrno for Errno {
    fn into_errno(self) -> Errno {
        self
    }
}

impl IntoErrno for std::io::Error {
    fn into_errno(self) -> Errno {
        self.raw_os_error().map_or(Errno::EIO, Errno::from_raw)
    }
}
