//! A zygote is used again if nothing of its lease is left, and never otherwise.

use crate::{Fixture, QUIET, TELLING};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::collections::BTreeSet;
use std::fs;
use std::os::fd::AsRawFd;
use std::process::Command;
use zyg_protocol::message::{Exec, FromInit, Request, Strings, ToInit};
use zyg_tests::{Raw, bytes_of, eventually, wait_readable};
use zygote_client::{Fate, LeaseOptions, PoolStatus};

/// One zygote at a time, so that each lease has the one of the lease before, if it is used again.
const ONE: &str = "[profile.default]\nrecycle = \"whole\"\npool = { min = 1, max = 1 }\n";

impl Fixture {
    /// Waits until a zygote is warm, and returns its init.
    fn init(&self) -> Pid {
        self.server.wait_warm();
        let inits = self.server.processes_named("zyg-init");
        assert_eq!(inits.len(), 1, "{inits:?}");
        inits[0]
    }

    /// Whether the zygote that an act is done in is used again.
    fn is_used_again(&self, code: &str) -> bool {
        let before = self.init();
        self.act(code);
        self.init() == before
    }

    /// Goes on until the zygote is one that may be used again: the first network namespaces are not from
    /// the stock.
    fn settle(&self) -> Pid {
        eventually("a zygote that is used again", || self.is_used_again("").then_some(()));
        self.init()
    }

    /// How many zygotes met a fate, as the status has it when it has one for each lease.
    fn counted(&self, fate: Fate) -> u64 {
        let told = || {
            let PoolStatus { fates, served, .. } = self.server.pool();
            let counts = fates.iter().filter(|(fate, _)| *fate >= Fate::ZygoteRecycled);
            let counted = counts.map(|(_, count)| count).sum::<u64>();
            (counted == served.warm + served.cold).then_some(fates)
        };
        eventually("a fate for each lease", told).of(fate)
    }
}

#[test]
fn it_is_used_again_if_nothing_is_left_and_never_otherwise() {
    let fixture = Fixture::start(ONE);
    fixture.settle();
    for (name, code) in QUIET {
        assert!(fixture.is_used_again(code), "not used again after {name}");
    }
    let mut seen = BTreeSet::new();
    for (name, code) in TELLING {
        fixture.settle();
        let cookie = fixture.cookie_after(name, code);
        assert!(seen.insert(cookie), "{name}: its network was used again before");
        fixture.server.wait_warm();
        assert!(!seen.contains(&fixture.cookie_after("a look", "")), "used again after {name}");
    }
}

#[test]
fn why_one_was_not_used_again_is_counted_and_told() {
    let fixture = Fixture::start(ONE);
    fixture.settle();
    let again = fixture.counted(Fate::ZygoteRecycled);
    let network = fixture.counted(Fate::ZygoteWithNetwork);
    assert!(again > 0);
    assert!(!fixture.is_used_again(
        "socket.socket(socket.AF_INET, socket.SOCK_DGRAM).sendto(b'x', ('127.0.0.1', 9))"
    ));
    assert_eq!(fixture.counted(Fate::ZygoteWithNetwork), network + 1);
    assert_eq!(fixture.counted(Fate::ZygoteRecycled), again);
    let never = [
        Fate::ZygoteNotRenewed,
        Fate::ZygoteWithProcesses,
        Fate::ZygoteWithMounts,
        Fate::ZygoteWithNamespaces,
        Fate::ZygoteUnseen,
    ];
    for fate in never {
        assert_eq!(fixture.counted(fate), 0, "{fate:?}");
    }
}

/// What changes an init, by somebody outside; what it starts would have it from there.
const CHANGES: [(&str, [&str; 4]); 4] = [
    ("a nice value", ["renice", "-n", "5", "-p"]),
    ("a limit", ["prlimit", "--core=0", "--nofile=99:99", "--pid"]),
    ("its processors", ["taskset", "--cpu-list", "--pid", "0"]),
    ("a priority of input and output", ["ionice", "--class=3", "--ignore", "-p"]),
];

/// What a command, whose user id is that of init, may try, and what comes of it.
const ATTEMPTS: [(&str, &str, &str); 4] = [
    ("a nice value", "os.setpriority(os.PRIO_PROCESS, 1, 5)", "EPERM"),
    ("a limit", "resource.prlimit(1, resource.RLIMIT_NOFILE, (99, 99))", "EPERM"),
    ("its processors", "os.sched_setaffinity(1, {max(os.sched_getaffinity(1))})", "EPERM"),
    ("its signals", "[os.kill(1, number) for number in signal.valid_signals()]", "ok"),
];

#[test]
fn one_whose_init_was_changed_is_not_used_again() {
    let fixture = Fixture::start(ONE);
    for (name, [program, arguments @ ..]) in CHANGES {
        let (init, before) = (fixture.settle(), fixture.counted(Fate::ZygoteWithOtherInit));
        let mut change = Command::new(program);
        let change = change.args(arguments).arg(init.to_string()).output().unwrap();
        assert!(change.status.success(), "{name}: {change:?}");
        fixture.act("");
        assert_ne!(fixture.init(), init, "used again after {name}");
        assert_eq!(fixture.counted(Fate::ZygoteWithOtherInit), before + 1, "{name}");
    }
    let init = fixture.settle();
    for (name, code, outcome) in ATTEMPTS {
        assert_eq!(fixture.act(&format!("import resource\n{code}")), outcome, "{name}");
        assert_eq!(fixture.init(), init, "not used again after {name}");
    }
}

/// What survives its parent, its session and every signal that can be survived; with none of the probe's
/// descriptors, whose end others wait for.
const SURVIVORS: &str = "
def survive(act):
    if os.fork():
        return
    os.setsid()
    if os.fork():
        os._exit(0)
    for number in set(signal.Signals) - {signal.SIGKILL, signal.SIGSTOP}:
        signal.signal(number, signal.SIG_IGN)
    os.closerange(0, ready[1])
    os.closerange(ready[1] + 1, 256)
    act()
    os.write(ready[1], b'x')
    os.close(ready[1])
    while True:
        signal.pause()

def stopped():
    if os.fork():
        return
    os.close(ready[1])
    os.kill(os.getpid(), signal.SIGSTOP)

ready = os.pipe()
survive(lambda: None)
survive(stopped)
survive(lambda: unshare(CLONE_NEWUSER | CLONE_NEWPID) or os.fork())
for _ in range(3):
    assert os.read(ready[0], 1) == b'x'
";

const SEEN: &str = "result = len([name for name in os.listdir('/proc') if name.isdigit()])";

#[test]
fn a_command_that_survives_what_it_can_is_gone_when_the_lease_is_over() {
    let fixture = Fixture::start(ONE);
    let init = fixture.settle();
    let alone = fixture.act(SEEN);
    assert_eq!(fixture.init(), init);
    let idle = fixture.server.census().len();
    let lease = fixture.client.lease().unwrap();
    let found = fixture.probe.one_inside(&lease, &format!("{SURVIVORS}{SEEN}"));
    let found: usize = found.parse().unwrap_or_else(|_| panic!("{found}"));
    assert!(found >= alone.parse::<usize>().unwrap() + 4, "the control: {found}, not {alone}");
    assert!(fixture.server.census().len() >= idle + 4, "the control: seen from outside");
    lease.release().unwrap();
    assert!(fixture.server.census().len() <= idle, "something is left when it is said to be over");
    assert_eq!(fixture.init(), init);
    assert_eq!(fixture.act(SEEN), alone);
}

/// Processes that are never the same: each forks another one and exits.
const CHAINS: &str = "
ready = os.pipe()
for _ in range(16):
    if os.fork() == 0:
        os.write(ready[1], b'x')
        os.closerange(0, 256)
        while True:
            if os.fork():
                os._exit(0)
for _ in range(16):
    os.read(ready[0], 1)
result = 'forking'";

#[test]
fn processes_that_fork_faster_than_anybody_looks_are_gone_when_the_lease_is_over() {
    let fixture = Fixture::start(ONE);
    let init = fixture.settle();
    let alone = fixture.act(SEEN);
    assert_eq!(fixture.init(), init);
    let lease = fixture.client.lease().unwrap();
    assert_eq!(fixture.probe.one_inside(&lease, CHAINS), "forking");
    lease.release().unwrap();
    assert_eq!(fixture.init(), init);
    assert_eq!(fixture.act(SEEN), alone);
}

#[test]
fn an_earlier_client_has_nothing_left_to_act_upon() {
    let fixture = Fixture::start(ONE);
    let init = fixture.settle();
    let raw = Raw::connect(fixture.server.socket());
    let lease = raw.lease();
    let exec = || {
        ToInit::Exec(Exec {
            command: 1,
            program: b"true".to_vec().into(),
            argv: Strings::from_iter(["true"]),
            env: Strings::from_iter(["PATH=/usr/bin:/bin"]),
            ..Exec::default()
        })
    };
    lease.init.tell(&exec());
    assert!(matches!(lease.init.from_init(), Some(FromInit::Started { .. })), "the control");
    // Kept open, so that init does not see its client hang up.
    raw.say(&Request::Release { lease: lease.granted.lease });
    wait_readable(&lease.pidfd, "the end of the lease");
    assert_eq!(fixture.init(), init);
    lease.init.send(&bytes_of(&exec()), &[]);
    lease.init.assert_closed::<FromInit>();
    // What tells the end is no name of a process that lives on.
    let info =
        fs::read_to_string(format!("/proc/self/fdinfo/{}", lease.pidfd.as_raw_fd())).unwrap();
    assert!(!info.contains("Pid:"), "{info}");
    // Its number is not that of a later lease either.
    let next = fixture.client.lease().unwrap();
    raw.say(&Request::Release { lease: lease.granted.lease });
    assert_eq!(fixture.probe.one_inside(&next, "result = 'here'"), "here");
    next.release().unwrap();
    assert_eq!(fixture.init(), init);
}

#[test]
fn what_was_asked_for_a_lease_is_not_the_next_ones() {
    let fixture = Fixture::start(ONE);
    let init = fixture.settle();
    let look = "result = json.dumps([socket.gethostname(), os.path.exists('/tmp/asked'), \
                os.path.exists('/tmp/made'), os.getpid(), sorted(os.listdir('/dev/pts'))])";
    let first = fixture.act(look);
    assert_eq!(fixture.init(), init);
    let mut options = LeaseOptions::new();
    options.hostname("zyg-asked").tmpfs("/tmp/asked");
    let lease = fixture.client.acquire(&options).unwrap();
    let found = fixture.probe.one_inside(&lease, &format!("create('/tmp/made')\n{look}"));
    assert!(found.contains("zyg-asked") && found.contains("true"), "the control: {found}");
    lease.release().unwrap();
    assert_eq!(fixture.init(), init);
    assert_eq!(fixture.act(look), first);
    assert_eq!(fixture.init(), init);
}

/// Ends a lease whose zygote cannot be seen to the end, since the stock is stopped.
fn with_one_on_its_way_back(fixture: &Fixture) -> Pid {
    let init = fixture.settle();
    let stock = fixture.stock();
    kill(stock, Signal::SIGSTOP).unwrap();
    fixture.act("");
    eventually("a zygote on its way back", || (fixture.server.pool().spawning == 1).then_some(()));
    assert_eq!(fixture.server.processes_named("zyg-init"), [init]);
    stock
}

#[test]
fn one_on_its_way_back_ends_with_its_template() {
    let fixture = Fixture::start(ONE);
    let init = fixture.settle();
    with_one_on_its_way_back(&fixture);
    let template = fixture.server.processes_named("zyg-template")[0];
    kill(template, Signal::SIGKILL).unwrap();
    eventually("another zygote", || {
        let inits = fixture.server.processes_named("zyg-init");
        (inits.len() == 1 && inits[0] != init).then_some(())
    });
    fixture.settle();
}

#[test]
fn one_on_its_way_back_ends_with_its_stock_and_gives_way_to_who_waits() {
    let fixture = Fixture::start(ONE);
    let stock = with_one_on_its_way_back(&fixture);
    let before = fixture.server.processes_named("zyg-init")[0];
    kill(stock, Signal::SIGKILL).unwrap();
    assert_ne!(fixture.init(), before, "nobody can tell what is left in its network");
    with_one_on_its_way_back(&fixture);
    assert_eq!(fixture.act("result = 'served'"), "served");
}

#[test]
fn a_server_that_drains_does_not_wait_for_one_on_its_way_back() {
    let mut fixture = Fixture::start(ONE);
    with_one_on_its_way_back(&fixture);
    let census = fixture.server.census();
    fixture.server.signal(Signal::SIGTERM);
    assert!(fixture.server.wait().success());
    census.assert_gone();
}
