//! A server of one test's own.

use crate::{Census, PATIENCE, eventually};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Instant;
use tempfile::TempDir;
use zygote_client::{Client, PoolStatus};

/// The `zyg` program that was built with the tests: `ZYG_TEST_BIN`, or the one beside the tests.
#[must_use]
pub fn zyg_binary() -> PathBuf {
    if let Some(named) = std::env::var_os("ZYG_TEST_BIN") {
        return named.into();
    }
    let own = std::env::current_exe().unwrap();
    let beside = own.ancestors().skip(1).map(|directory| directory.join("zyg"));
    beside.into_iter().find(|path| path.is_file()).expect("zyg is built: cargo build -p zyg")
}

/// What a server is started with.
#[derive(Debug, Default)]
pub struct Setup {
    config: String,
    arguments: Vec<String>,
    descriptors: Option<u64>,
    first: String,
}

impl Setup {
    /// The TOML of its configuration file.
    #[must_use]
    pub fn config(mut self, toml: &str) -> Self {
        self.config.push_str(toml);
        self
    }

    /// A further argument of `zyg serve`.
    #[must_use]
    pub fn argument(mut self, argument: &str) -> Self {
        self.arguments.push(argument.to_owned());
        self
    }

    /// Its descriptor limit, soft and hard.
    #[must_use]
    pub fn descriptors(mut self, limit: u64) -> Self {
        self.descriptors = Some(limit);
        self
    }

    /// Shell code that runs in the process that is going to be the server: for what it shall be
    /// started with.
    #[must_use]
    pub fn shell(mut self, code: &str) -> Self {
        self.first = code.to_owned();
        self
    }

    /// Starts it and waits until it listens.
    #[must_use]
    pub fn start(self) -> Server {
        let directory = tempfile::Builder::new().prefix("zyg-test-").tempdir().unwrap();
        let socket = directory.path().join("s.sock");
        let config = directory.path().join("zyg.toml");
        fs::write(&config, &self.config).unwrap();
        let log = File::create(directory.path().join("log")).unwrap();
        let mut first = self.first;
        if let Some(limit) = self.descriptors {
            first.push_str(&format!("\nulimit -n {limit}"));
        }
        let mut command = Command::new(zyg_binary());
        if !first.is_empty() {
            command = Command::new("sh");
            command.args(["-c", &format!("{first}\nexec \"$@\""), "sh"]).arg(zyg_binary());
        }
        command.arg("serve").arg("--socket").arg(&socket).arg("--config").arg(&config);
        command.args(&self.arguments).env("ZYG_LOG", "debug");
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
        let mut process = command.spawn().unwrap();
        eventually("listening", || {
            let ended = process.try_wait().unwrap();
            let log = || fs::read_to_string(directory.path().join("log")).unwrap();
            assert!(ended.is_none(), "the server ended at once:\n{}", log());
            Client::connect(&socket).ok()
        });
        Server { process, directory, socket }
    }
}

impl Setup {
    /// Starts it and waits until the default profile's pool is warm for the calling user, as root
    /// after a first request.
    #[must_use]
    pub fn start_warm(self) -> Server {
        let server = self.start();
        drop(server.client().lease().unwrap());
        server.wait_warm();
        server
    }
}

/// A running server. When it is dropped it is stopped, and must leave nothing behind.
#[derive(Debug)]
pub struct Server {
    process: Child,
    directory: TempDir,
    socket: PathBuf,
}

impl Server {
    /// Starts one without a configuration, and waits until its first pool is warm (as root there
    /// is none before the first request, which is made here).
    #[must_use]
    pub fn start() -> Self {
        Setup::default().start_warm()
    }

    /// A client of it.
    #[must_use]
    pub fn client(&self) -> Client {
        Client::connect(&self.socket).unwrap()
    }

    /// Its socket.
    #[must_use]
    pub fn socket(&self) -> &Path {
        &self.socket
    }

    /// A directory of this test's own, gone with the server. Below `/tmp`, in the main, so hidden
    /// from environments unless shown.
    #[must_use]
    pub fn directory(&self) -> &Path {
        self.directory.path()
    }

    /// What it has logged so far.
    #[must_use]
    pub fn log(&self) -> String {
        fs::read_to_string(self.directory.path().join("log")).unwrap()
    }

    /// `zyg VERB` with this server as `ZYG_SOCKET`; arguments are the caller's to add.
    #[must_use]
    pub fn zyg(&self, verb: &str) -> Command {
        let mut command = Command::new(zyg_binary());
        command.arg(verb).env("ZYG_SOCKET", &self.socket).env_remove("ZYG_PROFILE");
        command
    }

    /// The counts of the default profile's pool for the calling user.
    #[must_use]
    pub fn pool(&self) -> PoolStatus {
        let uid = nix::unistd::getuid().as_raw();
        let status = self.client().status().unwrap();
        let mut pools = status.profiles.into_iter();
        pools.find(|pool| pool.uid == uid && pool.name == "default").unwrap_or_default()
    }

    /// Waits until the pool is as warm as it wants to be, nothing is leased, and nothing is dying.
    pub fn wait_warm(&self) {
        eventually("a warm pool", || {
            let pool = self.pool();
            let settled = pool.leased + pool.dying + pool.spawning + pool.waiters == 0;
            (settled && pool.warm >= pool.target && pool.target > 0).then_some(())
        });
    }

    /// Its process number.
    #[must_use]
    pub fn pid(&self) -> Pid {
        Pid::from_raw(self.process.id() as i32)
    }

    /// Whether zygotes of this profile are used again, by its configuration.
    pub(crate) fn uses_again(&self, profile: &str) -> bool {
        let config = fs::read_to_string(self.directory().join("zyg.toml")).unwrap();
        let sections = config.split("\n[").map(|section| section.trim_start_matches('['));
        let mut own = sections.filter(|it| it.starts_with(&format!("profile.{profile}]")));
        own.any(|section| section.contains("recycle = \"whole\""))
    }

    /// The processes that it has started, and their descendants, at this moment.
    #[must_use]
    pub fn census(&self) -> Census {
        Census::below(self.pid())
    }

    /// The processes with this name (`zyg-template`, `zyg-init`) among them.
    #[must_use]
    pub fn processes_named(&self, name: &str) -> Vec<Pid> {
        let named = |pid: &Pid| {
            fs::read_to_string(format!("/proc/{pid}/comm")).is_ok_and(|comm| comm.trim() == name)
        };
        self.census().pids().into_iter().filter(named).collect()
    }

    /// Sends it a signal.
    pub fn signal(&self, signal: Signal) {
        kill(self.pid(), signal).unwrap();
    }

    /// Waits for its end, and that everything it had started is gone.
    pub fn wait(&mut self) -> ExitStatus {
        let start = Instant::now();
        loop {
            if let Some(status) = self.process.try_wait().unwrap() {
                return status;
            }
            assert!(start.elapsed() < PATIENCE, "the server does not end:\n{}", self.log());
            crate::pause();
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if !matches!(self.process.try_wait(), Ok(None)) {
            return;
        }
        let census = self.census();
        if std::thread::panicking() {
            eprintln!("the server's log:\n{}", self.log());
            let _ = self.process.kill();
            let _ = self.process.wait();
            return;
        }
        // At once, whatever is leased.
        self.signal(Signal::SIGINT);
        let status = self.wait();
        // 3 where leases were ended for it.
        let expected = matches!(status.code(), Some(0 | 3));
        assert!(expected, "the server ended with {status}:\n{}", self.log());
        census.assert_gone();
        assert!(!self.socket.exists(), "the server left its socket behind");
    }
}
