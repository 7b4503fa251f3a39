//! Other programs that isolate, with namespaces as equal to a zygote's as each can make them: user,
//! pid, mount, net, ipc, uts and cgroup, and a read-only view of the host's files.

use super::interrupt::Interrupted;
use super::progress::Progress;
use super::rows::PROGRAM;
use super::watch::run_watched;
use anyhow::Context;
use serde_json::{Value, json};
use std::cell::RefCell;
use std::fs;
use std::io::{Read, Seek, SeekFrom};
use std::path::Path;
use std::process::{Command, Stdio};
use std::rc::Rc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;
use tempfile::TempDir;

/// What the directory's name begins with in which the OCI runtimes find what they run.
const BUNDLE: &str = "zyg-bench-bundle-";

/// In a command line: a name that no other run has.
const ID: &str = "ID";

/// Another program, ready to be measured.
#[derive(Debug)]
pub struct Peer {
    pub name: &'static str,
    pub line: Vec<String>,
    /// What it has not that a zygote has.
    pub lacks: Option<&'static str>,
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
        self.line
            .iter()
            .map(|word| if word.contains(BUNDLE) { "DIR" } else { word })
            .collect::<Vec<_>>()
            .join(" ")
    }

    /// Runs it to its end.
    pub fn run(&self) -> anyhow::Result<Duration> {
        let mut command = command(&self.line);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let (took, status) = run_watched(&mut command)?;
        anyhow::ensure!(status.success(), "it worked at first, and then ended with {status}");
        Ok(took)
    }
}

impl Peers {
    /// Tries each that is wanted and found in PATH once. Those that are `asked` for by name and are not
    /// there are told.
    pub fn find(
        wanted: impl Fn(&str) -> bool,
        asked: impl Fn(&str) -> bool,
        progress: &Progress,
    ) -> anyhow::Result<Self> {
        let bundle = tempfile::Builder::new().prefix(BUNDLE).tempdir();
        let bundle = bundle.context("failed to make a directory")?;
        write_bundle(bundle.path()).context("failed to write a bundle for OCI runtimes")?;
        let mut peers = Self::default();
        let lines = lines(bundle.path());
        for (index, (name, line, lacks)) in lines.iter().enumerate() {
            if !wanted(name) {
                continue;
            }
            if !is_in_path(name) {
                if asked(name) {
                    let reason = "it is not in PATH, whose relative parts do not count";
                    peers.unusable.push((name, reason.to_owned()));
                }
                continue;
            }
            progress.show("others", index, lines.len());
            let (line, lacks) = (line.clone(), *lacks);
            match trial(&line) {
                Ok(trial) => peers.usable.push(Rc::new(Peer { name, line, lacks, trial })),
                Err(reason) if reason.is::<Interrupted>() => return Err(reason),
                Err(reason) => peers.unusable.push((name, format!("{reason:#}"))),
            }
        }
        peers.bundle = Some(bundle);
        Ok(peers)
    }

    /// Gives those up that have failed while they were measured.
    pub fn give_up(&mut self, failed: &Failed) {
        for (name, reason) in failed.0.borrow_mut().drain(..) {
            self.usable.retain(|peer| peer.name != name);
            self.unusable.push((name, reason));
        }
    }
}

/// Peers that have failed while they were measured, with the reason: others are measured on.
#[derive(Debug, Default)]
pub struct Failed(RefCell<Vec<(&'static str, String)>>);

impl Failed {
    /// Takes note of it.
    pub fn note(&self, peer: &'static str, error: &anyhow::Error) {
        self.0.borrow_mut().push((peer, format!("{error:#}")));
    }

    /// Whether this one has.
    pub fn has(&self, peer: &str) -> bool {
        self.0.borrow().iter().any(|(name, _)| *name == peer)
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
    let mut command = command(line);
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(complaint.try_clone()?);
    let (took, status) = run_watched(&mut command)?;
    if status.success() {
        return Ok(took);
    }
    let mut bytes = Vec::new();
    complaint.seek(SeekFrom::Start(0))?;
    complaint.read_to_end(&mut bytes)?;
    let said = String::from_utf8_lossy(&bytes);
    let first = said.lines().map(str::trim).find(|line| !line.is_empty());
    // It goes to a terminal.
    let shown = |text: &str| text.replace(|c: char| c.is_control(), "?");
    anyhow::bail!("{status}: {}", first.map_or("it says nothing".to_owned(), shown))
}

/// The command line of each, and what it lacks.
fn lines(bundle: &Path) -> Vec<(&'static str, Vec<String>, Option<&'static str>)> {
    let bundle = bundle.display();
    let root = nix::unistd::getuid().is_root();
    let user = if root { "" } else { "--user" };
    let of_bundle =
        "DIR has a config.json with the same namespaces and mounts, ID is a new name each time";
    let lines = [
        (
            "unshare",
            format!(
                "unshare --user --map-root-user --pid --fork --mount --mount-proc --net --ipc --uts \
                 --cgroup -- {PROGRAM}"
            ),
            None,
        ),
        (
            "bwrap",
            format!(
                "bwrap --unshare-user --unshare-pid --unshare-net --unshare-ipc --unshare-uts \
                 --unshare-cgroup --ro-bind / / --proc /proc --dev /dev --tmpfs /tmp -- {PROGRAM}"
            ),
            None,
        ),
        (
            "nsjail",
            format!("nsjail --mode o --really_quiet --chroot / --tmpfsmount /tmp -- {PROGRAM}"),
            None,
        ),
        (
            "firejail",
            format!(
                "firejail --quiet --noprofile --net=none --ipc-namespace --hostname=bench \
                 --private-dev --private-tmp --read-only=/ -- {PROGRAM}"
            ),
            Some("no user and no cgroup namespace"),
        ),
        ("crun", format!("crun run --bundle {bundle} {ID}"), Some(of_bundle)),
        ("runc", format!("runc run --bundle {bundle} {ID}"), Some(of_bundle)),
        (
            "podman",
            format!(
                "podman run --rm --quiet --network none --read-only --tmpfs /tmp --rootfs / {PROGRAM}"
            ),
            root.then_some("no user namespace"),
        ),
        (
            "systemd-run",
            format!(
                "systemd-run {user} --quiet --wait --collect -p PrivateUsers=yes -p PrivateNetwork=yes \
                 -p PrivateIPC=yes -p ProtectHostname=yes -p PrivateMounts=yes -p PrivateTmp=yes \
                 -p ProtectSystem=strict {PROGRAM}"
            ),
            Some("no pid and no cgroup namespace"),
        ),
    ];
    let words = |line: String| line.split_whitespace().map(str::to_owned).collect();
    lines.into_iter().map(|(name, line, lacks)| (name, words(line), lacks)).collect()
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
        for (name, line, _) in lines(Path::new("/bundle")) {
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
