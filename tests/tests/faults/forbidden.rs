//! User namespaces are forbidden where the server runs: it says which layer forbids them and what
//! to change. Each place is made by the test, one layer below where everything is allowed.

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use tempfile::TempDir;
use zyg_tests::{PLAIN_ROOT, eventually, soon, zyg_binary};
use zygote_client::{AcquireError, Client, Denial};

/// A server in a user namespace of its own, started by a script that may spoil the place first.
struct Below {
    server: Child,
    directory: TempDir,
}

impl Below {
    /// Runs `script` as the root of a new user and mount namespace, in a directory of its own; at
    /// its end it executes `"$@"`, the server.
    fn start(script: &str) -> Self {
        let directory = tempfile::Builder::new().prefix("zyg-test-").tempdir().unwrap();
        let mut unshare = Command::new("unshare");
        unshare.args(["--user", "--map-root-user", "--mount", "sh", "-euc", script, "sh"]);
        unshare.arg(zyg_binary()).args(["serve", "--socket"]).arg(directory.path().join("s.sock"));
        unshare.current_dir(directory.path()).stdin(Stdio::null()).stdout(Stdio::null());
        let mut server = unshare.spawn().unwrap();
        eventually("listening", || {
            let ended = server.try_wait().unwrap();
            assert!(ended.is_none(), "it ended before it listened: {ended:?}");
            Client::connect(directory.path().join("s.sock")).ok()
        });
        Self { server, directory }
    }

    fn client(&self) -> Client {
        Client::connect(self.directory.path().join("s.sock")).unwrap()
    }

    /// Why there is no environment, as the client is told and as the status says.
    fn reason(&self) -> String {
        let client = self.client();
        let denied = soon("the denial", move || client.lease().unwrap_err());
        let AcquireError::Denied(Denial::BuildFailing { reason }) = denied else {
            panic!("another error: {denied}");
        };
        let failing = || self.client().status().unwrap().profiles.remove(0).failing;
        assert_eq!(eventually("a reason", failing), reason);
        reason
    }

    /// Stops it, which works here as anywhere.
    fn stop(mut self) {
        kill(Pid::from_raw(self.server.id() as i32), Signal::SIGTERM).unwrap();
        assert_eq!(self.server.wait().unwrap().code(), Some(0));
        assert!(!self.directory.path().join("s.sock").exists());
    }
}

impl Drop for Below {
    fn drop(&mut self) {
        // Only a test that has failed leaves it running.
        let _ = self.server.kill();
        let _ = self.server.wait();
    }
}

#[test]
fn where_nothing_is_forbidden_there_are_environments() {
    let place = Below::start("exec \"$@\"");
    let lease = place.client().lease().unwrap();
    assert!(lease.command("true").status().unwrap().success());
    drop(lease);
    place.stop();
}

#[test]
fn by_the_limit_on_user_namespaces() {
    // The limit is the new user namespace's own (namespaces(7)): nobody else's changes.
    let before = limit_here();
    let place = Below::start("echo 0 > /proc/sys/user/max_user_namespaces; exec \"$@\"");
    let reason = place.reason();
    assert!(reason.contains("failed to create a user namespace"), "{reason}");
    assert!(reason.contains("sysctl user.max_user_namespaces is 0: raise it"), "{reason}");
    assert_eq!(limit_here(), before);
    place.stop();
}

/// Whichever step is the one too many.
#[test]
fn by_user_namespaces_that_are_all_in_use() {
    for limit in 1..=5 {
        let place = Below::start(&format!(
            "echo {limit} > /proc/sys/user/max_user_namespaces
            printf '[profile.default.pool]\\nmin = 0\\nlearn = false\\n' > zyg.toml
            exec \"$@\" --config zyg.toml 2> log"
        ));
        let mut leases = Vec::new();
        let denied = loop {
            match place.client().lease() {
                Ok(lease) => leases.push(lease),
                Err(denied) => break denied.to_string(),
            }
        };
        let named = format!("user.max_user_namespaces is {limit}");
        assert!(denied.contains(&named), "{limit}, {} leases: {denied}", leases.len());
        drop(leases);
        let log = std::fs::read_to_string(place.directory.path().join("log")).unwrap();
        assert!(!log.contains("failed to create a mount namespace"), "{limit}: {log}");
        place.stop();
    }
}

#[test]
fn by_the_limit_on_other_namespaces() {
    for (kind, step) in [("net", "create a network namespace"), ("pid", "set up /proc")] {
        let place =
            Below::start(&format!("echo 0 > /proc/sys/user/max_{kind}_namespaces; exec \"$@\""));
        let reason = place.reason();
        assert!(reason.contains(&format!("failed to {step}")), "{reason}");
        let mend = format!("sysctl user.max_{kind}_namespaces is 0: raise it");
        assert!(reason.contains(&mend), "{reason}");
        place.stop();
    }
}

#[test]
fn by_a_chroot() {
    // A new root that is a plain directory, with what a server needs, and the test's directory at
    // its own path, in it the program.
    let place = Below::start(&format!(
        "{PLAIN_ROOT}
        touch $here/zyg
        mount --bind \"$1\" $here/zyg
        shift
        mkdir -p .$here
        mount --rbind $here .$here
        exec chroot . $here/zyg \"$@\"
        "
    ));
    let reason = place.reason();
    assert!(reason.contains("failed to create a user namespace"), "{reason}");
    assert!(reason.contains("chroot"), "{reason}");
    assert!(reason.contains("outside"), "{reason}");
    place.stop();
}

fn limit_here() -> String {
    std::fs::read_to_string(Path::new("/proc/sys/user/max_user_namespaces")).unwrap()
}
