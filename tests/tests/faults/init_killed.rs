//! A zygote's init is killed: from outside, since nothing inside can.

use crate::shared::{run_forever, signal, with_pool};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use zyg_tests::{Baseline, Server, eventually, soon, wait_readable};
use zygote_client::{AcquireError, LeaseError, LeaseOptions};

/// The only init there is.
fn init(server: &Server) -> Pid {
    match server.processes_named("zyg-init")[..] {
        [init] => init,
        ref others => panic!("not one init but {others:?}"),
    }
}

#[test]
fn a_warm_one_is_replaced() {
    let server = with_pool(1, 2).start_warm();
    let baseline = Baseline::of(&server);
    let killed = init(&server);
    wait_readable(signal(killed, Signal::SIGKILL), "the end of the init");
    eventually("another init", || match server.processes_named("zyg-init")[..] {
        [other] if other != killed => Some(()),
        _ => None,
    });
    baseline.assert_restored();
    assert_eq!(server.pool().failing, None);
}

#[test]
fn a_leased_one_is_missed_at_once_and_its_slot_is_used_again() {
    let server = with_pool(1, 1).start_warm();
    let baseline = Baseline::of(&server);
    let lease = baseline.observer().lease().unwrap();
    let mut child = run_forever(&lease);
    kill(init(&server), Signal::SIGKILL).unwrap();
    let error = soon("the wait", move || child.wait().unwrap_err());
    assert!(matches!(error, LeaseError::Ended), "{error}");
    // While the dead lease is still held: the only slot is free again.
    let next = baseline.observer().lease().unwrap();
    assert!(next.command("true").status().unwrap().success());
    // A late release is nobody else's.
    lease.release().unwrap();
    assert!(next.command("true").status().unwrap().success());
    drop(next);
    baseline.assert_restored();
}

#[test]
fn one_that_prepares_a_lease_is_missed_at_once() {
    let server = with_pool(1, 1).start_warm();
    let baseline = Baseline::of(&server);
    let init = init(&server);
    kill(init, Signal::SIGSTOP).unwrap();
    let client = server.client();
    // Granted without waking init; then asked of init, which is stopped.
    let acquire = std::thread::spawn(move || {
        client.acquire(LeaseOptions::new().hostname("never")).unwrap_err()
    });
    eventually("a lease", || (server.pool().leased == 1).then_some(()));
    assert!(!acquire.is_finished());
    kill(init, Signal::SIGKILL).unwrap();
    let error = soon("the acquire", move || acquire.join().unwrap());
    assert!(matches!(error, AcquireError::Lease(LeaseError::Ended)), "{error}");
    baseline.assert_restored();
}

#[test]
fn a_stopped_one_ends_with_its_lease_all_the_same() {
    let server = with_pool(1, 1).start_warm();
    let baseline = Baseline::of(&server);
    let lease = baseline.observer().lease().unwrap();
    kill(init(&server), Signal::SIGSTOP).unwrap();
    lease.release().unwrap();
    baseline.assert_restored();
}

#[test]
fn a_stopped_one_ends_with_its_lease_though_its_template_is_gone() {
    let server = with_pool(1, 1).start_warm();
    let baseline = Baseline::of(&server);
    let lease = baseline.observer().lease().unwrap();
    kill(init(&server), Signal::SIGSTOP).unwrap();
    let template = crate::shared::template(&server);
    wait_readable(signal(template, Signal::SIGKILL), "the end of the template");
    eventually("the loss is noticed", || server.log().contains("lost the template").then_some(()));
    lease.release().unwrap();
    baseline.assert_restored();
}
