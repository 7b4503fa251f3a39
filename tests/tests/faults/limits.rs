//! What a machine allows is used up: descriptors, processes. Refused by name, and nobody who is
//! served already notices.

use crate::shared::{pid_behind, signal, template, wait_settled, with_pool};
use nix::sys::signal::Signal;
use nix::unistd::Pid;
use std::collections::BTreeSet;
use std::fs;
use std::process::Command;
use zyg_protocol::message::{Refusal, Reply, Request};
use zyg_tests::{Baseline, Echo, Raw, Server, connect_as, eventually, is_root, wait_readable};
use zygote_client::{AcquireError, Denial, Lease, LeaseError, RunError};

/// Changes a soft limit of a running process (prlimit(1)), `SOFT:` or `SOFT:HARD`.
fn limit(pid: Pid, option: &str, limit: &str) {
    let mut prlimit = Command::new("prlimit");
    let set = prlimit.arg(format!("--pid={pid}")).arg(format!("--{option}={limit}")).status();
    assert!(set.unwrap().success());
}

/// The denial's reason, once the server knows that it cannot build.
fn wait_failing(server: &Server) -> String {
    eventually("the failure", || server.pool().failing)
}

/// Waits until there is an environment again: the server tries again by itself, less and less
/// often.
fn lease_again(server: &Server) -> Lease {
    eventually("environments again", || server.client().lease().ok())
}

/// Leaves a process room for that many descriptors more. The limit is on their numbers, and the
/// free ones need not be the highest.
fn limit_descriptors(pid: Pid, room: usize) {
    let entries = fs::read_dir(format!("/proc/{pid}/fd")).unwrap();
    let open: BTreeSet<usize> = entries
        .map(|entry| entry.unwrap().file_name().to_str().unwrap().parse().unwrap())
        .collect();
    let first_beyond = (0..).filter(|number| !open.contains(number)).nth(room).unwrap();
    limit(pid, "nofile", &format!("{first_beyond}:"));
}

/// Takes the limit back.
fn unlimit_descriptors(pid: Pid) {
    limit(pid, "nofile", "512:");
}

/// The only warm zygote is gone, and has to be built anew.
fn kill_warm(server: &Server, leased: &Lease) {
    for init in server.processes_named("zyg-init") {
        if init != pid_behind(leased.pidfd()) {
            wait_readable(signal(init, Signal::SIGKILL), "the end of a warm zygote");
        }
    }
}

fn status_of(client: &Raw) -> Option<Reply> {
    client.say(&Request::Status { request: 1 });
    client.reply()
}

#[test]
fn sessions_beyond_the_descriptor_limit_are_refused_by_name() {
    let server = with_pool(1, 2).descriptors(170).start_warm();
    let baseline = Baseline::of(&server);
    let lease = baseline.observer().lease().unwrap();
    let mut echo = Echo::start(&lease);
    let mut idle = Vec::new();
    let limit = loop {
        let client = Raw::connect(server.socket());
        match status_of(&client) {
            Some(Reply::Status { status, .. }) => {
                assert_eq!(status.sessions as usize, idle.len() + 2)
            }
            Some(Reply::Refused(Refusal::TooManySessions { limit })) => break limit,
            other => panic!("{other:?}"),
        }
        idle.push(client);
    };
    // All but the observer's.
    assert_eq!(idle.len() + 1, limit as usize);
    // The next one too, and those that are in go on.
    let refused = server_refuses(&server);
    assert!(refused.contains("too many sessions"), "{refused}");
    assert!(refused.contains("ulimit -n"), "{refused}");
    echo.assert_answers();
    baseline.observer().lease().unwrap().release().unwrap();
    for client in &idle {
        assert!(matches!(status_of(client), Some(Reply::Status { .. })));
    }
    drop((idle, echo, lease));
    baseline.assert_restored();
}

/// One user who opens all that he may keeps no other one out, and all of them not root.
#[test]
fn one_user_does_not_take_all_sessions() {
    if !is_root() {
        eprintln!("NOT SHOWN: it takes root, for only a server of root's serves other users");
        return;
    }
    let server = with_pool(1, 2).descriptors(200).start_warm();
    let fill = |uid| {
        let mut taken = Vec::new();
        loop {
            let client = connect_as(uid, server.socket());
            match status_of(&client) {
                Some(Reply::Refused(Refusal::TooManySessions { limit })) => return (taken, limit),
                Some(Reply::Status { .. }) => taken.push(client),
                other => panic!("{other:?}"),
            }
        }
    };
    let (first, limit) = fill(61_070);
    assert_eq!(first.len(), limit as usize);
    let (second, _) = fill(61_071);
    assert!(!second.is_empty(), "another one finds no place");
    let rest = (61_072..).map(|uid| fill(uid).0).take_while(|taken| !taken.is_empty());
    let rest: Vec<_> = rest.collect();
    drop(server.client().lease().expect("root finds a place"));
    drop(first);
    eventually("a place", || {
        let status = status_of(&connect_as(61_070, server.socket()));
        matches!(status, Some(Reply::Status { .. })).then_some(())
    });
    drop((second, rest));
}

fn server_refuses(server: &Server) -> String {
    zygote_client::Client::connect(server.socket()).unwrap().lease().unwrap_err().to_string()
}

#[test]
fn a_server_without_a_descriptor_left_lets_clients_wait_at_the_door() {
    let server = with_pool(1, 3).start_warm();
    let baseline = Baseline::of(&server);
    let lease = baseline.observer().lease().unwrap();
    let mut echo = Echo::start(&lease);
    wait_settled(&server, 1);
    // Room for three more, and the limit is not known to the server.
    eventually("the end of other sessions", || {
        (baseline.observer().status().unwrap().sessions == 1).then_some(())
    });
    limit_descriptors(server.pid(), 3);
    let mut clients: Vec<_> = (0..6).map(|_| Raw::connect(server.socket())).collect();
    for client in &clients[..3] {
        assert!(matches!(status_of(client), Some(Reply::Status { .. })));
    }
    let status = baseline.observer().status().unwrap();
    assert_eq!(status.sessions, 4);
    echo.assert_answers();
    // What is warm can be had, and nothing that needs a descriptor; it is said why.
    let handed = baseline.observer().lease().unwrap();
    assert!(handed.command("true").status().unwrap().success());
    let refused = baseline.observer().lease().unwrap_err();
    let Err(AcquireError::Denied(Denial::BuildFailing { reason })) = Err::<(), _>(refused) else {
        panic!("another error");
    };
    assert!(reason.contains("descriptor"), "{reason}");
    // As soon as some leave, the others are let in.
    clients.drain(..3);
    for client in &clients {
        assert!(matches!(status_of(client), Some(Reply::Status { .. })));
    }
    echo.assert_answers();
    unlimit_descriptors(server.pid());
    drop(clients);
    drop(handed);
    drop(lease_again(&server));
    drop((echo, lease));
    baseline.assert_restored();
}

#[test]
fn a_zygote_that_the_server_has_no_descriptors_for_is_built_later() {
    let server = with_pool(1, 2).start_warm();
    let baseline = Baseline::of(&server);
    let lease = baseline.observer().lease().unwrap();
    let mut echo = Echo::start(&lease);
    wait_settled(&server, 1);
    eventually("the end of other sessions", || {
        (baseline.observer().status().unwrap().sessions == 1).then_some(())
    });
    let old = template(&server);
    // So low that what the warm zygote's end sets free is of no use to the next one.
    limit(server.pid(), "nofile", "4:");
    kill_warm(&server, &lease);
    let reason = eventually("the failure", || {
        let status = baseline.observer().status().unwrap();
        status.profiles.into_iter().find_map(|pool| pool.failing)
    });
    assert!(reason.contains("descriptor"), "{reason}");
    echo.assert_answers();
    unlimit_descriptors(server.pid());
    drop(lease_again(&server));
    assert_eq!(template(&server), old, "the template is not to blame");
    drop((echo, lease));
    baseline.assert_restored();
}

#[test]
fn a_template_at_its_descriptor_limit_says_so_and_recovers() {
    let server = with_pool(1, 2).start_warm();
    let baseline = Baseline::of(&server);
    let lease = baseline.observer().lease().unwrap();
    let mut echo = Echo::start(&lease);
    wait_settled(&server, 1);
    let template = template(&server);
    limit(template, "nofile", "3:");
    kill_warm(&server, &lease);
    let reason = wait_failing(&server);
    assert!(reason.contains("the descriptor limit is reached: raise ulimit -n"), "{reason}");
    echo.assert_answers();
    unlimit_descriptors(template);
    drop(lease_again(&server));
    drop((echo, lease));
    baseline.assert_restored();
}

#[test]
fn descriptors_beyond_what_a_zygote_may_have_end_its_lease_alone() {
    let server = with_pool(1, 2).descriptors(48).start_warm();
    let baseline = Baseline::of(&server);
    let bystander = baseline.observer().lease().unwrap();
    let mut echo = Echo::start(&bystander);
    let lease = baseline.observer().lease().unwrap();
    let null = || fs::File::open("/dev/null").unwrap();
    let with = |descriptors: i32| {
        let mut command = lease.command("true");
        (3..3 + descriptors).for_each(|number| {
            command.descriptor(number, null());
        });
        command.status()
    };
    assert!(with(20).unwrap().success());
    let refused = with(45).unwrap_err();
    assert!(matches!(refused, RunError::Lease(LeaseError::Ended)), "{refused}");
    echo.assert_answers();
    drop((lease, echo, bystander));
    baseline.assert_restored();
}

#[test]
fn a_user_without_a_process_left_is_told_so_and_recovers() {
    if is_root() {
        // The limit does not hold for root (setrlimit(2), RLIMIT_NPROC); the same test run by an
        // ordinary user shows it.
        return;
    }
    let server = with_pool(1, 2).start_warm();
    let baseline = Baseline::of(&server);
    let lease = baseline.observer().lease().unwrap();
    let mut echo = Echo::start(&lease);
    wait_settled(&server, 1);
    let template = template(&server);
    limit(template, "nproc", "1:");
    kill_warm(&server, &lease);
    let reason = wait_failing(&server);
    assert!(reason.contains("the process limit is reached: raise ulimit -u"), "{reason}");
    match server.client().lease() {
        Err(AcquireError::Denied(Denial::BuildFailing { reason: told })) => {
            assert_eq!(told, reason);
        }
        // A trial was just under way: then it has failed since, and is told so next time.
        other => assert!(other.is_err(), "no environment can be built"),
    }
    echo.assert_answers();
    assert!(lease.command("true").status().unwrap().success());
    limit(template, "nproc", "4096:");
    drop(lease_again(&server));
    drop((echo, lease));
    baseline.assert_restored();
}

#[test]
fn a_template_that_cannot_be_started_for_want_of_processes_says_so() {
    if is_root() {
        // As above: no such limit for root.
        return;
    }
    let server = with_pool(1, 2).start_warm();
    let baseline = Baseline::of(&server);
    limit(server.pid(), "nproc", "1:");
    wait_readable(signal(template(&server), Signal::SIGKILL), "the end of the template");
    let reason = eventually("the failure", || {
        server.pool().failing.filter(|reason| reason.contains("failed to start a template"))
    });
    assert!(reason.contains("the process limit is reached: raise ulimit -u"), "{reason}");
    limit(server.pid(), "nproc", "4096:");
    drop(lease_again(&server));
    baseline.assert_restored();
}
