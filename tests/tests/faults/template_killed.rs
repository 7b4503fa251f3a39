//! A template is killed. The rule: what is leased goes on, the rest ends with it, and another one
//! takes its place.

use crate::shared::{pid_behind, signal, template, wait_settled, with_pool};
use nix::sys::signal::Signal;
use nix::unistd::Pid;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use zyg_tests::{Baseline, Census, Echo, Server, eventually, wait_readable};
use zygote_client::{AcquireError, Denial};

/// Kills the template and waits for its end.
fn kill_template(server: &Server) -> Pid {
    let template = template(server);
    wait_readable(signal(template, Signal::SIGKILL), "the end of the template");
    template
}

#[test]
fn what_is_leased_survives_and_what_was_warm_is_replaced() {
    let server = with_pool(2, 4).start_warm();
    let baseline = Baseline::of(&server);
    let lease = baseline.observer().lease().unwrap();
    let mut echo = Echo::start(&lease);
    wait_settled(&server, 1);
    let own = pid_behind(lease.pidfd());
    let warm: Vec<_> = server.processes_named("zyg-init");
    let warm = warm.into_iter().filter(|init| *init != own);
    let warm: Vec<_> = warm.map(|init| zygote::process_descriptor(init).unwrap()).collect();
    assert_eq!(warm.len(), 2);
    let old = kill_template(&server);
    for init in warm {
        wait_readable(init, "the end of a warm zygote");
    }
    wait_settled(&server, 1);
    assert_ne!(template(&server), old);
    assert_eq!(server.pool().failing, None);
    let told = format!("the template (process {old}) died unexpectedly");
    assert!(server.log().contains(&told), "{}", server.log());
    // The survivor is as good as any: what ran goes on, what is new runs.
    echo.assert_answers();
    assert!(lease.command("true").status().unwrap().success());
    let inside = Census::below(own);
    assert_eq!(inside.len(), 1);
    lease.release().unwrap();
    inside.assert_gone();
    baseline.assert_restored();
}

#[test]
fn a_waiter_gets_its_turn_all_the_same() {
    let server = with_pool(1, 1).start_warm();
    let holder = server.client().lease().unwrap();
    let client = server.client();
    let waiter = std::thread::spawn(move || {
        let lease = client.lease().unwrap();
        assert!(lease.command("true").status().unwrap().success());
    });
    eventually("a waiter", || (server.pool().waiters == 1).then_some(()));
    kill_template(&server);
    assert!(holder.command("true").status().unwrap().success());
    drop(holder);
    zyg_tests::soon("the waiter's turn", move || waiter.join().unwrap());
}

#[test]
fn again_and_again_while_leases_are_acquired() {
    let server = with_pool(2, 4).start_warm();
    let baseline = Baseline::of(&server);
    let over = AtomicBool::new(false);
    let granted = AtomicU32::new(0);
    std::thread::scope(|threads| {
        let acquirer = threads.spawn(|| {
            while !over.load(Ordering::Relaxed) {
                match server.client().lease() {
                    // Whatever is granted keeps its promise.
                    Ok(lease) => {
                        assert!(lease.command("true").status().unwrap().success());
                        granted.fetch_add(1, Ordering::Relaxed);
                    }
                    Err(AcquireError::Denied(Denial::BuildFailing { reason })) => {
                        assert!(reason.contains("template"), "{reason}");
                    }
                    Err(error) => panic!("{error}"),
                }
            }
        });
        for _ in 0..5 {
            let before = granted.load(Ordering::Relaxed);
            let more = || (granted.load(Ordering::Relaxed) > before).then_some(());
            eventually("a grant between the faults", || {
                more().or_else(|| acquirer.is_finished().then_some(()))
            });
            kill_template(&server);
        }
        over.store(true, Ordering::Relaxed);
        acquirer.join().unwrap();
    });
    eventually("environments again", || baseline.observer().lease().ok());
    baseline.assert_restored();
}

#[test]
fn while_a_zygote_is_wanted_of_it() {
    let server = with_pool(1, 1).start_warm();
    let baseline = Baseline::of(&server);
    let template = template(&server);
    nix::sys::signal::kill(template, Signal::SIGSTOP).unwrap();
    // Its end is ordered of a template that does nothing any more.
    drop(baseline.observer().lease().unwrap());
    eventually("a dying zygote", || (server.pool().dying == 1).then_some(()));
    kill_template(&server);
    baseline.assert_restored();
}
