//! A client is killed outright, at each step of the hand-over: its lease dies, nobody else's.

use crate::shared::{run_forever, wait_settled, with_pool};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::io::{BufRead, BufReader, Read};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use zyg_protocol::message::{Acquire, Bytes, Reply, Request};
use zyg_tests::{Baseline, Echo, Raw, Server, eventually, wait_readable};
use zygote_client::{Client, LeaseOptions};

/// Names the step at which this very program, started once more, is to stay.
const STEP: &str = "ZYG_TEST_VICTIM_STEP";
const SOCKET: &str = "ZYG_TEST_VICTIM_SOCKET";

/// What a victim prints when it is where it should be.
const ARRIVED: &str = "the victim has arrived";

/// The client that is to be killed: this program, started once more by the tests below. Without
/// them it has nothing to do.
#[test]
fn victim() {
    let (Ok(step), Some(socket)) = (std::env::var(STEP), std::env::var_os(SOCKET)) else { return };
    let client = Client::connect(Path::new(&socket)).unwrap();
    client.status().unwrap();
    if step == "connected" {
        return stay();
    }
    if step == "waiting" {
        println!("{ARRIVED}");
    }
    let mut options = LeaseOptions::new();
    if step == "prepared" {
        options.hostname("victim").cwd("/tmp");
    }
    let lease = client.acquire(&options).unwrap();
    match &step[..] {
        "running" => drop(run_forever(&lease)),
        "finished" => assert!(lease.command("true").status().unwrap().success()),
        _ => {}
    }
    stay();
}

/// Says so, and stays until it is killed or whoever started it is gone.
fn stay() {
    println!("{ARRIVED}");
    let _ = std::io::stdin().read_to_end(&mut Vec::new());
}

/// Starts a victim and waits until it is at its step.
fn start_victim(server: &Server, step: &str) -> Child {
    let mut victim = Command::new(std::env::current_exe().unwrap());
    victim.args(["--exact", "client_killed::victim", "--nocapture", "--test-threads=1"]);
    victim.env(STEP, step).env(SOCKET, server.socket());
    victim.stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut victim = victim.spawn().unwrap();
    let mut lines = BufReader::new(victim.stdout.as_mut().unwrap()).lines();
    assert!(
        lines.any(|line| line.unwrap().contains(ARRIVED)),
        "the victim did not get to where it is {step}"
    );
    victim
}

/// A client at that step is killed, while another lease works, and all is as before.
fn killed_while(step: &str) {
    let server = with_pool(1, 3).start_warm();
    let baseline = Baseline::of(&server);
    let lease = baseline.observer().lease().unwrap();
    let mut other = Echo::start(&lease);
    let full: Vec<_> = if step == "waiting" {
        (0..2).map(|_| baseline.observer().lease().unwrap()).collect()
    } else {
        Vec::new()
    };
    let mut victim = start_victim(&server, step);
    match step {
        "waiting" => eventually("a waiter", || (server.pool().waiters == 1).then_some(())),
        "connected" => {}
        _ => assert_eq!(server.pool().leased, 2),
    }
    other.assert_answers();
    victim.kill().unwrap();
    victim.wait().unwrap();
    eventually("the end of what was the victim's", || {
        let pool = server.pool();
        (pool.waiters == 0 && pool.leased == 1 + full.len() as u32).then_some(())
    });
    other.assert_answers();
    drop(full);
    wait_settled(&server, 1);
    other.assert_answers();
    drop((other, lease));
    baseline.assert_restored();
}

#[test]
fn while_it_is_connected() {
    killed_while("connected");
}

#[test]
fn while_it_waits_in_the_queue() {
    killed_while("waiting");
}

#[test]
fn between_the_grant_and_the_command() {
    killed_while("granted");
}

#[test]
fn with_its_environment_prepared() {
    killed_while("prepared");
}

#[test]
fn while_its_command_runs() {
    killed_while("running");
}

#[test]
fn after_its_command_has_ended() {
    killed_while("finished");
}

#[test]
fn zyg_run_takes_its_command_with_it() {
    let server = with_pool(1, 2).start_warm();
    let baseline = Baseline::of(&server);
    let mut run = server.zyg("run");
    run.args(["--", "sh", "-c", "echo up; sleep infinity & wait"]);
    let mut run = run.stdout(Stdio::piped()).spawn().unwrap();
    let mut output = BufReader::new(run.stdout.take().unwrap());
    output.read_line(&mut String::new()).unwrap();
    run.kill().unwrap();
    run.wait().unwrap();
    // At its end once nothing is left that holds it open.
    wait_readable(output.get_ref(), "the end of the command's output");
    assert_eq!(output.read_line(&mut String::new()).unwrap(), 0);
    baseline.assert_restored();
}

#[test]
fn while_its_mounts_are_opened() {
    let server = with_pool(1, 2).start_warm();
    let baseline = Baseline::of(&server);
    let template = crate::shared::template(&server);
    kill(template, Signal::SIGSTOP).unwrap();
    let client = Raw::connect(server.socket());
    let cwd = Some(Bytes::from(server.directory().as_os_str().as_bytes()));
    client.say(&Request::Acquire(Acquire { request: 1, cwd, ..Acquire::default() }));
    client.say(&Request::Status { request: 2 });
    assert!(matches!(client.reply(), Some(Reply::Status { .. })));
    drop(client);
    kill(template, Signal::SIGCONT).unwrap();
    baseline.assert_restored();
}

#[test]
fn a_lease_ends_with_its_session_though_somebody_keeps_the_channel() {
    let server = with_pool(1, 2).start_warm();
    let baseline = Baseline::of(&server);
    let client = Raw::connect(server.socket());
    let lease = client.lease();
    drop(client);
    wait_readable(&lease.pidfd, "the end of the lease");
    assert_eq!(lease.init.from_init(), None);
    baseline.assert_restored();
}

#[test]
fn a_lease_ends_with_its_channel_though_the_session_stays() {
    let server = with_pool(1, 2).start_warm();
    let client = Raw::connect(server.socket());
    let lease = client.lease();
    drop(lease.init);
    wait_readable(&lease.pidfd, "the end of the lease");
    wait_settled(&server, 0);
    // The session is as good as ever.
    let again = client.lease();
    assert_ne!(again.granted.lease, lease.granted.lease);
}

#[test]
fn a_stopped_client_disturbs_nobody() {
    let server = with_pool(1, 3).start_warm();
    let baseline = Baseline::of(&server);
    let mut victim = start_victim(&server, "running");
    kill(Pid::from_raw(victim.id() as i32), Signal::SIGSTOP).unwrap();
    for _ in 0..10 {
        let lease = baseline.observer().lease().unwrap();
        Echo::start(&lease).assert_answers();
        lease.release().unwrap();
    }
    // It has its lease for as long as it lives, stopped or not.
    assert_eq!(server.pool().leased, 1);
    victim.kill().unwrap();
    victim.wait().unwrap();
    baseline.assert_restored();
}
