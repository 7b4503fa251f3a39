//! What another lease of the same profile holds.

use crate::target::{PROGRAM, key, marker};
use crate::{PROFILES, acquire, acts::Profile};
use std::collections::HashSet;
use std::io::{BufRead, BufReader};
use zyg_tests::{Probe, Server};
use zygote_client::Stdio;

/// Acts, and what comes of them where the leases share the host's network.
const REACH: [(&str, &str, bool); 8] = [
    ("port", "socket.create_connection(('127.0.0.1', port)).close()", true),
    ("abstract socket", "socket.socket(socket.AF_UNIX).connect(abstract)", true),
    ("socket", "socket.socket(socket.AF_UNIX).connect(sockets[0])", false),
    ("shared memory", "check(libc.shmget(key, 0, 0))", false),
    ("semaphores", "check(libc.semget(key, 0, 0))", false),
    ("queue", "check(libc.msgget(key, 0))", false),
    ("POSIX queue", "check(libc.mq_open(queue.encode(), os.O_RDWR))", false),
    ("/dev/shm", "os.open(shm, os.O_RDONLY)", false),
];

#[test]
fn what_one_lease_holds_another_does_not_reach() {
    let server = Server::start();
    for profile in PROFILES {
        let (holder, other) = (acquire(&server, profile), acquire(&server, profile));
        let marker = marker();
        let mut command = holder.command(zyg_tests::python());
        command.args(["-ISc", PROGRAM, "/tmp", &marker, &key(&marker).to_string()]);
        command.current_dir("/").stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut target = command.spawn().unwrap();
        let mut line = String::new();
        BufReader::new(target.stdout.as_mut().unwrap()).read_line(&mut line).unwrap();
        let values: serde_json::Map<String, serde_json::Value> =
            serde_json::from_str(&line).unwrap();
        let probe =
            values.into_iter().fold(Probe::new(), |probe, (name, value)| probe.with(&name, value));
        for (what, code, by_network) in REACH {
            assert_eq!(probe.one_inside(&holder, code), "ok", "the control: {what}");
            let shared = by_network && profile == Profile::Networked;
            assert_eq!(
                probe.one_inside(&other, code) == "ok",
                shared,
                "{what}, {}",
                profile.name()
            );
        }
        drop(target.stdin.take());
        assert!(target.wait().unwrap().success());
    }
}

#[test]
fn the_kernel_uid_of_a_strict_lease_cannot_signal_that_of_another() {
    let server = Server::start();
    let leases = [acquire(&server, Profile::Strict), acquire(&server, Profile::Strict)];
    let probe = Probe::new();
    let mapped = "result = read('/proc/self/uid_map').split()[1]";
    let uids =
        leases.each_ref().map(|lease| probe.one_inside(lease, mapped).parse::<u32>().unwrap());
    assert_eq!(HashSet::from(uids).len(), 2, "{uids:?}");
    if !zyg_tests::is_root() {
        // Only root can act as these uids outside: shown by the test as root.
        return;
    }
    let holders =
        leases.each_ref().map(|lease| probe.resident(lease, "say('ready'); sys.stdin.read()").0);
    let of = |uid: u32| {
        let status = |pid: &nix::unistd::Pid| {
            std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default()
        };
        let mut pids = server.census().pids().into_iter();
        pids.find(|pid| status(pid).contains(&format!("Uid:\t{uid}\t{uid}\t"))).unwrap().as_raw()
    };
    let signal = "os.setresgid(uid, uid, uid); os.setresuid(uid, uid, uid); os.kill(pid, 0)";
    let probe = Probe::new().with("uid", uids[0]);
    assert_eq!(probe.clone().with("pid", of(uids[1])).one_outside(signal), "EPERM");
    assert_eq!(probe.with("pid", of(uids[0])).one_outside(signal), "ok", "the control");
    drop(holders);
}

#[test]
fn strict_shows_one_home_and_it_is_empty() {
    let server = Server::start();
    let lease = acquire(&server, Profile::Strict);
    let listed = "result = os.listdir('/home') + os.listdir('/home/user')";
    assert_eq!(Probe::new().one_inside(&lease, listed), "['user']");
    assert_ne!(
        Probe::new().with_path("home", &zyg_tests::home()).one_outside("result = os.listdir(home)"),
        "[]"
    );
}
