//! The server that is measured: one of the bench's own, in a directory of its own, which ends with
//! it; or one that the user has named.

use super::interrupt::go_on;
use anyhow::{Context, bail};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::fs::{self, File};
use std::os::fd::OwnedFd;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};
use tempfile::TempDir;
use zygote_client::{Client, PoolStatus};

/// How long a server has to listen, or to end.
const PATIENCE: Duration = Duration::from_secs(20);

/// How long pools may stand still, with something still to be done, before they are given up.
const STUCK: Duration = Duration::from_secs(20);

/// Of a server whose bench was killed: nobody speaks to it any more, and it leaves.
const IDLE_EXIT_MS: u32 = 10_000;

/// A child process that ends with the bench, in a process group of its own: the terminal's Ctrl-C
/// is the bench's to hear, which then ends it in order.
#[derive(Debug)]
pub struct Ended(Child);

impl Ended {
    /// Starts it.
    pub fn start(command: &mut Command) -> std::io::Result<Self> {
        command.process_group(0).spawn().map(Self)
    }

    fn pid(&self) -> Pid {
        Pid::from_raw(self.0.id() as i32)
    }

    fn has_ended(&mut self) -> bool {
        !matches!(self.0.try_wait(), Ok(None))
    }
}

impl Drop for Ended {
    fn drop(&mut self) {
        if self.has_ended() {
            return;
        }
        // Ours and not waited for, so the number is still its own.
        let _ = kill(self.pid(), Signal::SIGTERM);
        let deadline = Instant::now() + PATIENCE;
        while !self.has_ended() {
            if Instant::now() > deadline {
                let _ = self.0.kill();
                let _ = self.0.wait();
            }
            sleep(Duration::from_millis(2));
        }
    }
}

/// What is measured.
#[derive(Debug)]
pub struct Subject {
    /// The program.
    pub zyg: PathBuf,
    /// The server that the user has named.
    pub socket: Option<PathBuf>,
}

impl Subject {
    /// The server that the user has named, else one whose profiles' pools are these.
    pub fn server(&self, pools: &[(&str, &str)]) -> anyhow::Result<Server> {
        match &self.socket {
            Some(socket) => Server::at(socket),
            None => Server::start(&self.zyg, pools),
        }
    }
}

/// A running server.
#[derive(Debug)]
pub struct Server {
    pub client: Client,
    pub socket: PathBuf,
    // Last, so that it ends after whatever speaks to it.
    own: Option<Own>,
}

/// A server of the bench's own.
#[derive(Debug)]
struct Own {
    process: Ended,
    _directory: TempDir,
}

impl Server {
    /// One that is there already.
    fn at(socket: &Path) -> anyhow::Result<Self> {
        Ok(Self { client: Client::connect(socket)?, socket: socket.to_owned(), own: None })
    }

    /// Starts one whose profiles' pools are these, `("default", "min = 4, max = 64")`; every other
    /// setting is the default.
    pub fn start(zyg: &Path, pools: &[(&str, &str)]) -> anyhow::Result<Self> {
        let directory = tempfile::Builder::new().prefix("zyg-bench-").tempdir();
        let directory = directory.context("failed to make a directory")?;
        let [socket, config, log] =
            ["s.sock", "zyg.toml", "log"].map(|name| directory.path().join(name));
        fs::write(&config, configuration(pools)).context("failed to write a configuration")?;
        let log_file = File::create(&log).context("failed to make a log file")?;
        let mut command = Command::new(zyg);
        command.args(["serve", "--socket"]).arg(&socket).arg("--config").arg(&config);
        command.args(["--ends-with", &std::process::id().to_string()]);
        command.env("ZYG_LOG", "warn").env_remove("NOTIFY_SOCKET").env_remove("LISTEN_PID");
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log_file);
        let mut process = Ended::start(&mut command).context("failed to start a server")?;
        let client = connect(&socket, &mut process).with_context(|| said(&log))?;
        Ok(Self { client, socket, own: Some(Own { process, _directory: directory }) })
    }

    /// Waits until every pool is as warm as it is to be and nothing is under way, so that no sample
    /// pays for the one before.
    pub fn settle(&self) -> anyhow::Result<()> {
        self.settle_each(Duration::from_micros(200), |pool| pool.warm >= pool.target)
    }

    /// Waits until no more is to come than has come, with a look at it every `pause`.
    pub fn settle_each(
        &self,
        pause: Duration,
        warm: impl Fn(&PoolStatus) -> bool,
    ) -> anyhow::Result<()> {
        let (mut before, mut since) = (Vec::new(), Instant::now());
        loop {
            let pools = self.client.status()?.profiles;
            // The leases of others' may last.
            let leased = |pool: &PoolStatus| if self.own.is_some() { pool.leased } else { 0 };
            let quiet = |pool: &PoolStatus| leased(pool) + pool.dying + pool.spawning == 0;
            if pools.iter().all(|pool| quiet(pool) && warm(pool)) {
                return Ok(());
            }
            if let Some(reason) = pools.iter().find_map(|pool| pool.failing.as_ref()) {
                bail!("environments cannot be built: {reason}");
            }
            if pools != before {
                (before, since) = (pools, Instant::now());
            } else if since.elapsed() > STUCK {
                let stuck = before.iter().find(|pool| !(quiet(pool) && warm(pool)));
                bail!("{}", stuck.map_or("nothing moves".to_owned(), standstill));
            }
            go_on()?;
            sleep(pause);
        }
    }

    /// CPU time of the server itself so far, as the scheduler has counted it.
    pub fn cpu(&self) -> anyhow::Result<Duration> {
        cpu_of(self.pid()?)
    }

    /// CPU time of everything below it: templates, their stocks, and all zygotes, those that are gone
    /// included.
    pub fn cpu_below(&self) -> anyhow::Result<Duration> {
        cpu_below(self.pid()?)
    }

    fn pid(&self) -> anyhow::Result<Pid> {
        let own = self.own.as_ref().context("another's server does not tell its CPU time")?;
        Ok(own.process.pid())
    }
}

/// What a pool has come to that does not go on.
fn standstill(pool: &PoolStatus) -> String {
    format!(
        "profile {} does not come to rest: {} of {} are warm, {} leased, {} being built, {} ending; too low \
         a limit on descriptors (ulimit -n) or processes (ulimit -u) can be why",
        pool.name, pool.warm, pool.target, pool.leased, pool.spawning, pool.dying
    )
}

fn configuration(pools: &[(&str, &str)]) -> String {
    let mut text = format!("[server]\nidle_exit_ms = {IDLE_EXIT_MS}\ndrain_timeout = \"0s\"\n");
    for (profile, pool) in pools {
        let extends = if *profile == "default" { "" } else { "extends = \"default\"\n" };
        text.push_str(&format!("[profile.{profile}]\n{extends}pool = {{ {pool} }}\n"));
    }
    text
}

fn connect(socket: &Path, process: &mut Ended) -> anyhow::Result<Client> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let error = match Client::connect(socket) {
            Ok(client) => return Ok(client),
            Err(error) => error,
        };
        if process.has_ended() || Instant::now() > deadline {
            return Err(error.into());
        }
        go_on()?;
        sleep(Duration::from_millis(2));
    }
}

/// What the server has to say for itself.
fn said(log: &Path) -> String {
    let text = fs::read_to_string(log).unwrap_or_default();
    let last = text.lines().last().unwrap_or("nothing");
    format!("failed to start a server, which says: {last}")
}

/// In nanoseconds by the scheduler where it keeps count (CONFIG_SCHED_INFO), else in ticks.
fn cpu_of(pid: Pid) -> anyhow::Result<Duration> {
    if let Ok(text) = fs::read_to_string(format!("/proc/{pid}/schedstat"))
        && let Some(ran) = text.split(' ').next().and_then(|ns| ns.parse().ok())
        && ran > 0
    {
        return Ok(Duration::from_nanos(ran));
    }
    ticks(pid, 14)
}

/// Of all that are or were below it; what it has reaped itself is not.
fn cpu_below(pid: Pid) -> anyhow::Result<Duration> {
    let children = format!("/proc/{pid}/task/{pid}/children");
    let children = fs::read_to_string(&children)
        .with_context(|| format!("failed to read {children} (CONFIG_PROC_CHILDREN)"))?;
    let mut sum = Duration::ZERO;
    for child in children.split_whitespace() {
        let child = Pid::from_raw(child.parse().context("a process number is expected")?);
        sum += cpu_of(child)? + cpu_of_the_reaped(child)? + cpu_below(child)?;
    }
    Ok(sum)
}

/// Of the children that it has reaped, and of theirs.
fn cpu_of_the_reaped(pid: Pid) -> anyhow::Result<Duration> {
    ticks(pid, 16)
}

/// The sum of two neighbouring fields of /proc/PID/stat, counted as in proc_pid_stat(5).
fn ticks(pid: Pid, field: usize) -> anyhow::Result<Duration> {
    let path = format!("/proc/{pid}/stat");
    let text = fs::read_to_string(&path).with_context(|| format!("failed to read {path}"))?;
    // The second field is a name in parentheses, with whatever in it; the third follows.
    let fields = text.rsplit_once(')').map_or("", |(_, rest)| rest).split_whitespace();
    let times = fields.skip(field - 3).take(2).filter_map(|ticks| ticks.parse::<u64>().ok());
    let second = nix::unistd::sysconf(nix::unistd::SysconfVar::CLK_TCK)?.unwrap_or(100);
    Ok(Duration::from_secs_f64(times.sum::<u64>() as f64 / second as f64))
}

/// A pidfd whose process is of no interest, to be passed as a grant passes one.
pub fn own_pidfd() -> anyhow::Result<OwnedFd> {
    zygote::process_descriptor(Pid::this()).context("failed to open a pidfd")
}

#[cfg(test)]
mod tests {
    use super::*;
    use zygote::config::Config;

    #[test]
    fn the_configuration_is_one() {
        let text = configuration(&[
            ("default", "min = 4, max = 64, learn = false"),
            ("cold", "min = 0, max = 64, learn = false"),
        ]);
        let directory = TempDir::new().unwrap();
        let file = directory.path().join("zyg.toml");
        fs::write(&file, text).unwrap();
        let config = Config::load(&file).unwrap();
        assert_eq!(config.profiles["default"].pool.min, 4);
        assert_eq!(config.profiles["cold"].pool.min, 0);
        assert_eq!(config.server.drain_timeout, Duration::ZERO);
    }

    #[test]
    fn cpu_time_is_read_and_grows() {
        let me = Pid::this();
        assert!(cpu_of(me).is_ok());
        let before = ticks(me, 14).unwrap();
        let deadline = Instant::now() + PATIENCE;
        while ticks(me, 14).unwrap() <= before {
            assert!(Instant::now() < deadline, "no CPU time in all that time");
        }
        assert!(cpu_of_the_reaped(me).unwrap() < Duration::from_secs(3600));
    }
}
