//! What is measured, and how each sample is taken.

use anyhow::{Context, bail};
use std::fs::File;
use std::io::{BufRead, BufReader};
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};
use tempfile::TempDir;
use zyg_protocol::socket;
use zygote_client::{Client, LeaseOptions};

/// Executed by every row that executes something: the cheapest program there is.
const PROGRAM: &str = "/bin/true";

/// Bytes of a message of the raw round trip: those of an acquire.
const MESSAGE: [u8; 48] = [0; 48];

/// One row's name and samples, in microseconds.
pub type Samples = (&'static str, Vec<f64>);

/// A server of the bench's own, an echo to compare with, and what was measured.
pub struct Rows {
    zyg: PathBuf,
    socket: PathBuf,
    client: Client,
    echo: OwnedFd,
    bwrap: bool,
    samples: Vec<Samples>,
    // Last, so that they end after whatever speaks to them.
    _children: Vec<Ended>,
    _directory: TempDir,
}

/// A child process that ends with the bench.
struct Ended(Child);

impl Drop for Ended {
    fn drop(&mut self) {
        // Both end by themselves when their socket closes; the server on SIGTERM only.
        let pid = nix::unistd::Pid::from_raw(self.0.id() as i32);
        let _ = nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGTERM);
        let _ = self.0.wait();
    }
}

impl Rows {
    /// Starts what is measured.
    pub fn set_up() -> anyhow::Result<Self> {
        let zyg = std::env::current_exe().context("failed to find zyg's own program")?;
        let directory = tempfile::Builder::new().prefix("zyg-bench-").tempdir();
        let directory = directory.context("failed to make a directory")?;
        let socket = directory.path().join("s.sock");
        let (echo, echo_child) = start_echo(&zyg)?;
        let server = start_server(&zyg, &socket)?;
        let client = Client::connect(&socket)?;
        let bwrap = Command::new("bwrap")
            .args(bwrap_arguments())
            .stderr(Stdio::null())
            .status()
            .is_ok_and(|status| status.success());
        let _children = vec![Ended(server), Ended(echo_child)];
        let samples = Vec::new();
        Ok(Self { zyg, socket, client, echo, bwrap, samples, _children, _directory: directory })
    }

    /// Takes one sample of each row.
    pub fn round(&mut self, counts: bool) -> anyhow::Result<()> {
        self.sample("seqpacket_rtt", counts, Self::round_trip)?;
        self.sample("spawn_true", counts, |_| spawn(&mut Command::new(PROGRAM)))?;
        let mut held = None;
        self.sample("acquire", counts, |rows| {
            held = Some(rows.client.acquire(&LeaseOptions::new())?);
            Ok(())
        })?;
        drop(held);
        self.sample("acquire_release", counts, |rows| {
            drop(rows.client.acquire(&LeaseOptions::new())?);
            Ok(())
        })?;
        self.sample("exec_true", counts, |rows| {
            let lease = rows.client.acquire(&LeaseOptions::new())?;
            match lease.command(PROGRAM).current_dir("/").status()? {
                status if status.success() => Ok(()),
                status => bail!("{PROGRAM} ended with {status}"),
            }
        })?;
        self.sample("zyg_run_true", counts, |rows| {
            let mut command = Command::new(&rows.zyg);
            command.args(["run", "--socket"]).arg(&rows.socket).args(["--", PROGRAM]);
            spawn(&mut command)
        })?;
        if self.bwrap {
            self.sample("bwrap", counts, |_| spawn(Command::new("bwrap").args(bwrap_arguments())))?;
        }
        Ok(())
    }

    /// Waits for a warm pool, so that no sample pays for the one before, and takes a sample.
    fn sample(
        &mut self,
        name: &'static str,
        counts: bool,
        take: impl FnOnce(&Self) -> anyhow::Result<()>,
    ) -> anyhow::Result<()> {
        self.settle()?;
        let start = Instant::now();
        take(self)?;
        let took = start.elapsed();
        if counts {
            let us = took.as_secs_f64() * 1e6;
            match self.samples.iter_mut().find(|(row, _)| *row == name) {
                Some((_, samples)) => samples.push(us),
                None => self.samples.push((name, vec![us])),
            }
        }
        Ok(())
    }

    fn settle(&self) -> anyhow::Result<()> {
        let deadline = Instant::now() + Duration::from_secs(20);
        loop {
            let status = self.client.status()?;
            let pools = &status.profiles;
            if pools.iter().all(|p| p.warm >= p.target && p.leased + p.dying + p.spawning == 0) {
                return Ok(());
            }
            if let Some(reason) = pools.iter().find_map(|pool| pool.failing.as_ref()) {
                bail!("environments cannot be built: {reason}");
            }
            if Instant::now() > deadline {
                bail!("the pool does not get warm");
            }
            std::thread::yield_now();
        }
    }

    /// The floor of an acquire: as many bytes and descriptors, to a process that does nothing.
    fn round_trip(&self) -> anyhow::Result<()> {
        socket::send(self.echo.as_fd(), &MESSAGE, &[])?;
        let mut buffer = [0; 256];
        let received = socket::receive(self.echo.as_fd(), &mut buffer)?;
        match received.descriptors.len() {
            2 => Ok(()),
            other => bail!("the echo sent {other} descriptors"),
        }
    }

    /// What was measured.
    pub fn into_samples(self) -> Vec<Samples> {
        self.samples
    }
}

fn spawn(command: &mut Command) -> anyhow::Result<()> {
    let status = command.stdin(Stdio::null()).status()?;
    if !status.success() {
        bail!("{command:?} ended with {status}");
    }
    Ok(())
}

fn start_server(zyg: &Path, socket: &Path) -> anyhow::Result<Child> {
    let mut command = Command::new(zyg);
    command.args(["serve", "--socket"]).arg(socket).env("ZYG_LOG", "info");
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
    let mut server = command.spawn().context("failed to start a server")?;
    let stderr = server.stderr.take().context("the server has no standard error")?;
    let mut lines = BufReader::new(stderr).lines();
    for line in lines.by_ref() {
        if line.context("failed to read the server's log")?.contains("listening at") {
            // Read on, so that the server never waits for room in the pipe.
            std::thread::spawn(move || lines.for_each(drop));
            return Ok(server);
        }
    }
    bail!("the server ended before it listened")
}

fn start_echo(zyg: &Path) -> anyhow::Result<(OwnedFd, Child)> {
    let (ours, theirs) = socket::pair().context("failed to make a socket pair")?;
    let mut command = Command::new(zyg);
    command.args(["bench", "--echo"]).stdin(theirs);
    Ok((ours, command.spawn().context("failed to start the echo")?))
}

/// Answers every message on standard input with two descriptors, as a grant has.
pub fn echo() -> anyhow::Result<()> {
    let socket = zygote::inherited_descriptor(0).context("standard input is not open")?;
    let passed = [File::open("/dev/null")?, File::open("/dev/null")?];
    let passed = [passed[0].as_fd(), passed[1].as_fd()];
    let mut buffer = [0; 256];
    while socket::receive(socket.as_fd(), &mut buffer)?.bytes > 0 {
        socket::send(socket.as_fd(), &MESSAGE, &passed)?;
    }
    Ok(())
}

/// bubblewrap with the namespaces that a zygote has, and a comparable view of files.
fn bwrap_arguments() -> [&'static str; 17] {
    [
        "--unshare-user",
        "--unshare-pid",
        "--unshare-net",
        "--unshare-ipc",
        "--unshare-uts",
        "--unshare-cgroup",
        "--ro-bind",
        "/",
        "/",
        "--proc",
        "/proc",
        "--dev",
        "/dev",
        "--tmpfs",
        "/tmp",
        "--",
        PROGRAM,
    ]
}
