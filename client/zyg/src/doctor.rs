//! `zyg doctor`: everything that zyg needs of this machine, tried for real.
//!
//! Each step runs in a process of its own, this program executed again with `--step NAME`, which
//! says one line of JSON. Here they are started, listened to and reported; what they do and what
//! their errors mean is `zygote::doctor`'s.

use crate::cli::Doctor;
use crate::{EXIT_REFUSED, EXIT_SUCCESS, print};
use anyhow::bail;
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use serde_json::{Value, json};
use std::io::Read;
use std::os::fd::AsFd;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};
use zygote::doctor::{Entry, Facts, Outcome, Report, State, Step, perform};
use zygote_client::SYSTEM_SOCKET;

/// Our own program, even if another one lies at its path by now.
const OWN_PROGRAM: &str = "/proc/self/exe";

/// How long one step may take: a whole environment on a loaded machine is far below.
const STEP_TIME: Duration = Duration::from_secs(30);

/// Version of the JSON: another one only if what is there changes its meaning.
const JSON_VERSION: u32 = 1;

/// Goes through the steps and reports; or does the one that is named.
pub fn doctor(doctor: &Doctor) -> anyhow::Result<u8> {
    let socket = doctor.server.named().unwrap_or_else(|| PathBuf::from(SYSTEM_SOCKET));
    if let Some(name) = &doctor.step {
        let Some(step) = Step::from_name(name) else { bail!("there is no step {name:?}") };
        print(&format!("{}\n", serde_json::to_string(&perform(step, &socket))?))?;
        return Ok(EXIT_SUCCESS);
    }
    if !Path::new(OWN_PROGRAM).exists() {
        bail!("failed to find zyg's own program through /proc: `mount -t proc proc /proc` first");
    }
    let report = Report::go_through(&Facts::read(), |step| {
        run(step, &socket).unwrap_or_else(|error| not_run(step, &error))
    });
    print(&if doctor.json { format!("{}\n", whole(&report)) } else { report.table() })?;
    Ok(if report.can_run() { EXIT_SUCCESS } else { EXIT_REFUSED })
}

fn whole(report: &Report) -> Value {
    let steps: Vec<Value> = report.entries().iter().map(row).collect();
    json!({ "version": JSON_VERSION, "steps": steps })
}

/// `layer` and `fix` are null for a step that works and for one that was not tried.
fn row(entry: &Entry) -> Value {
    json!({
        "name": entry.step.name(),
        "required": entry.step.required(),
        "ok": entry.state == State::Works,
        "layer": entry.cause().map(|cause| cause.layer),
        "fix": entry.cause().map(|cause| cause.fix.as_str()),
        "detail": entry.explained(),
    })
}

/// One step in a process of its own.
fn run(step: Step, socket: &Path) -> std::io::Result<Outcome> {
    let mut command = Command::new(OWN_PROGRAM);
    command.args(["doctor", "--step", step.name(), "--socket"]).arg(socket);
    let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn()?;
    let said = listen(&mut child, Instant::now() + STEP_TIME);
    if said.is_none() {
        // Its own children see their end of it, and leave.
        child.kill()?;
    }
    let status = child.wait()?;
    Ok(match said {
        None => {
            let detail = format!("not done within {} s", STEP_TIME.as_secs());
            Outcome::broken(step, Errno::ETIMEDOUT as i32, 0, detail)
        }
        Some(said) => serde_json::from_str(&said).unwrap_or_else(|_| {
            Outcome::broken(step, 0, status.signal().unwrap_or(0), format!("its process: {status}"))
        }),
    })
}

/// What the step says until it ends; `None` when its time is over.
fn listen(child: &mut Child, deadline: Instant) -> Option<String> {
    let mut stdout = child.stdout.take()?;
    let (mut said, mut buffer) = (Vec::new(), [0; 4096]);
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        let mut fds = [PollFd::new(stdout.as_fd(), PollFlags::POLLIN)];
        match poll(&mut fds, PollTimeout::try_from(left).unwrap_or(PollTimeout::MAX)) {
            Ok(0) => return None,
            Ok(_) => {}
            Err(Errno::EINTR) => continue,
            Err(_) => return None,
        }
        match stdout.read(&mut buffer) {
            Ok(0) | Err(_) => return Some(String::from_utf8_lossy(&said).into_owned()),
            Ok(bytes) => said.extend_from_slice(&buffer[..bytes]),
        }
    }
}

/// A step that could not even be started.
fn not_run(step: Step, error: &std::io::Error) -> Outcome {
    let errno = error.raw_os_error().unwrap_or(0);
    let detail = format!("failed to start a process: {error}");
    let within = (errno == Errno::EAGAIN as i32).then_some(Step::Processes);
    Outcome { within, ..Outcome::broken(step, errno, 0, detail) }
}
