//! What every bomb is lit in: a server, a bystander, and a way to see that all is as it was.

use nix::unistd::Pid;
use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::os::fd::AsRawFd;
use std::process::{ChildStdin, ChildStdout};
use zyg_tests::{
    Baseline, Census, Probe, Server, Setup, descriptors_of, eventually, wait_readable,
};
use zygote_client::{Child, Lease, LeaseOptions, Stdio};

/// What the bombs are made of, beside the prelude of every probe.
const FUSE: &str = r#"
import ctypes, mmap, resource, threading
held = []

def refused(act, most):
    """Acts again and again, until it is refused or has acted often enough."""
    for count in range(most):
        try:
            act(count)
        except OSError as error:
            return f"{errno.errorcode[error.errno]} {count}"
    return f"none {most}"

def raise_descriptors():
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))

def burn(outcome):
    """Says what came of it, and keeps what it has."""
    say(outcome)
    while True:
        signal.pause()
"#;

/// A server with these profiles, a small default pool, and templates for all of `used`.
pub fn server(profiles: &str, used: &[&str]) -> Server {
    let config = format!("[profile.default.pool]\nmin = 1\nmax = 16\n{profiles}");
    let server = Setup::default().config(&config).start_warm();
    let client = server.client();
    for profile in used {
        client.acquire(LeaseOptions::new().profile(*profile)).unwrap().release().unwrap();
    }
    server
}

/// A profile of which no zygote is kept warm, so that those in a test are counted.
pub fn profile(name: &str, keys: &str, limits: &str) -> String {
    format!("[profile.{name}]\n{keys}\nlimits = {{ {limits} }}\npool = {{ min = 0, max = 8 }}\n")
}

/// Lights `code` under `limits`, where `name` must come of it after at most `most`, twice; and under
/// the default profile, where nothing must.
pub fn assert_limited(limits: &str, code: &str, name: &str, most: usize) {
    let small = profile("small", "", limits);
    let server = server(&small, &["small"]);
    let mut scene = Scene::of(&server, "small");
    let mut first = None;
    for _ in 0..2 {
        let bomb = scene.light(code);
        assert_eq!(bomb.name, name);
        assert!(bomb.count <= most, "{}", bomb.count);
        assert_eq!(*first.get_or_insert(bomb.count), bomb.count, "the next lease has as many");
        scene.assert_unnoticed();
        bomb.end();
    }
    let control = scene.light_under("default", code);
    assert_eq!(control.name, "none", "the control, after {}", control.count);
    control.end();
    scene.assert_restored();
}

/// Where bombs are lit.
pub struct Scene<'a> {
    server: &'a Server,
    baseline: Baseline<'a>,
    before: BTreeMap<Pid, Holdings>,
    bystander: Bystander,
    /// What new leases are asked for with.
    profile: String,
}

/// A bomb that burns.
pub struct Bomb {
    /// Where.
    pub lease: Lease,
    _child: Child,
    /// What it was refused with, or `none`.
    pub name: String,
    /// How often it was not refused.
    pub count: usize,
}

/// Somebody else's lease under the same profile, with a command that answers.
struct Bystander {
    lease: Lease,
    _cat: Child,
    stdin: ChildStdin,
    answers: BufReader<ChildStdout>,
}

/// What a template has, its zygotes not counted.
#[derive(Debug, PartialEq, Eq)]
struct Holdings {
    descriptors: usize,
    mounts: usize,
}

impl<'a> Scene<'a> {
    /// With a bystander under this profile.
    pub fn of(server: &'a Server, profile: &str) -> Self {
        let baseline = Baseline::of(server);
        let before = eventually("templates at rest", || holdings(server));
        let options = LeaseOptions::new().profile(profile).to_owned();
        let lease = baseline.observer().acquire(&options).unwrap();
        let bystander = Bystander::start(lease);
        Self { server, baseline, before, bystander, profile: profile.to_owned() }
    }

    /// The client whose session stays open.
    pub fn observer(&self) -> &zygote_client::Client {
        self.baseline.observer()
    }

    /// Lights a bomb in a lease of its own, under the scene's profile.
    pub fn light(&self, code: &str) -> Bomb {
        self.light_in(LeaseOptions::new().profile(&self.profile), code)
    }

    /// Lights a bomb in a lease with these options.
    pub fn light_in(&self, options: &LeaseOptions, code: &str) -> Bomb {
        let lease = self.observer().acquire(options).unwrap();
        let (child, line) = Probe::new().resident(&lease, &format!("{FUSE}\n{code}"));
        let (name, count) = line.split_once(' ').unwrap_or_else(|| panic!("{line:?}"));
        let count = count.parse().unwrap_or_else(|_| panic!("{line:?}"));
        Bomb { lease, _child: child, name: name.to_owned(), count }
    }

    /// Lights a bomb under another profile: the control.
    pub fn light_under(&self, profile: &str, code: &str) -> Bomb {
        self.light_in(LeaseOptions::new().profile(profile), code)
    }

    /// While a bomb burns: the server answers, the bystander answers and runs commands, and an
    /// environment can be had under the same profile and under the default one.
    pub fn assert_unnoticed(&mut self) {
        assert!(self.observer().status().unwrap().sessions >= 1);
        self.bystander.assert_answers();
        assert!(self.bystander.lease.command("true").status().unwrap().success());
        for profile in [self.profile.as_str(), "default"] {
            let lease = self.observer().acquire(LeaseOptions::new().profile(profile)).unwrap();
            assert!(lease.command("true").status().unwrap().success());
            lease.release().unwrap();
        }
    }

    /// What an act comes to in the bystander's lease.
    pub fn bystander_tries(&self, code: &str) -> String {
        Probe::new().one_inside(&self.bystander.lease, code)
    }

    /// After the bombs: everything is as it was before.
    pub fn assert_restored(self) {
        let Self { server, baseline, before, bystander, .. } = self;
        drop(bystander);
        baseline.assert_restored();
        eventually("templates that hold what they held", || {
            (holdings(server)? == before).then_some(())
        });
        eventually("the end of all but templates and inits", || {
            let own = ["zyg-template", "zyg-stock", "zyg-init"]
                .map(|name| server.processes_named(name).len());
            (server.census().len() == own.iter().sum::<usize>()).then_some(())
        });
    }
}

impl Bomb {
    /// Gives its lease back, and sees it go: an init is the last of its pid namespace.
    pub fn end(self) {
        self.lease.release().unwrap();
    }

    /// The processes of its lease, init not among them.
    pub fn processes(&self) -> usize {
        Census::numbers_below(self.init()).len()
    }

    fn init(&self) -> Pid {
        let info = format!("/proc/self/fdinfo/{}", self.lease.pidfd().as_raw_fd());
        let info = fs::read_to_string(info).unwrap();
        let pid = info.lines().find_map(|line| line.strip_prefix("Pid:")).unwrap();
        Pid::from_raw(pid.trim().parse().unwrap())
    }
}

impl Bystander {
    fn start(lease: Lease) -> Self {
        let mut cat = lease.command("cat");
        let mut cat = cat.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let (stdin, stdout) = (cat.stdin.take().unwrap(), cat.stdout.take().unwrap());
        Self { lease, _cat: cat, stdin, answers: BufReader::new(stdout) }
    }

    fn assert_answers(&mut self) {
        self.stdin.write_all(b"are you there?\n").unwrap();
        wait_readable(self.answers.get_ref(), "an answer");
        let mut answer = String::new();
        self.answers.read_line(&mut answer).unwrap();
        assert_eq!(answer, "are you there?\n");
    }
}

/// What each template has, unless one is about to clone. Its stock of network namespaces may come at
/// any time, with a pidfd and two links.
fn holdings(server: &Server) -> Option<BTreeMap<Pid, Holdings>> {
    let templates = server.processes_named("zyg-template").into_iter();
    let of = |template: Pid| {
        let stocks = server.processes_named("zyg-stock");
        let stocks = Census::numbers_below(template).into_iter().filter(|pid| stocks.contains(pid));
        let descriptors = descriptors_of(template) - 3 * stocks.count();
        let mounts = fs::read_to_string(format!("/proc/{template}/mountinfo")).unwrap();
        let in_tree = mounts.contains(" - tmpfs zyg ");
        (!in_tree).then(|| (template, Holdings { descriptors, mounts: mounts.lines().count() }))
    };
    templates.map(of).collect()
}
