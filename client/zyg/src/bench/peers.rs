//! Other programs that isolate, with namespaces as equal to a zygote's as each can make them: user,
//! pid, mount, net, ipc, uts and cgroup, and a read-only view of the host's files.

use super::rows::PROGRAM;
use super::server::ends_within;
use anyhow::Context;
use nix::unistd::Pid;
use serde_json::{Value, json};
use std::fs;
use std::io::{Read, Seek, SeekFrom};
use std::path::Path;
use std::process::{Command, Stdio};
use std::rc::Rc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// How long a peer has for its first run.
const TRIAL_MAX: Duration = Duration::from_secs(10);

/// In a command line: a name that no other run has.
const ID: &str = "ID";

/// Another program, ready to be measured.
#[derive(Debug)]
pub struct Peer {
    pub name: &'static str,
    pub line: Vec<String>,
    /// How long its trial took.
    pub trial: Duration,
}

/// What is there, and what is there and does not work, with the reason.
#[derive(Debug, Default)]
pub struct Peers {
    pub usable: Vec<Rc<Peer>>,
    pub unusable: Vec<(&'static str, String)>,
    /// What the OCI runtimes run; goes with this.
    pub bundle: Option<TempDir>,
}

impl Peer {
    /// The command as a shell has it.
    pub fn shown(&self) -> String {
        self.line.join(" ")
    }

    /// Runs it to its end.
    pub fn run(&self) -> anyhow::Result<Duration> {
        super::rows::spawn(command(&self.line).stdin(Stdio::null()).stdout(Stdio::null()))
    }
}

impl Peers {
    /// Tries each that is wanted and found in PATH once.
    pub fn find(wanted: impl Fn(&str) -> bool) -> anyhow::Result<Self> {
        let bundle = tempfile::Builder::new().prefix("zyg-bench-").tempdir();
        let bundle = bundle.context("failed to make a directory")?;
        write_bundle(bundle.path()).context("failed to write a bundle for OCI runtimes")?;
        let mut peers = Self::default();
        for (name, line) in lines(bundle.path()) {
            if !wanted(name) || !is_in_path(name) {
                continue;
            }
            match trial(&line) {
                Ok(trial) => peers.usable.push(Rc::new(Peer { name, line, trial })),
                Err(reason) => peers.unusable.push((name, format!("{reason:#}"))),
            }
        }
        peers.bundle = Some(bundle);
        Ok(peers)
    }
}

fn command(line: &[String]) -> Command {
    static RUNS: AtomicU32 = AtomicU32::new(0);
    let mut command = Command::new(&line[0]);
    for argument in &line[1..] {
        if argument == ID {
            let run = RUNS.fetch_add(1, Ordering::Relaxed);
            command.arg(format!("zyg-bench-{}-{run}", std::process::id()));
        } else {
            command.arg(argument);
        }
    }
    command
}

fn is_in_path(name: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|directory| directory.join(name).is_file())
}

/// Runs it once, and says what it complained about if that failed.
fn trial(line: &[String]) -> anyhow::Result<Duration> {
    let mut complaint = tempfile::tempfile().context("failed to make a file")?;
    let start = Instant::now();
    let mut child = command(line)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(complaint.try_clone()?)
        .spawn()?;
    let pidfd = zygote::process_descriptor(Pid::from_raw(child.id() as i32))?;
    if !ends_within(&pidfd, TRIAL_MAX)? {
        child.kill()?;
        child.wait()?;
        anyhow::bail!("it does not end within {} s", TRIAL_MAX.as_secs());
    }
    let status = child.wait()?;
    if status.success() {
        return Ok(start.elapsed());
    }
    let mut bytes = Vec::new();
    complaint.seek(SeekFrom::Start(0))?;
    complaint.read_to_end(&mut bytes)?;
    let said = String::from_utf8_lossy(&bytes);
    let first = said.lines().map(str::trim).find(|line| !line.is_empty());
    anyhow::bail!("{status}: {}", first.unwrap_or("it says nothing"))
}

fn lines(bundle: &Path) -> Vec<(&'static str, Vec<String>)> {
    let bundle = bundle.display();
    let user = if nix::unistd::getuid().is_root() { "" } else { "--user" };
    let lines = [
        (
            "unshare",
            format!(
                "unshare --user --map-root-user --pid --fork --mount --mount-proc --net --ipc --uts \
                 --cgroup -- {PROGRAM}"
            ),
        ),
        (
            "bwrap",
            format!(
                "bwrap --unshare-user --unshare-pid --unshare-net --unshare-ipc --unshare-uts \
                 --unshare-cgroup --ro-bind / / --proc /proc --dev /dev --tmpfs /tmp -- {PROGRAM}"
            ),
        ),
        (
            "nsjail",
            format!("nsjail --mode o --really_quiet --chroot / --tmpfsmount /tmp -- {PROGRAM}"),
        ),
        (
            "firejail",
            format!(
                "firejail --quiet --noprofile --net=none --ipc-namespace --hostname=bench \
                 --private-dev --private-tmp --read-only=/ -- {PROGRAM}"
            ),
        ),
        ("crun", format!("crun run --bundle {bundle} {ID}")),
        ("runc", format!("runc run --bundle {bundle} {ID}")),
        (
            "podman",
            format!(
                "podman run --rm --quiet --network none --read-only --tmpfs /tmp --rootfs / {PROGRAM}"
            ),
        ),
        (
            "systemd-run",
            format!(
                "systemd-run {user} --quiet --wait --collect -p PrivateUsers=yes -p PrivateNetwork=yes \
                 -p PrivateIPC=yes -p ProtectHostname=yes -p PrivateMounts=yes -p PrivateTmp=yes \
                 -p ProtectSystem=strict {PROGRAM}"
            ),
        ),
    ];
    let words = |line: String| line.split_whitespace().map(str::to_owned).collect();
    lines.into_iter().map(|(name, line)| (name, words(line))).collect()
}

/// What crun and runc run: the same namespaces, and the host's programs and libraries read-only.
fn write_bundle(bundle: &Path) -> anyhow::Result<()> {
    fs::create_dir(bundle.join("rootfs"))?;
    let (uid, gid) = (nix::unistd::getuid().as_raw(), nix::unistd::getgid().as_raw());
    let map = |id: u32| json!([{ "containerID": 0, "hostID": id, "size": 1 }]);
    let namespaces = ["user", "pid", "mount", "network", "ipc", "uts", "cgroup"];
    let namespaces = namespaces.map(|kind| json!({ "type": kind }));
    let config = json!({
        "ociVersion": "1.0.2",
        "process": {
            "user": { "uid": 0, "gid": 0 }, "cwd": "/", "args": [PROGRAM],
            "env": ["PATH=/usr/bin:/bin"], "noNewPrivileges": true,
        },
        "root": { "path": "rootfs", "readonly": true },
        "mounts": mounts(),
        "linux": { "namespaces": namespaces, "uidMappings": map(uid), "gidMappings": map(gid) },
    });
    fs::write(bundle.join("config.json"), config.to_string())?;
    Ok(())
}

fn mounts() -> Vec<Value> {
    let file_system =
        |kind: &str, target: &str| json!({ "destination": target, "type": kind, "source": kind });
    let mut mounts = vec![file_system("proc", "/proc"), file_system("tmpfs", "/tmp")];
    for shown in ["/usr", "/bin", "/lib", "/lib64"].into_iter().filter(|at| Path::new(at).exists())
    {
        mounts.push(json!({
            "destination": shown, "type": "bind", "source": shown, "options": ["rbind", "ro"],
        }));
    }
    mounts
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_peer_is_a_row_and_runs_the_same_program() {
        for (name, line) in lines(Path::new("/bundle")) {
            for row in [name.to_owned(), format!("churn_{name}")] {
                let kind = super::super::row::kind(&row).unwrap();
                assert_eq!(kind.side, super::super::row::Side::Peer);
            }
            assert_eq!(line[0], name);
            let runs = line.last().is_some_and(|last| last == PROGRAM);
            assert!(runs || line.contains(&"/bundle".to_owned()), "{line:?}");
        }
    }

    #[test]
    fn what_fails_is_told_with_its_reason() {
        let line = |script: &str| ["sh", "-c", script].map(str::to_owned);
        let error =
            trial(&line("echo >&2; echo no such luck >&2; exit 3")).unwrap_err().to_string();
        assert!(error.contains("3") && error.ends_with(": no such luck"), "{error}");
        assert!(trial(&line("exit 1")).unwrap_err().to_string().ends_with("it says nothing"));
        assert!(trial(&line("exit 0")).is_ok());
    }

    #[test]
    fn a_bundle_is_written_whole() {
        let directory = TempDir::new().unwrap();
        write_bundle(directory.path()).unwrap();
        let text = fs::read_to_string(directory.path().join("config.json")).unwrap();
        let config: Value = serde_json::from_str(&text).unwrap();
        assert_eq!(config["linux"]["namespaces"].as_array().unwrap().len(), 7);
        assert!(directory.path().join("rootfs").is_dir());
    }
}
