//! Many at once: idle connections that cost nothing, threads that share one client, commands that
//! share one lease.
#![expect(clippy::unwrap_used, reason = "a test reports by panicking")]

use nix::sys::resource::{Resource, getrlimit, setrlimit};
use std::fs;
use zyg_protocol::message::{Reply, Request};
use zyg_tests::{Baseline, Raw, Server, Setup};
use zygote_client::Stdio;

/// Connections that are wanted, and descriptors that the test and the server need beside them.
const CROWD: u64 = 10_000;
const SPARE: u64 = 500;

/// Raises this process's descriptor limit to the hard one, and returns how many connections fit.
/// Fewer than wanted are a smaller crowd, and said to be so.
fn crowd_size() -> usize {
    let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
    setrlimit(Resource::RLIMIT_NOFILE, hard, hard).unwrap();
    let size = CROWD.min(hard.saturating_sub(SPARE));
    if size < CROWD {
        eprintln!("only {size} connections: the hard descriptor limit is {hard}");
    }
    usize::try_from(size).unwrap()
}

/// Clock ticks (10 ms each, sysconf(_SC_CLK_TCK)) that the server has spent on a CPU, in user mode
/// and in the kernel (proc_pid_stat(5), the fields utime and stime).
fn ticks(server: &Server) -> u64 {
    let stat = fs::read_to_string(format!("/proc/{}/stat", server.pid())).unwrap();
    let (_, fields) = stat.rsplit_once(") ").unwrap();
    let field = |index: usize| fields.split(' ').nth(index).unwrap().parse::<u64>().unwrap();
    field(11) + field(12)
}

#[test]
fn ten_thousand_idle_connections_cost_nothing_and_leave_nothing() {
    let size = crowd_size();
    let server = Setup::default().config("[profile.default.pool]\nmin = 2\nmax = 8\n").start_warm();
    let baseline = Baseline::of(&server);
    let crowd: Vec<Raw> = (0..size).map(|_| Raw::connect(server.socket())).collect();
    let sessions = || baseline.observer().status().unwrap().sessions as usize;
    zyg_tests::eventually("everybody is in", || (sessions() == size + 1).then_some(()));
    // What an idle crowd costs shows in what one client's requests cost beside it: a loop that
    // looked at everybody in each turn would need a second and more for these.
    let before = ticks(&server);
    for _ in 0..100 {
        sessions();
    }
    let spent = ticks(&server) - before;
    assert!(spent <= 20, "100 requests took {spent} ticks of CPU time beside {size} idle sessions");
    for _ in 0..5 {
        let lease = baseline.observer().lease().unwrap();
        assert!(lease.command("true").status().unwrap().success());
        lease.release().unwrap();
    }
    // Any of them may speak after all.
    for client in crowd.iter().step_by(size / 10) {
        client.say(&Request::Status { request: 1 });
        assert!(matches!(client.reply(), Some(Reply::Status { .. })));
    }
    drop(crowd);
    baseline.assert_restored();
}

#[test]
fn threads_that_share_a_client_do_not_disturb_each_other() {
    const THREADS: usize = 64;
    const LEASES: usize = 20;
    let server = Server::start();
    let baseline = Baseline::of(&server);
    let client = server.client();
    std::thread::scope(|threads| {
        for thread in 0..THREADS {
            let client = &client;
            threads.spawn(move || {
                for round in 0..LEASES {
                    let lease = client.lease().unwrap();
                    // Most only come and go; a command in each would be a test of the machine.
                    if (thread + round) % 8 == 0 {
                        let word = format!("{thread} {round}");
                        let said = lease.command("echo").arg(&word).output().unwrap();
                        assert_eq!(String::from_utf8(said.stdout).unwrap().trim(), word);
                    }
                }
            });
        }
    });
    let served = server.pool().served;
    // One more was served to find the pool warm.
    assert_eq!(served.warm + served.cold, (THREADS * LEASES) as u64 + 1);
    drop(client);
    baseline.assert_restored();
}

#[test]
fn commands_that_share_a_lease_each_get_their_own_end() {
    const LEASES: usize = 8;
    const COMMANDS: u8 = 5;
    let server = Server::start();
    let baseline = Baseline::of(&server);
    let leases: Vec<_> = (0..LEASES).map(|_| baseline.observer().lease().unwrap()).collect();
    std::thread::scope(|threads| {
        for (index, lease) in leases.iter().enumerate() {
            for code in 0..COMMANDS {
                threads.spawn(move || {
                    // Each holds until all of its lease run, so that they do run at once.
                    let script = format!(
                        "touch /tmp/{code}; until [ $(ls /tmp | wc -l) = {COMMANDS} ]; do :; done; \
                         cat; exit {code}"
                    );
                    let mut command = lease.command("sh");
                    command.args(["-c", &script]).stdin(Stdio::piped()).stdout(Stdio::piped());
                    let mut child = command.spawn().unwrap();
                    let word = format!("{index} {code}");
                    std::io::Write::write_all(child.stdin.as_mut().unwrap(), word.as_bytes())
                        .unwrap();
                    let output = child.wait_with_output().unwrap();
                    assert_eq!(output.status.code(), Some(i32::from(code)));
                    assert_eq!(String::from_utf8(output.stdout).unwrap(), word);
                });
            }
        }
    });
    drop(leases);
    baseline.assert_restored();
}
