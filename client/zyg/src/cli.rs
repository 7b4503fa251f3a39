//! The command line, defined once: parser, help, and whatever is made of them.

use clap::{ArgMatches, Args, CommandFactory, FromArgMatches, Parser, Subcommand};
use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;
use zygote::config::time;

/// Run anything in a fresh, isolated Linux environment, for the price of a ping.
#[derive(Debug, Parser)]
#[command(name = "zyg", version, arg_required_else_help = true)]
pub struct Cli {
    #[command(subcommand)]
    pub verb: Verb,
}

/// `zyg run` alone, for whom to define all other verbs is most of what parsing takes.
#[derive(Debug, Parser)]
#[command(name = "zyg", version)]
struct RunCli {
    #[command(subcommand)]
    verb: RunVerb,
}

#[derive(Debug, Subcommand)]
enum RunVerb {
    Run(Box<Run>),
}

/// What is asked for, with the matches of its verb.
///
/// # Errors
/// Help that was asked for, or a command line that cannot be parsed.
pub fn parse(arguments: &[OsString]) -> Result<(Verb, ArgMatches), clap::Error> {
    let (verb, mut matches) = if arguments.get(1).is_some_and(|verb| verb == "run") {
        let matches = RunCli::command().try_get_matches_from(arguments)?;
        let RunVerb::Run(run) = RunCli::from_arg_matches(&matches)?.verb;
        (Verb::Run(run), matches)
    } else {
        let matches = Cli::command().try_get_matches_from(arguments)?;
        (Cli::from_arg_matches(&matches)?.verb, matches)
    };
    let (_, own) = matches.remove_subcommand().unwrap_or_default();
    Ok((verb, own))
}

#[derive(Debug, Subcommand)]
pub enum Verb {
    Run(Box<Run>),
    Serve(Serve),
    Status(Status),
    Reserve(Reserve),
    Drain(Drain),
    Bench(Bench),
    Doctor(Doctor),
    /// Look at configuration files
    #[command(subcommand)]
    Config(Config),
}

/// Where the server is.
#[derive(Debug, Args)]
pub struct Socket {
    /// The server's socket; without it and ZYG_SOCKET, the system's server, else your own one
    #[arg(long, value_name = "PATH")]
    pub socket: Option<PathBuf>,
}

impl Socket {
    /// The socket that the user has named, by the option or by the variable.
    pub fn named(&self) -> Option<PathBuf> {
        self.socket.clone().or_else(|| variable("ZYG_SOCKET").map(PathBuf::from))
    }
}

/// A variable of the environment. An empty one is as good as none.
fn variable(name: &str) -> Option<OsString> {
    std::env::var_os(name).filter(|value| !value.is_empty())
}

/// Run a command in a fresh environment
///
/// Standard streams, working directory, environment, signals and exit code pass through. Exit
/// codes of zyg's own: 124 timed out, 125 zyg failed, 126 found but not executable, 127 not found.
#[derive(Debug, Args)]
pub struct Run {
    #[command(flatten)]
    pub server: Socket,
    /// The profile, a named recipe of the server's; without it and ZYG_PROFILE, `default`
    #[arg(short, long, value_name = "NAME")]
    pub profile: Option<String>,
    /// Show SRC of the host, writable: changes stay. DST is the same path unless given
    #[arg(long, value_name = "SRC[:DST]")]
    pub bind: Vec<OsString>,
    /// Show SRC of the host, read-only
    #[arg(long, value_name = "SRC[:DST]")]
    pub ro_bind: Vec<OsString>,
    /// An empty, private directory in memory
    #[arg(long, value_name = "DST")]
    pub tmpfs: Vec<OsString>,
    /// Set an environment variable; of several options for one, the last holds
    #[arg(long, value_name = "KEY=VALUE")]
    pub setenv: Vec<OsString>,
    /// Remove an environment variable
    #[arg(long, value_name = "KEY")]
    pub unsetenv: Vec<OsString>,
    /// Start from an empty environment, wherever it stands; --setenv adds to it
    #[arg(long)]
    pub clearenv: bool,
    /// Start in this directory instead of the current one
    #[arg(long, value_name = "DIR")]
    pub chdir: Option<PathBuf>,
    /// A host name for this run alone
    #[arg(long, value_name = "NAME")]
    pub hostname: Option<String>,
    /// Run on a terminal of its own
    #[arg(short, long)]
    pub tty: bool,
    /// End the command after this long: 90, 90s, 500ms, 10m, 1h30m
    #[arg(long, value_name = "TIME", value_parser = limit)]
    pub timeout: Option<Duration>,
    /// Queue this long at most when no environment is free (one's own quota is not waited for)
    #[arg(long, value_name = "TIME", value_parser = duration)]
    pub wait: Option<Duration>,
    /// Write one JSON object a line about start and end of the command to this descriptor
    #[arg(long, value_name = "N")]
    pub json_status_fd: Option<i32>,
    /// Known, and not to be had yet
    #[arg(long, hide = true, value_name = "SIZE")]
    pub memory: Option<OsString>,
    /// Known, and not to be had yet
    #[arg(long, hide = true, value_name = "N")]
    pub cpus: Option<OsString>,
    /// Known, and not to be had yet
    #[arg(long, hide = true, value_name = "N")]
    pub pids_limit: Option<OsString>,
    /// The command and its arguments
    #[arg(required = true, trailing_var_arg = true, value_name = "CMD")]
    pub command: Vec<OsString>,
}

impl Run {
    /// An option that asks for a limit of a cgroup's: rather no run than one without it.
    pub fn limit_of_a_cgroup(&self) -> Option<&'static str> {
        let limits = [
            ("--memory", &self.memory),
            ("--cpus", &self.cpus),
            ("--pids-limit", &self.pids_limit),
        ];
        limits.into_iter().find_map(|(name, value)| value.as_ref().map(|_| name))
    }

    /// The profile that the user has named, by the option or by the variable.
    pub fn profile(&self) -> Option<String> {
        profile(self.profile.as_ref())
    }
}

/// The profile that is named by an option, or else by the variable.
fn profile(option: Option<&String>) -> Option<String> {
    let told = || Some(variable("ZYG_PROFILE")?.to_string_lossy().into_owned());
    option.cloned().or_else(told)
}

/// Run the server in the foreground
///
/// SIGTERM ends it as `zyg drain` does, with the configuration's `drain_timeout` (10s), and the same
/// exit codes: 0 every lease finished by itself, 3 leases were ended, 4 environments are left whose
/// end does not come, 125 zyg failed.
#[derive(Debug, Args)]
pub struct Serve {
    /// Where to listen; without it, what systemd hands in, the configuration's, or as root the
    /// system socket and else your own one
    #[arg(long, value_name = "PATH")]
    pub socket: Option<PathBuf>,
    /// The configuration file (TOML)
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Started by a client for its user alone: detach, and leave after being idle
    #[arg(long, hide = true, requires = "socket")]
    pub private: bool,
    /// The listening socket is standard input
    #[arg(long, hide = true, requires = "socket")]
    pub socket_on_stdin: bool,
    /// How long a private server stays without clients
    #[arg(long, hide = true, default_value = "60000", value_name = "MS")]
    pub idle_exit_ms: u64,
    /// Started by this process, and to end with it
    #[arg(long, hide = true, value_name = "PID")]
    pub ends_with: Option<i32>,
}

/// Show how the pools of a server stand
#[derive(Debug, Args)]
pub struct Status {
    #[command(flatten)]
    pub server: Socket,
    /// As one JSON object
    #[arg(long)]
    pub json: bool,
}

/// Keep environments warm for what is coming
///
/// At least so many for your own user, and more where the pool keeps more anyway, until the time is over;
/// each reservation adds to those that last. Starts your own server if none is there; it stays as long as
/// the reservation does. Exit codes: 0 reserved, 1 they cannot be built, or with --wait fewer are warm in
/// time than were asked for, 125 zyg failed.
#[derive(Debug, Args)]
pub struct Reserve {
    #[command(flatten)]
    pub server: Socket,
    /// The profile; without it and ZYG_PROFILE, `default`
    #[arg(short, long, value_name = "NAME")]
    pub profile: Option<String>,
    /// How many; 0 ends what you have reserved in the profile
    #[arg(value_name = "N")]
    pub count: u32,
    /// For this long, a day at most: 90, 90s, 500ms, 10m, 2h
    #[arg(long = "for", value_name = "TIME", default_value = "10m", value_parser = some_time)]
    pub time: Duration,
    /// Return only when they are warm; give up after this long (60s unless given)
    #[arg(
        long, value_name = "TIME", value_parser = duration,
        num_args = 0..=1, require_equals = true, default_missing_value = "60s"
    )]
    pub wait: Option<Duration>,
    /// As one JSON object
    #[arg(long)]
    pub json: bool,
}

impl Reserve {
    /// The profile that the user has named, by the option or by the variable.
    pub fn profile(&self) -> Option<String> {
        profile(self.profile.as_ref())
    }
}

/// End a server in an orderly way: no new leases, those in force finish
///
/// Waits until it has ended, and says on standard error what became of the leases. Starts no server.
/// Exit codes: 0 every lease finished by itself, 3 leases were ended because the time was over, 4
/// environments are left whose end does not come (a process in an uninterruptible sleep), 125 zyg
/// failed. `zyg serve` exits with the same.
#[derive(Debug, Args)]
pub struct Drain {
    #[command(flatten)]
    pub server: Socket,
    /// End the leases that are left after this long, a day at most; without it, they take their time
    #[arg(long, value_name = "TIME", value_parser = duration)]
    pub timeout: Option<Duration>,
    /// As one JSON object
    #[arg(long)]
    pub json: bool,
}

/// Measure what an environment costs here, beside what it is made of
///
/// Starts a server of its own, and takes the samples of all rows in turn. Floors are what the kernel
/// charges for the parts alone; other programs that isolate are measured where they are found in
/// PATH. Takes about a minute. Exit codes: 0 measured, whatever came out, 125 zyg failed, 130 told to
/// stop.
#[derive(Debug, Args)]
pub struct Bench {
    /// How many samples of each row; a slow row has fewer, and some that are quick
    /// six times as many [default: 300, 40 with --quick]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub rounds: Option<u32>,
    /// A look in ten seconds, with less certainty
    #[arg(long)]
    pub quick: bool,
    /// Only these rows, and what they are put in relation to
    #[arg(long, value_name = "ROW,...", value_delimiter = ',')]
    pub only: Vec<String>,
    /// Which order the rows are taken in
    #[arg(long, value_name = "N", default_value = "1")]
    pub seed: u64,
    /// How many parked environments the memory of one is measured with [default: 1000, 50 with --quick]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub zygotes: Option<u32>,
    /// Measure this server, and not one of the bench's own; without what only that one can tell
    #[arg(long, value_name = "PATH")]
    pub socket: Option<PathBuf>,
    /// Instead: how the costs grow with parked environments, up to 5,000, and with clients, up to 512
    #[arg(long, conflicts_with_all = ["socket", "only", "zygotes", "seed"])]
    pub scale: bool,
    /// As one JSON object
    #[arg(long)]
    pub json: bool,
    /// Draw a picture as well
    #[arg(long, value_name = "FILE")]
    pub svg: Option<PathBuf>,
    /// Be a part of a floor, on standard input
    #[arg(long, hide = true, value_enum, value_name = "ROLE")]
    pub role: Option<crate::bench::Role>,
}

/// Try everything that zyg needs of this machine, and say what is missing and how to mend it
///
/// Each step is done for real, in a process of its own. What zyg cannot do without is MISSING, what
/// it can do without is missing. Exit code 0 if zyg can run here, 1 if not.
#[derive(Debug, Args)]
pub struct Doctor {
    #[command(flatten)]
    pub server: Socket,
    /// As one JSON object
    #[arg(long)]
    pub json: bool,
    /// Do this one step and say how it went
    #[arg(long, hide = true, value_name = "NAME")]
    pub step: Option<String>,
}

#[derive(Debug, Subcommand)]
pub enum Config {
    /// Check a file as a whole, without a server
    Check {
        /// The file
        file: PathBuf,
    },
}

/// A time as in the configuration, or a number of seconds.
fn duration(text: &str) -> Result<Duration, String> {
    let seconds = text.contains(|c: char| c.is_ascii_digit())
        && text.chars().all(|c| c.is_ascii_digit() || c == '.');
    let told =
        || format!("{text:?} is no time: seconds, or a number with ms, s, m, h or d, as in 1h30m");
    let time = if seconds { time(&format!("{text}s")) } else { time(text) };
    time.map_err(|_| told())
}

/// A time for which something is to last.
fn some_time(text: &str) -> Result<Duration, String> {
    not_zero(text, "it would be over at once")
}

/// A time that is to pass before something is ended.
fn limit(text: &str) -> Result<Duration, String> {
    not_zero(
        text,
        "it would end the command before it begins; without the option there is no limit",
    )
}

fn not_zero(text: &str, why: &str) -> Result<Duration, String> {
    duration(text).and_then(|time| if time.is_zero() { Err(why.to_owned()) } else { Ok(time) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
        RunCli::command().debug_assert();
    }

    #[test]
    fn a_run_that_is_parsed_alone_is_parsed_as_among_all_verbs() {
        for arguments in [
            &["run", "--", "x"][..],
            &["run", "-t", "--bind", "/a:/b", "--timeout", "2m", "x", "-y"],
            &["run"],
            &["run", "--help"],
            &["run", "-h"],
            &["run", "--bogus", "x"],
            &["run", "--timeout", "soon", "x"],
        ] {
            let arguments: Vec<OsString> =
                ["zyg"].iter().chain(arguments).map(Into::into).collect();
            let among_all = Cli::try_parse_from(&arguments).map(|cli| format!("{:?}", cli.verb));
            let alone = parse(&arguments).map(|(verb, _)| format!("{verb:?}"));
            let told = |error: clap::Error| error.render().to_string();
            assert_eq!(alone.map_err(told), among_all.map_err(told), "{arguments:?}");
        }
    }

    #[test]
    fn a_duration_has_a_unit_or_is_in_seconds() {
        for (text, ms) in
            [("90", 90_000), ("1.5", 1_500), ("500ms", 500), ("0", 0), ("1h30m", 5_400_000)]
        {
            assert_eq!(duration(text), Ok(Duration::from_millis(ms)), "{text}");
        }
        for text in ["", ".", "s", "-1", "1x", "1e400", "99999999999999999999h"] {
            assert!(duration(text).unwrap_err().contains("seconds"), "{text}");
        }
    }

    #[test]
    fn a_command_has_some_time_or_all_the_time() {
        let told = |time: &str| {
            let parsed = Cli::try_parse_from(["zyg", "run", "--timeout", time, "x"]);
            parsed.err().map(|error| error.to_string())
        };
        assert_eq!(told("1ms"), None);
        for none in ["0", "0s"] {
            assert!(told(none).unwrap().contains("there is no limit"), "{none}");
        }
    }

    fn reserve(arguments: &[&str]) -> Reserve {
        let all = ["zyg", "reserve"].iter().chain(arguments);
        let Verb::Reserve(reserve) = Cli::parse_from(all).verb else { panic!("reserve") };
        reserve
    }

    #[test]
    fn a_reservation_is_for_ten_minutes_and_not_waited_for_unless_told() {
        let plain = reserve(&["8"]);
        assert_eq!((plain.count, plain.time), (8, Duration::from_secs(600)));
        assert_eq!((plain.wait, plain.json), (None, false));
        let told = reserve(&["-p", "strict", "0", "--for", "90s", "--wait=500ms", "--json"]);
        assert_eq!((told.count, told.time), (0, Duration::from_secs(90)));
        assert_eq!((told.wait, told.json), (Some(Duration::from_millis(500)), true));
        assert_eq!(told.profile.as_deref(), Some("strict"));
    }

    #[test]
    fn a_wait_takes_its_time_only_with_an_equals_sign() {
        for arguments in [&["--wait", "8"][..], &["8", "--wait"]] {
            let told = reserve(arguments);
            assert_eq!((told.count, told.wait), (8, Some(Duration::from_secs(60))));
        }
        for wrong in [&["--wait=soon", "8"][..], &["8", "--wait", "9"], &["--for=1w", "8"], &["-1"]]
        {
            let all = ["zyg", "reserve"].iter().chain(wrong);
            assert!(Cli::try_parse_from(all).is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn a_drain_leaves_leases_their_time_unless_told() {
        let drain = |arguments: &[&str]| {
            let all = ["zyg", "drain"].iter().chain(arguments);
            let Verb::Drain(drain) = Cli::parse_from(all).verb else { panic!("drain") };
            drain.timeout
        };
        assert_eq!(drain(&[]), None);
        assert_eq!(drain(&["--timeout", "0"]), Some(Duration::ZERO));
        assert_eq!(drain(&["--timeout", "2m"]), Some(Duration::from_secs(120)));
    }

    #[test]
    fn options_of_the_command_are_the_commands() {
        let cli = Cli::parse_from(["zyg", "run", "-t", "ls", "-t", "--bind"]);
        let Verb::Run(run) = cli.verb else { panic!("run") };
        assert!(run.tty);
        assert_eq!(run.command, ["ls", "-t", "--bind"]);
    }
}
