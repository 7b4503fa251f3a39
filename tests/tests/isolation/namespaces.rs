//! A namespace of each kind for every lease, and what is in them: processes, host name, IPC.

use std::collections::BTreeSet;
use std::io::Write;
use std::os::unix::process::ExitStatusExt;
use std::process::{Command, Stdio};
use zyg_tests::{Probe, Server};
use zygote_client::{Lease, LeaseOptions};

const KINDS: [&str; 7] = ["user", "pid", "mnt", "net", "ipc", "uts", "cgroup"];

fn namespaces(read: impl Fn(&str) -> String) -> Vec<String> {
    KINDS
        .iter()
        .map(|kind| read(&format!("result = os.readlink('/proc/self/ns/{kind}')")))
        .collect()
}

fn hostname(lease: &Lease) -> String {
    let output = lease.command("uname").arg("-n").current_dir("/").output().unwrap();
    String::from_utf8(output.stdout).unwrap().trim_end().to_owned()
}

#[test]
fn every_lease_has_namespaces_of_its_own() {
    let server = Server::start();
    let client = server.client();
    let (one, two) = (client.lease().unwrap(), client.lease().unwrap());
    let probe = Probe::new();
    let outside = namespaces(|act| probe.one_outside(act));
    let first = namespaces(|act| probe.one_inside(&one, act));
    let second = namespaces(|act| probe.one_inside(&two, act));
    for (index, kind) in KINDS.iter().enumerate() {
        let distinct: BTreeSet<_> = [&outside, &first, &second].map(|all| &all[index]).into();
        assert_eq!(distinct.len(), 3, "{kind}: {distinct:?}");
    }
    // The control: two commands of one lease share all of them.
    assert_eq!(first, namespaces(|act| probe.one_inside(&one, act)));
}

#[test]
fn pid_one_is_init_and_only_own_processes_are_there() {
    let server = Server::start();
    let lease = server.client().lease().unwrap();
    let probe = Probe::new();
    let pids = "result = sorted(int(name) for name in os.listdir('/proc') if name.isdigit()) \
                == [1, os.getppid(), os.getpid()]";
    assert_eq!(probe.one_inside(&lease, pids), "True");
    assert_eq!(probe.one_outside(pids), "False");
    assert_eq!(probe.one_inside(&lease, "result = read('/proc/1/comm').strip()"), "zyg-init");
    let parent = "result = status('PPid', os.getppid())";
    assert_eq!(probe.one_inside(&lease, parent), "1");
}

#[test]
fn processes_of_the_host_cannot_be_seen_or_signalled() {
    let server = Server::start();
    let lease = server.client().lease().unwrap();
    let marker = format!("zyg-marker-{}", std::process::id());
    let mut host = Command::new("sh");
    host.args(["-c", "read line", &marker]).stdin(Stdio::piped());
    let mut host = host.spawn().unwrap();
    let probe = Probe::new().with("marker", marker).with("pid", host.id());
    let look = "result = visible(marker)";
    assert_eq!(probe.one_inside(&lease, look), "hidden");
    assert_eq!(probe.one_outside(look), "visible");
    let signal = "os.kill(pid, 0)";
    assert_eq!(probe.one_inside(&lease, signal), "ESRCH");
    assert_eq!(probe.one_outside(signal), "ok");
    let open = "call('pidfd_open', pid, 0)";
    assert_eq!(probe.one_inside(&lease, open), "ESRCH");
    assert_eq!(probe.one_outside(open), "ok");
    // To everyone that may be signalled: only the environment's own are.
    let (mut resident, _) = probe.resident(&lease, "say('ready'); sys.stdin.read()");
    let everyone = lease.command("sh").args(["-c", "kill -9 -1"]).current_dir("/").status();
    assert!(everyone.unwrap().success());
    assert_eq!(resident.wait().unwrap().signal(), Some(9), "the control");
    writeln!(host.stdin.take().unwrap()).unwrap();
    assert!(host.wait().unwrap().success(), "the host's process has felt a signal");
}

#[test]
fn the_host_name_is_the_leases_own() {
    let server = Server::start();
    let client = server.client();
    let mut options = LeaseOptions::new();
    let named = client.acquire(options.hostname("zyg-named")).unwrap();
    let other = client.lease().unwrap();
    let outside = hostname_outside();
    assert_eq!(hostname(&named), "zyg-named");
    assert_eq!(hostname(&other), outside);
    assert_eq!(hostname_outside(), outside);
    let rename = "check(libc.sethostname(b'x', 1))";
    assert_eq!(Probe::new().one_inside(&other, rename), "EPERM");
    // The control: with the capability, over a namespace of its own, the same call succeeds.
    let own = "nest(CLONE_NEWUTS); check(libc.sethostname(b'x', 1))";
    assert_eq!(Probe::new().one_inside(&other, own), "ok");
    assert_eq!(hostname(&other), outside);
}

fn hostname_outside() -> String {
    let output = Command::new("uname").arg("-n").output().unwrap();
    String::from_utf8(output.stdout).unwrap().trim_end().to_owned()
}

/// Makes one object of each IPC mechanism under a key; `find` looks for them.
const MAKE_IPC: &str = "
EXCLUSIVE = 0o1000 | 0o2000 | 0o600
check(libc.shmget(key, 4096, EXCLUSIVE))
check(libc.semget(key, 1, EXCLUSIVE))
check(libc.msgget(key, EXCLUSIVE))
name = f'/zyg-test-{key}'.encode()
check(libc.mq_open(name, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600, None))
";

const FIND_IPC: [(&str, &str); 4] = [
    ("shared memory", "check(libc.shmget(key, 0, 0))"),
    ("semaphores", "check(libc.semget(key, 0, 0))"),
    ("message queue", "check(libc.msgget(key, 0))"),
    ("POSIX queue", "check(libc.mq_open(f'/zyg-test-{key}'.encode(), os.O_RDWR))"),
];

const REMOVE_IPC: &str = "
check(libc.shmctl(check(libc.shmget(key, 0, 0)), 0, None))
check(libc.semctl(check(libc.semget(key, 0, 0)), 0, 0))
check(libc.msgctl(check(libc.msgget(key, 0)), 0, None))
check(libc.mq_unlink(f'/zyg-test-{key}'.encode()))
";

#[test]
fn ipc_objects_are_the_leases_own() {
    let server = Server::start();
    let client = server.client();
    let (one, two) = (client.lease().unwrap(), client.lease().unwrap());
    let probe = Probe::new().with("key", std::process::id());
    let all = |expected: &str| {
        FIND_IPC.iter().map(|(name, _)| ((*name).to_owned(), expected.to_owned())).collect()
    };
    assert_eq!(probe.one_outside(MAKE_IPC), "ok");
    assert_eq!(probe.outside(&FIND_IPC), all("ok"));
    assert_eq!(probe.inside(&one, &FIND_IPC), all("ENOENT"));
    // The same keys are free in each lease, and what is made there is found there and nowhere else.
    assert_eq!(probe.one_inside(&one, MAKE_IPC), "ok");
    assert_eq!(probe.inside(&one, &FIND_IPC), all("ok"));
    assert_eq!(probe.inside(&two, &FIND_IPC), all("ENOENT"));
    assert_eq!(probe.one_inside(&two, MAKE_IPC), "ok");
    assert_eq!(probe.one_outside(REMOVE_IPC), "ok");
    assert_eq!(probe.outside(&FIND_IPC), all("ENOENT"));
    assert_eq!(probe.inside(&one, &FIND_IPC), all("ok"));
}

#[test]
fn the_cgroup_seen_inside_is_a_root() {
    let server = Server::start();
    let lease = server.client().lease().unwrap();
    let roots = "result = all(line.endswith(':/') for line in read('/proc/self/cgroup').split())";
    assert_eq!(Probe::new().one_inside(&lease, roots), "True");
    let mounted = "result = 'cgroup' in read('/proc/self/mounts')";
    assert_eq!(Probe::new().one_inside(&lease, mounted), "False");
    assert_eq!(Probe::new().one_outside(mounted), "True");
}
