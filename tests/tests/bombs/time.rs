//! Time: on a CPU, and until the lease is over.

use crate::scene::{Scene, profile, server};
use std::os::unix::process::ExitStatusExt;
use zyg_tests::wait_readable;
use zygote_client::{LeaseError, LeaseOptions};

#[test]
fn a_command_that_computes_without_end_is_killed_at_its_limit() {
    let brief = profile("brief", "", "cpu = \"1s\"");
    let server = server(&brief, &["brief"]);
    let mut scene = Scene::of(&server, "brief");
    let lease = scene.observer().acquire(LeaseOptions::new().profile("brief")).unwrap();
    let mut shell = lease.command("sh").args(["-c", "while :; do :; done"]).spawn().unwrap();
    scene.assert_unnoticed();
    let status = shell.wait().unwrap();
    // SIGKILL, for the hard limit is the same as the soft one (setrlimit(2)).
    assert_eq!(status.signal(), Some(9), "{status}");
    assert!(lease.command("true").status().unwrap().success(), "the lease goes on");
    drop((shell, lease));
    let control = scene.light_under(
        "default",
        "import time\nwhile time.process_time() < 1.5:\n pass\nburn('none 0')",
    );
    control.end();
    scene.assert_restored();
}

#[test]
fn a_lease_that_burns_ends_when_its_time_is_over() {
    let brief = profile("brief", "", "time = \"4s\"");
    let server = server(&brief, &["brief"]);
    let mut scene = Scene::of(&server, "default");
    let lease = scene.observer().acquire(LeaseOptions::new().profile("brief")).unwrap();
    let mut shell = lease.command("sh");
    shell.args(["-c", "while :; do :; done & while :; do :; done"]);
    let mut running = shell.spawn().unwrap();
    scene.assert_unnoticed();
    wait_readable(lease.pidfd(), "the end of the lease");
    assert!(matches!(running.wait(), Err(LeaseError::Ended)));
    assert!(lease.command("true").status().is_err());
    drop((running, lease));
    scene.assert_restored();
}
