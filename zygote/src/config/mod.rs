//! The configuration: TOML to profiles, checked whole before any of it is used.
//!
//! This module reads and judges what is written. It does not ask the machine whether a directory or
//! a user exists, and knows nothing of pools or templates: the server hands on what they need.
//!
//! Every complaint names file, line and column, and all complaints are made at once. The way of a
//! file:
//! * `read` walks the document and makes a `draft` of each profile, with the place where each thing
//!   was said; `check`, `paths`, `units` and `capabilities` hold the rules for single values;
//! * `extend` fills each draft in from the profiles that it extends;
//! * `contradictions` judges what is then said together;
//! * `profile` is what comes out: plain values.

mod capabilities;
mod check;
mod contradictions;
mod draft;
mod extend;
mod nearest;
mod paths;
mod profile;
mod read;
#[cfg(test)]
mod tests;
mod units;

pub use profile::{
    Bind, Etc, Home, HostPath, Identity, Limits, Location, Network, Place, PoolSize, Principal,
    Profile, Quota, Recycle, Root, Seccomp, User,
};
pub use units::time;

use std::collections::BTreeMap;
use std::fmt;
use std::fs::File;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// The profile that is used where none is named: the host's files, for tests.
pub const DEFAULT_PROFILE: &str = "default";

/// The built-in profile for code that is not trusted.
pub const STRICT_PROFILE: &str = "strict";

/// The built-in profile that is in the host's network.
pub const NETWORKED_PROFILE: &str = "networked";

/// The built-in profiles as a file would say them, with comments for the reader.
pub const BUILT_IN: &str = include_str!("built_in.toml");

/// Bytes of a configuration file. A thousand profiles fit; a log file given by mistake does not.
pub const FILE_BYTES_MAX: u64 = 1024 * 1024;

/// The highest count that may be configured for zygotes or waiters of one pool. The kernel's own
/// bound on processes is in this region (`kernel.pid_max` is 32,768 on small machines and at most
/// 4,194,304, proc_sys_kernel(5)), and at 97–160 KiB each, so is memory.
pub const COUNT_MAX: u32 = 100_000;

/// What `drain_timeout` is where it is not said: long enough for a test to end, and a third of what
/// systemd leaves to the whole service (`TimeoutStopSec` in systemd/zyg.service).
pub const DRAIN_TIMEOUT: Duration = Duration::from_secs(10);

/// Milliseconds that `idle_exit_ms` may say: a year. Longer is a mistake in units.
pub const IDLE_EXIT_MS_MAX: u64 = 365 * 24 * 60 * 60 * 1000;

/// The longest time that a limit may say: a year. Longer is a mistake in units.
pub const TIME_MAX: Duration = Duration::from_secs(365 * 24 * 60 * 60);

/// The highest size or count that a limit may say: what the kernel's `loff_t` holds.
pub const LIMIT_MAX: u64 = i64::MAX as u64;

/// The highest uid or gid. The one above means none (setresuid(2)).
pub const ID_MAX: u32 = u32::MAX - 1;

/// As whom an id that is not mapped is seen (`kernel.overflowuid`, user_namespaces(7)).
pub const NOBODY: u32 = 65_534;

/// Entries of any list. More than there are system calls; a thousand people are better named by
/// their group.
pub const LIST_MAX: usize = 1024;

/// Paths in one list of a profile. Each is a mount in every zygote.
pub const PATHS_MAX: usize = 64;

/// Bytes of one profile's paths together: with the rest of its recipe they must fit into one message
/// to the template ([`MESSAGE_BYTES_MAX`](zyg_protocol::limits::MESSAGE_BYTES_MAX)).
pub const PATHS_BYTES_MAX: usize = 32 * 1024;

/// Bytes of one profile's `env`, names and values: as [`PATHS_BYTES_MAX`].
pub const ENV_BYTES_MAX: usize = 8 * 1024;

/// Profiles that one may extend, one by the other. Nobody can follow more.
pub const EXTENDS_MAX: usize = 16;

/// All that can be configured.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// What concerns the server as a whole.
    pub server: Server,
    /// By name, the built-in ones among them.
    pub profiles: BTreeMap<String, Profile>,
}

/// `[server]`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Server {
    /// `socket`: where to listen, an absolute path that fits into a socket address; `None` for the
    /// usual place.
    pub socket: Option<PathBuf>,
    /// `socket_mode`: the mode of that socket, permission bits alone; `None` for the usual one. Where
    /// only the group is said, 0660.
    pub socket_mode: Option<u32>,
    /// `socket_group`: the name of the socket's group, which its mode lets in; `None` for the
    /// server's own. Not looked up yet.
    pub socket_group: Option<String>,
    /// `idle_exit_ms`: how long the server stays when there is no session and no lease, at least a
    /// millisecond; `None` for ever.
    pub idle_exit: Option<Duration>,
    /// `drain_timeout`: what SIGTERM leaves to the leases in force before they are ended, from nothing
    /// to a day; [`DRAIN_TIMEOUT`] where it is not said.
    pub drain_timeout: Duration,
    /// `zygotes_max`: zygotes that may exist at once over all profiles and users, dying ones included;
    /// at least 1, `None` for as many as the pools may have. No profile's `min` is above it.
    pub zygotes_max: Option<u32>,
    /// `quota`: what one uid may have over all profiles. What a profile allows each user is bounded by
    /// it and not checked against it, but for what is said to be more.
    pub quota: Quota,
    /// `prefork_for`: names of the users to be warm for from the start. Not looked up yet.
    pub prefork_for: Vec<String>,
}

impl Default for Server {
    /// What holds where `[server]` says nothing.
    fn default() -> Self {
        Self {
            socket: None,
            socket_mode: None,
            socket_group: None,
            idle_exit: None,
            drain_timeout: DRAIN_TIMEOUT,
            zygotes_max: None,
            quota: Quota::default(),
            prefork_for: Vec::new(),
        }
    }
}

impl Default for Config {
    /// What holds without a file: the profiles of [`BUILT_IN`].
    fn default() -> Self {
        Self::parse("", "").expect("what is built in is right")
    }
}

impl Default for Profile {
    /// What holds for a profile that says nothing: [`DEFAULT_PROFILE`] as it is built in.
    fn default() -> Self {
        let mut config = Config::default();
        config.profiles.remove(DEFAULT_PROFILE).expect("it is built in")
    }
}

impl Config {
    /// Reads a file. What it does not say is as in [`Config::default`].
    ///
    /// # Errors
    /// `Read` or `TooLong` if there is nothing to judge, otherwise as [`Config::parse`].
    pub fn load(path: &Path) -> Result<Self, ConfigError> {
        let failed = |source| ConfigError::Read { path: path.to_owned(), source };
        let mut text = String::new();
        let file = File::open(path).map_err(failed)?;
        let bytes = file.take(FILE_BYTES_MAX + 1).read_to_string(&mut text).map_err(failed)?;
        if bytes as u64 > FILE_BYTES_MAX {
            return Err(ConfigError::TooLong { path: path.to_owned() });
        }
        Self::parse(&text, &path.display().to_string())
    }

    /// Reads the file again that a configuration was read from. What can be read only once, as a pipe,
    /// or may have nothing to say for ever, as a FIFO that nobody writes to, is refused.
    ///
    /// # Errors
    /// As [`Self::load`], and `NotAFile`.
    pub fn load_again(path: &Path) -> Result<Self, ConfigError> {
        let found = path.metadata();
        match found.map_err(|source| ConfigError::Read { path: path.to_owned(), source })? {
            metadata if metadata.is_file() => Self::load(path),
            _ => Err(ConfigError::NotAFile { path: path.to_owned() }),
        }
    }

    /// Reads what a file says. `file_name` is for the messages alone.
    ///
    /// # Errors
    /// `Invalid` with all that is wrong; a text that is not TOML is only judged up to its first
    /// mistake.
    pub fn parse(text: &str, file_name: &str) -> Result<Self, ConfigError> {
        let (server, drafts, mut mistakes) = read::text(text, false);
        let profiles = extend::whole(drafts, &server, &mut mistakes);
        if mistakes.is_empty() {
            let finish = |(name, draft): (String, draft::Draft)| (name, draft.finish(&server));
            let profiles = profiles.into_iter().map(finish).collect();
            return Ok(Self { server, profiles });
        }
        mistakes.sort_by_key(|mistake| mistake.offset);
        let lines = read::Lines::of(text);
        let problem = |read::Mistake { offset, message }| {
            let (line, column) = lines.position(offset);
            Problem { file: file_name.to_owned(), line, column, message }
        };
        Err(ConfigError::Invalid { problems: mistakes.into_iter().map(problem).collect() })
    }
}

/// Why there is no configuration.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file cannot be read, or is not UTF-8.
    #[error("failed to read {}: {source}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// The cause.
        source: io::Error,
    },
    /// The file is longer than [`FILE_BYTES_MAX`].
    #[error("failed to read {}: it is longer than {FILE_BYTES_MAX} bytes", path.display())]
    TooLong {
        /// The file.
        path: PathBuf,
    },
    /// It cannot be read again.
    #[error("failed to read {} again: it is not a regular file", path.display())]
    NotAFile {
        /// What it is.
        path: PathBuf,
    },
    /// What is written cannot be used. Displayed as one line for each problem.
    #[error("{}", lines(problems))]
    Invalid {
        /// At least one, in the order of the text.
        problems: Vec<Problem>,
    },
}

/// One thing that is wrong, displayed as `FILE:LINE:COLUMN: message`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// The file's name as it was given.
    pub file: String,
    /// Counted from 1.
    pub line: usize,
    /// Characters, counted from 1.
    pub column: usize,
    /// What is wrong, and what would be right.
    pub message: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { file, line, column, message } = self;
        write!(f, "{file}:{line}:{column}: {message}")
    }
}

fn lines(problems: &[Problem]) -> String {
    problems.iter().map(Problem::to_string).collect::<Vec<_>>().join("\n")
}
