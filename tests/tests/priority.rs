//! A template is at the lowest priority while nobody waits, and not kept there by whoever uses up the
//! changes that the kernel takes (sched(7), "The autogroup feature").
#![expect(clippy::unwrap_used, reason = "a test reports by panicking")]

use nix::unistd::Pid;
use std::fs;
use std::process::{Child, Command};
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::thread::JoinHandle;
use std::time::Duration;
use zyg_tests::{Server, Setup, eventually, is_root, skip};
use zygote_client::LeaseOptions;

/// The nice value of a process's session; `None` without the feature, and outside all sessions that
/// are weighed, as a child of pid 1 may be.
fn nice_of(process: Pid) -> Option<i32> {
    let told = fs::read_to_string(format!("/proc/{process}/autogroup")).ok()?;
    told.rsplit_once(" nice ")?.1.trim().parse().ok()
}

/// Changes the nice value of a session of its own, to what it is, again and again: of all other changes
/// the kernel takes none meanwhile but root's.
struct Hold {
    session: Child,
    stop: Option<Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Hold {
    fn begin() -> Self {
        let session = Command::new("setsid").args(["sleep", "infinity"]).spawn().unwrap();
        let pid = Pid::from_raw(session.id().cast_signed());
        // Which it is in once `setsid` has become what it was to run.
        let comm = move || fs::read_to_string(format!("/proc/{pid}/comm")).unwrap();
        eventually("a session of its own", || (comm() == "sleep\n").then_some(()));
        let change = move || fs::write(format!("/proc/{pid}/autogroup"), "0").unwrap();
        change();
        let (stop, stopped) = channel();
        let thread = std::thread::spawn(move || {
            // Five times as often as the kernel forgets one.
            let every = Duration::from_millis(20);
            while stopped.recv_timeout(every) == Err(RecvTimeoutError::Timeout) {
                change();
            }
        });
        Self { session, stop: Some(stop), thread: Some(thread) }
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        drop(self.stop.take());
        self.thread.take().unwrap().join().unwrap();
        self.session.kill().unwrap();
        self.session.wait().unwrap();
    }
}

fn template(server: &Server) -> Pid {
    server.processes_named("zyg-template")[0]
}

#[test]
fn a_template_that_was_kept_low_is_raised_when_it_can_be() {
    let enabled = fs::read_to_string("/proc/sys/kernel/sched_autogroup_enabled");
    if !is_root() {
        eprintln!("NOT SHOWN: it takes root, for only root can use up all of the kernel's changes");
        return;
    }
    if !enabled.is_ok_and(|enabled| enabled.trim() == "1") {
        return skip("it takes a kernel that weighs sessions");
    }
    let pool = "[profile.default.pool]\nmin = 1\nmax = 4\nlearn = false\n";
    let server = Setup::default().config(pool).start_warm();
    let client = server.client();
    let nice = || nice_of(template(&server));
    eventually("the lowest priority", || {
        drop(client.lease().unwrap());
        server.wait_warm();
        (nice() == Some(19)).then_some(())
    });
    let hold = Hold::begin();
    // More than are warm, and as many as there may be: nothing is built after it.
    let leases = client.acquire_many(&LeaseOptions::new(), 4).unwrap();
    assert_eq!(nice(), Some(19), "the control");
    drop(hold);
    eventually("the usual priority", || (nice() == Some(0)).then_some(()));
    drop(leases);
}
