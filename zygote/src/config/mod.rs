//! The configuration: TOML to profiles, checked whole before any of it is used.
//!
//! This module reads and judges what is written. It does not ask the machine whether a directory or
//! a user exists, and knows nothing of pools or templates: the server hands on what they need.
//!
//! Every complaint names file, line and column, and all complaints are made at once. (`read` walks the
//! document, `check` holds the rules for single values.)

mod check;
mod read;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::fmt;
use std::fs::File;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// The profile that there always is, and that is used where none is named.
pub const DEFAULT_PROFILE: &str = "default";

/// Bytes of a configuration file. A thousand profiles fit; a log file given by mistake does not.
pub const FILE_BYTES_MAX: u64 = 1024 * 1024;

/// The highest count that may be configured for zygotes or waiters of one pool. The kernel's own
/// bound on processes is in this region (`kernel.pid_max` is 32,768 on small machines and at most
/// 4,194,304, proc_sys_kernel(5)), and at 97–160 KiB each, so is memory.
pub const COUNT_MAX: u32 = 100_000;

/// Milliseconds that `idle_exit_ms` may say: a year. Longer is a mistake in units.
pub const IDLE_EXIT_MS_MAX: u64 = 365 * 24 * 60 * 60 * 1000;

/// Writable places of one profile. Each is a mount in every zygote.
pub const WRITABLE_MAX: usize = 64;

/// Bytes of one profile's writable paths together: with the rest of its recipe they must fit into
/// one message to the template ([`MESSAGE_BYTES_MAX`](zyg_protocol::limits::MESSAGE_BYTES_MAX)).
pub const WRITABLE_BYTES_MAX: usize = 32 * 1024;

/// All that can be configured.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// What concerns the server as a whole.
    pub server: Server,
    /// By name. [`DEFAULT_PROFILE`] is always among them.
    pub profiles: BTreeMap<String, Profile>,
}

/// `[server]`
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Server {
    /// `socket`: where to listen, an absolute path that fits into a socket address; `None` for the
    /// usual place.
    pub socket: Option<PathBuf>,
    /// `idle_exit_ms`: how long the server stays when there is no session and no lease, at least a
    /// millisecond; `None` for ever.
    pub idle_exit: Option<Duration>,
    /// `prefork_for`: names of the users to be warm for from the start. Not looked up yet.
    pub prefork_for: Vec<String>,
}

/// `[profile.NAME]`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Profile {
    /// `writable`: what is privately writable, in the order given, each place once.
    pub writable: Vec<Place>,
    /// `hostname`: the host name inside; `None` for the host's own.
    pub hostname: Option<String>,
    /// `pool`: how many.
    pub pool: PoolSize,
}

/// A place that is privately writable.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
    /// An absolute path: not `/`, no `..`, no `.`, no doubled or trailing slash.
    Path(PathBuf),
    /// `~`: the client's home directory.
    Home,
    /// `.`: the client's working directory.
    WorkingDirectory,
}

/// `[profile.NAME.pool]`: bounds for each user served.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PoolSize {
    /// `min`: zygotes to keep warm, not above `max`.
    pub min: u32,
    /// `max`: zygotes that may exist at once, dying ones included; at least 1.
    pub max: u32,
    /// `waiters_max`: acquires that may queue; at least 1.
    pub waiters_max: u32,
}

impl Default for Config {
    /// What holds without a file: the one profile [`DEFAULT_PROFILE`].
    fn default() -> Self {
        let profiles = BTreeMap::from([(DEFAULT_PROFILE.to_owned(), Profile::default())]);
        Self { server: Server::default(), profiles }
    }
}

impl Default for Profile {
    fn default() -> Self {
        let path = |path| Place::Path(PathBuf::from(path));
        Self {
            writable: vec![
                path("/tmp"),
                path("/var/tmp"),
                path("/dev/shm"),
                path("/run"),
                Place::Home,
                Place::WorkingDirectory,
            ],
            hostname: None,
            pool: PoolSize::default(),
        }
    }
}

impl Default for PoolSize {
    fn default() -> Self {
        Self { min: 4, max: 64, waiters_max: 4096 }
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

    /// Reads what a file says. `file_name` is for the messages alone.
    ///
    /// # Errors
    /// `Invalid` with all that is wrong; a text that is not TOML is only judged up to its first
    /// mistake.
    pub fn parse(text: &str, file_name: &str) -> Result<Self, ConfigError> {
        read::config(text).map_err(|mistakes| {
            let problem = |read::Mistake { offset, message }| {
                let (line, column) = read::position(text, offset);
                Problem { file: file_name.to_owned(), line, column, message }
            };
            ConfigError::Invalid { problems: mistakes.into_iter().map(problem).collect() }
        })
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
