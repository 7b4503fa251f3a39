//! A system call filter around it.

use crate::said::{Place, Said};
use nix::libc;
use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter,
    SeccompRule, apply_filter,
};
use std::fs;

/// Runs it under a filter that answers in this way to who wants a user namespace. It is inherited
/// from a thread of its own, so that nobody else gets it.
fn filtered(action: SeccompAction) -> Said {
    let place = Place::make();
    let run = move || {
        let flag = libc::CLONE_NEWUSER as u64;
        let operator = SeccompCmpOp::MaskedEq(flag);
        let wanted = SeccompCondition::new(0, SeccompCmpArgLen::Qword, operator, flag).unwrap();
        let rules = vec![SeccompRule::new(vec![wanted]).unwrap()];
        install(&[(libc::SYS_unshare, rules.clone()), (libc::SYS_clone, rules)], action);
        // As in Docker: what cannot be looked into does not exist.
        install(&[(libc::SYS_clone3, Vec::new())], SeccompAction::Errno(libc::ENOSYS as u32));
        Said::by(&mut place.through("env", &[]))
    };
    std::thread::spawn(run).join().unwrap()
}

fn install(rules: &[(i64, Vec<SeccompRule>)], action: SeccompAction) {
    let architecture = std::env::consts::ARCH.try_into().unwrap();
    let rules = rules.iter().cloned().collect();
    let filter = SeccompFilter::new(rules, SeccompAction::Allow, action, architecture).unwrap();
    let program: BpfProgram = filter.try_into().unwrap();
    apply_filter(&program).unwrap();
}

/// What is said of a filter: of the container's, where pid 1 has one too, in other words.
fn filter_fix() -> Option<&'static str> {
    let init = fs::read_to_string("/proc/1/status").unwrap();
    init.contains("\nSeccomp:\t0\n").then_some(
        "start zyg without that filter: a systemd unit must not set RestrictNamespaces= or \
         SystemCallFilter=",
    )
}

#[test]
fn a_filter_is_named() {
    let said = filtered(SeccompAction::Errno(libc::EPERM as u32));
    let fix = said.step("user-namespace")["fix"].as_str().unwrap().to_owned();
    said.assert_fatal("user-namespace", "seccomp", filter_fix().unwrap_or(&fix));
    assert!(said.step("user-namespace")["detail"].as_str().unwrap().contains("seccomp"));
    said.assert_ok(&["kernel", "seccomp", "no-new-privs", "descriptors"]);
}

#[test]
fn a_filter_that_kills_is_named_too() {
    let said = filtered(SeccompAction::KillProcess);
    let fix = said.step("user-namespace")["fix"].as_str().unwrap().to_owned();
    said.assert_fatal("user-namespace", "seccomp", filter_fix().unwrap_or(&fix));
    let detail = said.step("user-namespace")["detail"].as_str().unwrap();
    assert!(detail.contains("SIGSYS"), "{detail}");
    said.assert_ok(&["kernel", "seccomp", "no-new-privs", "descriptors"]);
}
