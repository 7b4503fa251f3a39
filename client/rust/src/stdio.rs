//! Where a command's standard input and output come from and go to.

use nix::fcntl::OFlag;
use nix::unistd::pipe2;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::process::{ChildStderr, ChildStdin, ChildStdout};

/// What to connect one of a command's standard streams to; `std::process::Stdio`, whose content
/// cannot be taken out again and so cannot be passed on.
///
/// ```no_run
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let lease = zygote_client::Client::connect_or_start()?.lease()?;
/// use zygote_client::Stdio;
/// let mut child = lease
///     .command("sort")
///     .stdin(std::fs::File::open("names")?)
///     .stdout(Stdio::piped())
///     .stderr(Stdio::null())
///     .spawn()?;
/// let sorted = std::io::read_to_string(child.stdout.take().ok_or("not piped")?)?;
/// # Ok(()) }
/// ```
#[derive(Debug)]
pub struct Stdio(Source);

#[derive(Debug)]
enum Source {
    Inherit,
    Null,
    Piped,
    Descriptor(OwnedFd),
}

impl Stdio {
    /// The caller's own stream.
    #[must_use]
    pub fn inherit() -> Self {
        Self(Source::Inherit)
    }

    /// `/dev/null`.
    #[must_use]
    pub fn null() -> Self {
        Self(Source::Null)
    }

    /// A new pipe, whose other end is in the [`Child`](crate::Child).
    #[must_use]
    pub fn piped() -> Self {
        Self(Source::Piped)
    }
}

macro_rules! from_owner {
    ($($owner:ty),+) => { $(
        impl From<$owner> for Stdio {
            fn from(owner: $owner) -> Self {
                Self(Source::Descriptor(owner.into()))
            }
        }
    )+ };
}
from_owner!(OwnedFd, File, ChildStdin, ChildStdout, ChildStderr);

/// Which of a command's three standard streams.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stream {
    Input,
    Output,
    Error,
}

impl Stream {
    pub(crate) const ALL: [Self; 3] = [Self::Input, Self::Output, Self::Error];

    /// Its descriptor number in the command.
    pub(crate) fn number(self) -> i32 {
        self as i32
    }
}

/// A descriptor on its way to a command: ours to close, or somebody else's.
#[derive(Debug)]
pub(crate) enum Passed<'a> {
    Owned(OwnedFd),
    Borrowed(BorrowedFd<'a>),
}

impl AsFd for Passed<'_> {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Self::Owned(descriptor) => descriptor.as_fd(),
            Self::Borrowed(descriptor) => descriptor.as_fd(),
        }
    }
}

impl Stdio {
    /// The command's end of the stream, and ours where it is a pipe. `inherited` is the caller's
    /// own stream.
    pub(crate) fn connect<'a>(
        &'a self,
        stream: Stream,
        inherited: BorrowedFd<'a>,
    ) -> io::Result<(Passed<'a>, Option<OwnedFd>)> {
        match &self.0 {
            Source::Inherit => Ok((Passed::Borrowed(inherited), None)),
            Source::Descriptor(descriptor) => Ok((Passed::Borrowed(descriptor.as_fd()), None)),
            Source::Null => {
                let input = stream == Stream::Input;
                let null = File::options().read(input).write(!input).open("/dev/null")?;
                Ok((Passed::Owned(null.into()), None))
            }
            Source::Piped => {
                let (read, write) = pipe2(OFlag::O_CLOEXEC)?;
                Ok(match stream {
                    Stream::Input => (Passed::Owned(read), Some(write)),
                    Stream::Output | Stream::Error => (Passed::Owned(write), Some(read)),
                })
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Read, Write};
    use std::os::fd::AsRawFd;

    fn connect(stdio: &Stdio, stream: Stream) -> (File, Option<File>) {
        let inherited = File::open("/dev/null").unwrap();
        let (theirs, ours) = stdio.connect(stream, inherited.as_fd()).unwrap();
        (File::from(theirs.as_fd().try_clone_to_owned().unwrap()), ours.map(File::from))
    }

    #[test]
    fn a_piped_input_is_written_here_and_read_there() {
        let (mut theirs, ours) = connect(&Stdio::piped(), Stream::Input);
        ours.unwrap().write_all(b"in").unwrap();
        let mut content = Vec::new();
        theirs.read_to_end(&mut content).unwrap();
        assert_eq!(content, b"in");
    }

    #[test]
    fn a_piped_output_is_written_there_and_read_here() {
        for stream in [Stream::Output, Stream::Error] {
            let (mut theirs, ours) = connect(&Stdio::piped(), stream);
            theirs.write_all(b"out").unwrap();
            drop(theirs);
            let mut content = Vec::new();
            ours.unwrap().read_to_end(&mut content).unwrap();
            assert_eq!(content, b"out");
        }
    }

    #[test]
    fn null_reads_as_empty_and_swallows_what_is_written() {
        let (mut theirs, ours) = connect(&Stdio::null(), Stream::Input);
        assert!(ours.is_none());
        assert_eq!(theirs.read(&mut [0; 8]).unwrap(), 0);
        assert!(theirs.write(b"x").is_err(), "opened for reading alone");
        let (mut theirs, _) = connect(&Stdio::null(), Stream::Error);
        theirs.write_all(b"x").unwrap();
    }

    #[test]
    fn inheriting_passes_the_callers_own_stream() {
        let inherited = File::open("/dev/null").unwrap();
        let stdio = Stdio::inherit();
        let (theirs, ours) = stdio.connect(Stream::Output, inherited.as_fd()).unwrap();
        assert_eq!(theirs.as_fd().as_raw_fd(), inherited.as_raw_fd());
        assert!(ours.is_none());
    }

    #[test]
    fn a_given_descriptor_is_passed_and_kept() {
        let file = File::open("/dev/null").unwrap();
        let number = file.as_raw_fd();
        let stdio = Stdio::from(file);
        let inherited = File::open("/dev/null").unwrap();
        for _ in 0..2 {
            let (theirs, _) = stdio.connect(Stream::Input, inherited.as_fd()).unwrap();
            assert_eq!(theirs.as_fd().as_raw_fd(), number);
        }
    }
}
