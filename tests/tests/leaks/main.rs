//! Nothing passes from one lease to the next: residues are planted in one and looked for from
//! those that run beside it and those that come after it.
//!
//! A residue is a row of a table ([`residues`]): how to plant it, how to look for it. The control
//! is the same look by whoever has just planted it, which must find it.
#![expect(clippy::unwrap_used, reason = "a test reports by panicking")]

mod residues;

use residues::Residue;
use zyg_tests::{Findings, Probe, Server};
use zygote_client::{Lease, LeaseOptions};

/// Leases that look while the one with the residues still lives, and after it has ended: several
/// times the pool's size, so that zygotes from before, during and after the planting are among them.
const BESIDE: usize = 5;
const AFTER: usize = 15;

/// What an act says that has found nothing.
const CLEAN: &str = "clean";

fn look(probe: &Probe, lease: &Lease, residues: &[Residue]) -> Findings {
    let acts: Vec<_> = residues.iter().map(|residue| (residue.name, residue.look)).collect();
    probe.inside(lease, &acts)
}

fn assert_clean(findings: &Findings, when: &str) {
    let found: Vec<_> = findings.iter().filter(|(_, found)| *found != CLEAN).collect();
    assert!(found.is_empty(), "{when}: {found:?}");
}

/// Plants all, and asserts that each is found by whoever has planted it.
fn plant(probe: &Probe, lease: &Lease, residues: &[Residue]) {
    let acts: Vec<_> = residues
        .iter()
        .map(|residue| (residue.name, format!("{}\n{}", residue.plant, residue.look)))
        .collect();
    let acts: Vec<_> = acts.iter().map(|(name, code)| (*name, code.as_str())).collect();
    for (name, found) in probe.inside(lease, &acts) {
        // A kernel that cannot keep it (tmpfs has user attributes since Linux 6.6) cannot leak it.
        let planted = found == "found" || found == "EOPNOTSUPP";
        assert!(planted, "the control of {name:?} came out as {found:?}");
    }
}

/// A file of the host that every lease is shown, in `/tmp/shared`.
fn shared(server: &Server) -> LeaseOptions {
    let directory = server.directory().join("shared");
    std::fs::create_dir(&directory).unwrap();
    std::fs::write(directory.join("file"), "").unwrap();
    LeaseOptions::new().ro_bind(&directory, "/tmp/shared").to_owned()
}

fn hunt(residues: &[Residue]) {
    let server = Server::start();
    let client = server.client();
    let home = nix::unistd::User::from_uid(nix::unistd::getuid()).unwrap().unwrap().dir;
    let fixture = tempfile::Builder::new().prefix(".zyg-test-").tempdir_in(&home).unwrap();
    std::fs::write(fixture.path().join("file"), "original").unwrap();
    std::fs::write(fixture.path().join("other"), "original").unwrap();
    let probe = Probe::new()
        .with_path("home", &home)
        .with_path("fixture", fixture.path())
        .with("key", std::process::id());
    let shared = shared(&server);
    let lease = || client.acquire(&shared).unwrap();
    let named = shared.clone().hostname("zyg-leak").cwd(fixture.path()).to_owned();
    assert_clean(&look(&probe, &lease(), residues), "before anything was planted");
    let planted = client.acquire(&named).unwrap();
    plant(&probe, &planted, residues);
    let separate: Vec<_> = residues.iter().filter(|residue| !residue.shared).copied().collect();
    for number in 0..BESIDE {
        let lease = lease();
        assert_clean(&look(&probe, &lease, &separate), &format!("in lease {number} beside it"));
    }
    planted.release().unwrap();
    for number in 0..AFTER {
        let lease = lease();
        assert_clean(&look(&probe, &lease, residues), &format!("in lease {number} after it"));
    }
    let file = std::fs::read_to_string(fixture.path().join("file")).unwrap();
    assert_eq!(file, "original", "the host's own file");
}

#[test]
fn no_file_is_left() {
    hunt(&residues::FILES);
}

#[test]
fn no_change_of_a_mounts_root_is_left() {
    hunt(&residues::ROOTS);
}

#[test]
fn no_object_of_ipc_is_left() {
    hunt(&residues::IPC);
}

#[test]
fn no_socket_is_left() {
    hunt(&residues::SOCKETS);
}

#[test]
fn no_process_is_left() {
    hunt(&residues::PROCESSES);
}

#[test]
fn no_property_of_a_process_is_left() {
    hunt(&residues::PROPERTIES);
}

#[test]
fn a_lease_full_of_residues_ends_at_once() {
    // Processes that ignore every signal, stopped and traced ones, and locks on files.
    let server = Server::start();
    let client = server.client();
    let options = shared(&server);
    for _ in 0..3 {
        let lease = client.acquire(&options).unwrap();
        plant(&Probe::new(), &lease, &residues::PROCESSES);
        let census = server.census();
        let before = census.len();
        lease.release().unwrap();
        server.wait_warm();
        assert!(before > server.census().len(), "the control: there was more before");
    }
}
