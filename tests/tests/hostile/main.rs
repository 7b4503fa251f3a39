//! Clients that break every rule, in bytes. Each costs itself its session or its lease, and nobody
//! else anything: after each the server answers, its pool is warm, and it holds as many descriptors
//! as before.
#![expect(clippy::unwrap_used, reason = "a test reports by panicking")]

mod bytes;
mod descriptors;
mod execs;
mod floods;
mod inits;
mod requests;

use std::io::{BufRead, BufReader, Write};
use std::process::ChildStdout;
use zyg_protocol::message::{Bytes, Exec, FromInit, Strings};
use zyg_tests::{Baseline, Raw, RawLease, Server, Setup, wait_readable};
use zygote_client::{Child, Lease, Stdio};

/// A server with a small pool, somebody's lease that works throughout, and the lease of somebody
/// hostile. After the test's own acts both are given back, and all must be as it was.
fn beside_a_bystander(act: impl FnOnce(&Server, &Raw, RawLease)) {
    let server = small_server();
    let baseline = Baseline::of(&server);
    let lease = baseline.observer().lease().unwrap();
    let mut bystander = Bystander::start(&lease);
    let session = Raw::connect(server.socket());
    let hostile = session.lease();
    act(&server, &session, hostile);
    bystander.assert_unharmed();
    drop(session);
    drop((bystander, lease));
    baseline.assert_restored();
}

fn small_server() -> Server {
    Setup::default().config("[profile.default.pool]\nmin = 1\nmax = 3\n").start_warm()
}

/// Somebody else's command, which answers each line with the same line.
struct Bystander {
    child: Child,
    answers: BufReader<ChildStdout>,
}

impl Bystander {
    fn start(lease: &Lease) -> Self {
        let mut cat = lease.command("cat");
        let mut child = cat.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let answers = BufReader::new(child.stdout.take().unwrap());
        Self { child, answers }
    }

    fn assert_unharmed(&mut self) {
        self.child.stdin.as_mut().unwrap().write_all(b"unharmed?\n").unwrap();
        wait_readable(self.answers.get_ref(), "the bystander's answer");
        let mut answer = String::new();
        self.answers.read_line(&mut answer).unwrap();
        assert_eq!(answer, "unharmed?\n");
    }
}

fn b(text: &str) -> Bytes {
    Bytes::from(text.as_bytes())
}

/// A request to run a program with arguments, without descriptors.
fn exec(command: u32, argv: &[&str]) -> Exec {
    let env = Strings::from_iter(["PATH=/usr/bin:/bin"]);
    let (program, argv) = (b(argv[0]), argv.iter().collect());
    Exec { command, program, argv, env, ..Exec::default() }
}

/// Runs one good command to its end.
fn assert_still_good(lease: &RawLease) {
    const NUMBER: u32 = 777_777;
    lease.init.tell(&zyg_protocol::message::ToInit::Exec(exec(NUMBER, &["true"])));
    loop {
        match lease.init.from_init().expect("the lease goes on") {
            FromInit::Exited { command: NUMBER, status, .. } => {
                return assert_eq!(status, zyg_protocol::message::ExitStatus::Code(0));
            }
            FromInit::Failed { command: NUMBER, failure } => panic!("{failure}"),
            _ => {}
        }
    }
}
