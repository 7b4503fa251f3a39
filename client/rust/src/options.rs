//! What a lease is asked to be like, checked as far as that is possible on this side.

use std::ffi::OsStr;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::time::Duration;
use zyg_protocol::limits::{
    HOSTNAME_BYTES_MAX, LABEL_BYTES_MAX, MOUNTS_MAX, PATH_BYTES_MAX, PROFILE_NAME_BYTES_MAX,
};
use zyg_protocol::message::{Acquire, Bytes, Mount};

/// What to ask of a lease. All is optional.
///
/// ```no_run
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use std::time::Duration;
/// use zygote_client::{Client, LeaseOptions};
///
/// let client = Client::connect_or_start()?;
/// let lease = client.acquire(
///     LeaseOptions::new()
///         .label("parser::tests::empty_input")
///         .cwd(std::env::current_dir()?)
///         .ro_bind("/srv/fixtures", "/fixtures")
///         .wait(Duration::from_secs(30))
///         .time_limit(Duration::from_secs(120)),
/// )?;
/// # Ok(()) }
/// ```
#[derive(Debug, Clone, Default)]
pub struct LeaseOptions {
    profile: Option<String>,
    wait: Option<Duration>,
    time_limit: Option<Duration>,
    label: String,
    cwd: Option<PathBuf>,
    program: Option<PathBuf>,
    mounts: Vec<Asked>,
    hostname: Option<String>,
}

#[derive(Debug, Clone)]
enum Asked {
    Bind { source: PathBuf, target: PathBuf, read_only: bool },
    Tmpfs { target: PathBuf },
}

/// Why a lease cannot be asked for like this.
#[derive(Debug, thiserror::Error)]
pub enum OptionsError {
    /// A path inside the environment is relative: relative to what?
    #[error("{what} {} is not an absolute path", .path.display())]
    Relative {
        /// Which option.
        what: &'static str,
        /// The path.
        path: PathBuf,
    },
    /// A relative path cannot be made absolute.
    #[error("failed to make {what} {} absolute: {source}", .path.display())]
    Absolute {
        /// Which option.
        what: &'static str,
        /// The path.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Longer or more than may be asked for.
    #[error("{what} is {got} {unit}, more than the {bound} that are allowed")]
    TooMuch {
        /// Which option.
        what: &'static str,
        /// How much it is.
        got: usize,
        /// Of what.
        unit: &'static str,
        /// How much it may be.
        bound: usize,
    },
    /// A zero byte, which neither a path nor a name may hold.
    #[error("{what} holds a zero byte")]
    ZeroByte {
        /// Which option.
        what: &'static str,
    },
    /// A host name without a character.
    #[error("the host name is empty")]
    EmptyHostname,
}

impl LeaseOptions {
    /// Nothing asked: the server's default profile, and neither a working directory nor a mount
    /// besides what the profile shows.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// The profile's name; without it, the server's default one.
    pub fn profile(&mut self, name: impl Into<String>) -> &mut Self {
        self.profile = Some(name.into());
        self
    }

    /// How long to queue when no environment is free, a day at most; without it, for ever. In
    /// whole milliseconds, rounded up. When it is over,
    /// [`Denial::DeadlineExpired`](crate::Denial::DeadlineExpired).
    pub fn wait(&mut self, longest: Duration) -> &mut Self {
        self.wait = Some(longest);
        self
    }

    /// How long after the grant the server ends the lease by itself; without it, never. In whole
    /// milliseconds, rounded up.
    pub fn time_limit(&mut self, longest: Duration) -> &mut Self {
        self.time_limit = Some(longest);
        self
    }

    /// What the lease is for: shown to people, never interpreted. Cut to 256 bytes.
    pub fn label(&mut self, label: impl Into<String>) -> &mut Self {
        self.label = label.into();
        self
    }

    /// A directory to make visible and privately writable; the lease's commands start there unless
    /// told otherwise. A relative path is taken from the caller's working directory.
    pub fn cwd(&mut self, directory: impl AsRef<Path>) -> &mut Self {
        self.cwd = Some(directory.as_ref().to_owned());
        self
    }

    /// A program that is going to be run, whose directory is made visible even where the profile
    /// has a private place, as below `/tmp`. A relative path is taken from the caller's working
    /// directory.
    pub fn program(&mut self, path: impl AsRef<Path>) -> &mut Self {
        self.program = Some(path.as_ref().to_owned());
        self
    }

    /// Shows the host's `source` at `target`, writable: what is written there stays. A relative
    /// source is taken from the caller's working directory. Mounts are made in the order in which
    /// they are asked for.
    pub fn bind(&mut self, source: impl AsRef<Path>, target: impl AsRef<Path>) -> &mut Self {
        self.mount(source.as_ref(), target.as_ref(), false)
    }

    /// Shows the host's `source` at `target`, read-only. See [`LeaseOptions::bind`].
    pub fn ro_bind(&mut self, source: impl AsRef<Path>, target: impl AsRef<Path>) -> &mut Self {
        self.mount(source.as_ref(), target.as_ref(), true)
    }

    /// An empty file system in memory, at `target`.
    pub fn tmpfs(&mut self, target: impl AsRef<Path>) -> &mut Self {
        self.mounts.push(Asked::Tmpfs { target: target.as_ref().to_owned() });
        self
    }

    /// A host name for this lease alone, 64 bytes at most.
    pub fn hostname(&mut self, name: impl Into<String>) -> &mut Self {
        self.hostname = Some(name.into());
        self
    }

    fn mount(&mut self, source: &Path, target: &Path, read_only: bool) -> &mut Self {
        let (source, target) = (source.to_owned(), target.to_owned());
        self.mounts.push(Asked::Bind { source, target, read_only });
        self
    }

    pub(crate) fn asked_hostname(&self) -> Option<&str> {
        self.hostname.as_deref()
    }

    /// The request as it goes out, all but its number.
    pub(crate) fn request(&self) -> Result<Acquire, OptionsError> {
        bounded("the number of mounts", self.mounts.len(), "mounts", MOUNTS_MAX)?;
        if let Some(profile) = &self.profile {
            check_profile(profile)?;
        }
        self.check_hostname()?;
        let host = |what, path: &Option<PathBuf>| {
            path.as_deref().map(|path| host_path(what, path)).transpose()
        };
        Ok(Acquire {
            request: 0,
            profile: self.profile.clone(),
            wait_ms: self.wait.map(milliseconds),
            time_ms: self.time_limit.map(milliseconds),
            label: cut(&self.label, LABEL_BYTES_MAX).to_owned(),
            cwd: host("the working directory", &self.cwd)?,
            program: host("the program", &self.program)?,
            mounts: self.mounts.iter().map(Asked::mount).collect::<Result<_, _>>()?,
        })
    }

    fn check_hostname(&self) -> Result<(), OptionsError> {
        let Some(name) = &self.hostname else { return Ok(()) };
        if name.is_empty() {
            return Err(OptionsError::EmptyHostname);
        }
        if name.contains('\0') {
            return Err(OptionsError::ZeroByte { what: "the host name" });
        }
        bounded("the host name", name.len(), "bytes", HOSTNAME_BYTES_MAX)
    }
}

impl Asked {
    fn mount(&self) -> Result<Mount, OptionsError> {
        Ok(match self {
            Self::Bind { source, target, read_only } => Mount::Bind {
                source: host_path("the mount source", source)?,
                target: inner_path("the mount target", target)?,
                read_only: *read_only,
            },
            Self::Tmpfs { target } => Mount::Tmpfs { target: inner_path("the tmpfs", target)? },
        })
    }
}

/// A path of the host: made absolute, since the server does not share our working directory.
fn host_path(what: &'static str, path: &Path) -> Result<Bytes, OptionsError> {
    let absolute = std::path::absolute(path).map_err(|source| OptionsError::Absolute {
        what,
        path: path.to_owned(),
        source,
    })?;
    path_bytes(what, absolute.as_os_str())
}

/// A path of the environment: there is nothing yet that it could be relative to.
fn inner_path(what: &'static str, path: &Path) -> Result<Bytes, OptionsError> {
    if !path.is_absolute() {
        return Err(OptionsError::Relative { what, path: path.to_owned() });
    }
    path_bytes(what, path.as_os_str())
}

fn path_bytes(what: &'static str, path: &OsStr) -> Result<Bytes, OptionsError> {
    bounded(what, path.len(), "bytes", PATH_BYTES_MAX)?;
    if path.as_bytes().contains(&0) {
        return Err(OptionsError::ZeroByte { what });
    }
    Ok(Bytes::from(path.as_bytes()))
}

/// Whether a profile may have such a name.
pub(crate) fn check_profile(name: &str) -> Result<(), OptionsError> {
    bounded("the profile's name", name.len(), "bytes", PROFILE_NAME_BYTES_MAX)
}

pub(crate) fn bounded(
    what: &'static str,
    got: usize,
    unit: &'static str,
    bound: usize,
) -> Result<(), OptionsError> {
    if got > bound {
        return Err(OptionsError::TooMuch { what, got, unit, bound });
    }
    Ok(())
}

/// How many milliseconds; rounded up, so that a short wait is not none.
pub(crate) fn milliseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos().div_ceil(1_000_000)).unwrap_or(u64::MAX)
}

fn cut(text: &str, bytes_max: usize) -> &str {
    let end = (0..=bytes_max.min(text.len())).rev().find(|&end| text.is_char_boundary(end));
    &text[..end.unwrap_or(0)]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_asked_is_nothing_requested() {
        assert_eq!(LeaseOptions::new().request().unwrap(), Acquire::default());
    }

    #[test]
    fn host_paths_become_absolute_and_inner_paths_must_be() {
        let request = LeaseOptions::new().cwd("here").bind("src", "/dst").request().unwrap();
        let here = std::env::current_dir().unwrap();
        assert_eq!(request.cwd.unwrap(), here.join("here").as_os_str().as_bytes());
        let source = Bytes::from(here.join("src").as_os_str().as_bytes());
        let target = Bytes::from(&b"/dst"[..]);
        assert_eq!(request.mounts, [Mount::Bind { source, target, read_only: false }]);
        let refused = LeaseOptions::new().tmpfs("scratch").request().unwrap_err();
        assert!(matches!(refused, OptionsError::Relative { what: "the tmpfs", .. }));
    }

    #[test]
    fn a_short_wait_is_not_none() {
        let request = LeaseOptions::new()
            .wait(Duration::from_micros(1))
            .time_limit(Duration::MAX)
            .request()
            .unwrap();
        assert_eq!(request.wait_ms, Some(1));
        assert_eq!(request.time_ms, Some(u64::MAX));
    }

    #[test]
    fn a_long_label_is_cut_between_characters() {
        let request = LeaseOptions::new().label("é".repeat(200) + "x").request().unwrap();
        assert_eq!(request.label, "é".repeat(128));
        let request = LeaseOptions::new().label("x".to_owned() + &"é".repeat(200)).request();
        assert_eq!(request.unwrap().label.len(), 255);
    }

    #[test]
    fn what_the_wire_forbids_is_refused_by_name() {
        let refused = LeaseOptions::new().hostname("h".repeat(65)).request().unwrap_err();
        assert_eq!(
            refused.to_string(),
            "the host name is 65 bytes, more than the 64 that are allowed"
        );
        let mut options = LeaseOptions::new();
        for _ in 0..=MOUNTS_MAX {
            options.tmpfs("/x");
        }
        assert!(matches!(options.request(), Err(OptionsError::TooMuch { .. })));
        assert!(LeaseOptions::new().cwd("/a\0b").request().is_err());
        assert!(LeaseOptions::new().hostname("").request().is_err());
    }
}
