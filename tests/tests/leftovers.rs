//! After a busy life of a server, with all that can happen in it: nothing is left behind. No
//! process, descriptor, mount, network namespace, cgroup, socket or file.
#![expect(clippy::unwrap_used, reason = "a test reports by panicking")]

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::collections::BTreeSet;
use std::fs;
use std::io::{BufRead, BufReader};
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::process::Stdio as StdStdio;
use std::time::Duration;
use zyg_tests::{Baseline, Census, Server, Setup, eventually, soon, wait_readable};
use zygote_client::{Child, Client, Lease, LeaseOptions, Stdio, TtySize};

/// Private places in which every lease leaves a file.
const PLACES: [&str; 4] = ["/tmp", "/var/tmp", "/dev/shm", "/run"];

/// What is looked for when all is over.
struct Traces {
    /// The host's mounts before.
    mounts: String,
    /// A name that only this test's leases give to files.
    mark: String,
    /// Network namespaces that leases were in, as the links in /proc name them.
    networks: BTreeSet<String>,
    /// cgroups in which processes of the server's were, that this process is not in.
    cgroups: BTreeSet<String>,
}

impl Traces {
    fn before(server: &Server) -> Self {
        Self {
            mounts: fs::read_to_string("/proc/self/mountinfo").unwrap(),
            mark: format!("left-behind-by-{}", server.pid()),
            networks: BTreeSet::new(),
            cgroups: BTreeSet::new(),
        }
    }

    /// Leaves a file wherever a lease may, and notes its network namespace.
    fn mark(&mut self, lease: &Lease) {
        let script = format!(
            "for place in {}; do echo > $place/{mark} || exit; done; readlink /proc/self/ns/net",
            PLACES.join(" "),
            mark = self.mark
        );
        let output = lease.command("sh").args(["-c", &script]).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        self.networks.insert(String::from_utf8(output.stdout).unwrap().trim().to_owned());
    }

    fn note_cgroups(&mut self, census: &Census) {
        let own: BTreeSet<String> = cgroups_of("self").into_iter().collect();
        let theirs = census.pids().into_iter().flat_map(|pid| cgroups_of(&pid.to_string()));
        self.cgroups.extend(theirs.filter(|cgroup| !own.contains(cgroup)));
    }

    fn assert_gone(&self) {
        assert_eq!(fs::read_to_string("/proc/self/mountinfo").unwrap(), self.mounts);
        for place in PLACES {
            let left = Path::new(place).join(&self.mark);
            assert!(!left.exists(), "{} is left behind", left.display());
        }
        // Others that are being taken down have no server for a moment.
        eventually("the end of every network namespace", || {
            networks_held().is_disjoint(&self.networks).then_some(())
        });
        for cgroup in &self.cgroups {
            for hierarchy in fs::read_dir("/sys/fs/cgroup").into_iter().flatten() {
                let left =
                    PathBuf::from(format!("{}{cgroup}", hierarchy.unwrap().path().display()));
                assert!(!left.exists(), "the cgroup {} is left behind", left.display());
            }
        }
    }
}

/// The paths of a process's cgroups (proc_pid_cgroup(5)).
fn cgroups_of(pid: &str) -> Vec<String> {
    let text = fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap_or_default();
    text.lines().filter_map(|line| Some(line.splitn(3, ':').nth(2)?.to_owned())).collect()
}

/// The network namespaces that some process is in, or holds a descriptor of. Their names are used
/// again, so that processes of other servers, of tests that run at the same time, do not count.
fn networks_held() -> BTreeSet<String> {
    let mut held = BTreeSet::new();
    for entry in fs::read_dir("/proc").unwrap() {
        let process = entry.unwrap().path();
        let name = process.file_name().unwrap().to_str().unwrap();
        let Ok(pid) = name.parse() else { continue };
        if is_below_a_server(Pid::from_raw(pid)) {
            continue;
        }
        let descriptors = fs::read_dir(process.join("fd")).into_iter().flatten();
        let descriptors = descriptors.filter_map(|entry| Some(entry.ok()?.path()));
        let links = descriptors.chain([process.join("ns/net")]);
        let names =
            links.filter_map(|link| fs::read_link(link).ok()?.into_os_string().into_string().ok());
        held.extend(names.filter(|name| name.starts_with("net:")));
    }
    held
}

/// Whether one of its ancestors is a server. Whoever is left behind has none.
fn is_below_a_server(mut pid: Pid) -> bool {
    while let Ok(stat) = fs::read_to_string(format!("/proc/{pid}/stat")) {
        let (name, fields) = stat.rsplit_once(") ").unwrap();
        if name.ends_with("(zyg") {
            return true;
        }
        pid = Pid::from_raw(fields.split(' ').nth(1).unwrap().parse().unwrap());
    }
    false
}

/// Kills processes and waits for their end.
fn kill_all(server: &Server, name: &str) {
    for pid in server.processes_named(name) {
        // One that has ended meanwhile is as gone as it shall be.
        let Ok(pidfd) = zygote::process_descriptor(pid) else { continue };
        let _ = kill(pid, Signal::SIGKILL);
        wait_readable(pidfd, "the end of what was killed");
    }
}

fn run_forever(lease: &Lease) -> Child {
    let mut shell = lease.command("sh");
    // Processes that nobody waits for, in sessions of their own.
    shell.args(["-c", "setsid sleep infinity & setsid sleep infinity & sleep infinity"]);
    shell.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap()
}

/// Leases that end in every way that is the client's.
fn clients_come_and_go(server: &Server, client: &Client, traces: &mut Traces) {
    for round in 0..20 {
        let lease = client.lease().unwrap();
        traces.mark(&lease);
        match round % 4 {
            0 => lease.release().unwrap(),
            1 => drop((run_forever(&lease), lease)),
            2 => {
                let mut child = run_forever(&lease);
                child.kill().unwrap();
                child.wait().unwrap();
            }
            _ => {
                let mut on_terminal = lease.command("cat");
                let child = on_terminal.tty(TtySize { rows: 24, columns: 80 }).spawn().unwrap();
                assert!(child.terminal.is_some());
            }
        }
    }
    // A session of its own, dropped with its leases.
    let other = server.client();
    let leases: Vec<_> = (0..4).map(|_| other.lease().unwrap()).collect();
    let children: Vec<_> = leases.iter().map(run_forever).collect();
    drop(other);
    drop((children, leases));
}

/// Mounts of every kind. What is bound stays: that is the control for all that must not.
fn mounts_are_made(server: &Server, client: &Client, traces: &mut Traces) {
    let shared = server.directory().join("shared");
    fs::create_dir(&shared).unwrap();
    let mut options = LeaseOptions::new();
    options.bind(&shared, "/tmp/shared").ro_bind("/usr", "/tmp/usr").tmpfs("/tmp/memory");
    options.cwd(server.directory()).hostname("busy");
    let lease = client.acquire(&options).unwrap();
    traces.mark(&lease);
    let script = "set -e; echo kept > /tmp/shared/kept; echo > /tmp/memory/gone; echo > gone";
    assert!(lease.command("sh").args(["-c", script]).status().unwrap().success());
    lease.release().unwrap();
    assert_eq!(fs::read_to_string(shared.join("kept")).unwrap(), "kept\n");
    assert!(!server.directory().join("gone").exists());
    fs::remove_dir_all(&shared).unwrap();
}

/// Ends that are not the client's wish: limits of time, and outright kills.
fn faults_happen(server: &Server, client: &Client, traces: &mut Traces) {
    let mut limited = LeaseOptions::new();
    limited.time_limit(Duration::from_millis(200));
    let lease = client.acquire(&limited).unwrap();
    // On a busy machine it may be over before its command has started.
    let mut sleep = lease.command("sleep");
    let child = sleep.arg("infinity").stdin(Stdio::null()).spawn();
    wait_readable(lease.pidfd(), "the time limit");
    drop((child, lease));

    let mut run = server.zyg("run");
    run.args(["--timeout", "100ms", "--", "sleep", "infinity"]);
    assert_eq!(run.status().unwrap().code(), Some(124));

    let mut run = server.zyg("run");
    run.args(["--", "sh", "-c", "setsid sleep infinity & echo up; sleep infinity"]);
    let mut run = run.stdout(StdStdio::piped()).spawn().unwrap();
    let mut output = BufReader::new(run.stdout.take().unwrap());
    output.read_line(&mut String::new()).unwrap();
    run.kill().unwrap();
    run.wait().unwrap();
    wait_readable(output.get_ref().as_fd(), "the end of the command");

    let lease = client.lease().unwrap();
    traces.mark(&lease);
    let mut child = run_forever(&lease);
    kill_all(server, "zyg-template");
    traces.mark(&lease);
    kill_all(server, "zyg-init");
    soon("the end of the lease", move || child.wait().unwrap_err());
    eventually("environments again", || client.lease().ok());
}

/// All that can happen, on one server; afterwards it holds what it held before.
fn be_busy(server: &Server, traces: &mut Traces) {
    let baseline = Baseline::of(server);
    let client = server.client();
    clients_come_and_go(server, &client, traces);
    mounts_are_made(server, &client, traces);
    faults_happen(server, &client, traces);
    drop(client);
    baseline.assert_restored();
}

/// What runs when the end comes.
fn leases_that_run(client: &Client, traces: &mut Traces) -> Vec<(Lease, Child)> {
    let running = |_| {
        let lease = client.lease().unwrap();
        traces.mark(&lease);
        let child = run_forever(&lease);
        (lease, child)
    };
    (0..4).map(running).collect()
}

fn assert_nothing_left(server: &Server, census: Census, traces: &Traces) {
    census.assert_gone();
    traces.assert_gone();
    let sockets = fs::read_to_string("/proc/net/unix").unwrap();
    let path = server.socket().to_str().unwrap();
    assert!(!sockets.lines().any(|line| line.ends_with(path)), "somebody listens at {path}");
}

fn names_in(directory: &Path) -> Vec<String> {
    let entries = fs::read_dir(directory).unwrap();
    let mut names: Vec<_> =
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

fn start() -> (Server, Traces) {
    let server = Setup::default().config("[profile.default.pool]\nmin = 2\nmax = 8\n").start_warm();
    let traces = Traces::before(&server);
    (server, traces)
}

#[test]
fn a_server_that_is_stopped_leaves_nothing() {
    let (mut server, mut traces) = start();
    be_busy(&server, &mut traces);
    let client = server.client();
    let running = leases_that_run(&client, &mut traces);
    let census = server.census();
    assert!(census.len() > running.len());
    traces.note_cgroups(&census);
    // At once, which costs the leases.
    server.signal(Signal::SIGINT);
    assert_eq!(server.wait().code(), Some(3));
    assert_nothing_left(&server, census, &traces);
    assert_eq!(names_in(server.directory()), ["log", "zyg.toml"]);
    drop(running);
}

#[test]
fn a_server_that_is_killed_leaves_its_socket_file_and_nothing_else() {
    let (mut server, mut traces) = start();
    be_busy(&server, &mut traces);
    let client = server.client();
    let running = leases_that_run(&client, &mut traces);
    let census = server.census();
    traces.note_cgroups(&census);
    server.signal(Signal::SIGKILL);
    server.wait();
    assert_nothing_left(&server, census, &traces);
    assert_eq!(names_in(server.directory()), ["log", "s.sock", "zyg.toml"]);
    drop(running);
}

#[test]
fn what_looks_for_network_namespaces_finds_them() {
    let own = fs::read_link("/proc/self/ns/net").unwrap();
    assert!(networks_held().contains(own.to_str().unwrap()));
}
