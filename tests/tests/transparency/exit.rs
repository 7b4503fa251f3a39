//! How a command ends is how `zyg run` ends.

use crate::run::{same, same_script};
use nix::sys::signal::Signal;
use zyg_tests::Server;

#[test]
fn every_exit_code_is_passed_on() {
    let server = Server::start();
    for code in 0..=255 {
        let seen = same(&server, &["sh", "-c", &format!("exit {code}")]);
        assert_eq!(seen.code, code);
    }
}

#[test]
fn death_by_a_signal_is_told_as_shells_tell_it() {
    let ends = |signal: &Signal| {
        use Signal as S;
        let lives = [S::SIGCHLD, S::SIGCONT, S::SIGURG, S::SIGWINCH];
        let stops = [S::SIGSTOP, S::SIGTSTP, S::SIGTTIN, S::SIGTTOU];
        !lives.contains(signal) && !stops.contains(signal)
    };
    let numbers = Signal::iterator().filter(ends).map(|signal| signal as i32);
    let real_time = 34..=64;
    let server = Server::start();
    for number in numbers.chain(real_time) {
        let script = format!("ulimit -c 0; kill -{number} $$");
        assert_eq!(same(&server, &["sh", "-c", &script]).code, 128 + number, "signal {number}");
    }
}

#[test]
fn a_command_that_fails_says_so_in_its_own_words() {
    let server = Server::start();
    let seen = same(&server, &["ls", "/no/such/file"]);
    assert_eq!((seen.stdout.len(), seen.code), (0, 2));
    assert!(!seen.stderr.is_empty());
}

#[test]
fn nothing_of_zygs_own_is_printed() {
    let server = Server::start();
    let seen = same_script(&server, "exit 0", &[] as &[&str]);
    assert_eq!((seen.stdout.len(), seen.stderr.len()), (0, 0));
}
