//! What the acts are aimed at: a process of the host, and files.

use std::fs;
use std::io::{BufRead, BufReader};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use tempfile::TempDir;
use zyg_tests::Probe;

/// What it runs, in Python.
pub const PROGRAM: &str = include_str!("target.py");

const CONTENT: &str = "original";

/// A process of the host with one of everything, and files of its user.
#[derive(Debug)]
pub struct Target {
    process: Child,
    values: serde_json::Map<String, serde_json::Value>,
    marker: String,
    /// In places that environments have for themselves: `/tmp`, `/var/tmp`, `/dev/shm`, `/run`.
    hidden: Vec<TempDir>,
    home: TempDir,
}

/// A name that no other target of this machine has.
pub fn marker() -> String {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    format!("{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed))
}

/// A System V key that is a marker's own.
pub fn key(marker: &str) -> u32 {
    marker.bytes().fold(7, |key, byte| (key.wrapping_mul(31) ^ u32::from(byte)) & 0x3fff_ffff)
}

fn directory(place: impl AsRef<Path>) -> std::io::Result<TempDir> {
    let directory = tempfile::Builder::new().prefix(".zyg-escape-").tempdir_in(place)?;
    fs::set_permissions(directory.path(), fs::Permissions::from_mode(0o755))?;
    Ok(directory)
}

fn file(path: PathBuf, mode: u32) {
    fs::write(&path, CONTENT).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

impl Target {
    pub fn start() -> Self {
        // Only root may write to /run itself.
        let run = if zyg_tests::is_root() { "/run" } else { "/dev/shm" };
        let places = ["/tmp", "/var/tmp", "/dev/shm", run];
        let hidden: Vec<_> = places.iter().map(|place| directory(place).unwrap()).collect();
        let home = directory(zyg_tests::home()).unwrap();
        for place in hidden.iter().chain([&home]) {
            file(place.path().join("secret"), 0o600);
            file(place.path().join("open"), 0o644);
        }
        fs::create_dir(hidden[0].path().join("own")).unwrap();
        let marker = marker();
        let mut listed: Vec<_> =
            hidden.iter().map(|place| place.path().to_str().unwrap()).collect();
        listed.push(home.path().to_str().unwrap());
        let mut command = Command::new(zyg_tests::python());
        command.args(["-ISc", PROGRAM, &listed.join(":"), &marker, &key(&marker).to_string()]);
        command.env("ZYG_MARKER", &marker).current_dir(hidden[0].path()).process_group(0);
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut process = command.spawn().unwrap();
        let mut line = String::new();
        BufReader::new(process.stdout.as_mut().unwrap()).read_line(&mut line).unwrap();
        let values = serde_json::from_str(&line).unwrap();
        Self { process, values, marker, hidden, home }
    }

    /// A probe that knows all of it.
    pub fn probe(&self) -> Probe {
        let users = fs::read_to_string("/etc/passwd").unwrap();
        let users: Vec<_> = users.lines().filter_map(|line| line.split(':').next()).collect();
        let users: Vec<_> =
            users.into_iter().filter(|name| !["root", "user", "nobody"].contains(name)).collect();
        let net = fs::read_link("/proc/self/ns/net").unwrap();
        let probe = Probe::new().with("marker", self.marker.as_str()).with("users", users);
        let probe =
            self.values.iter().fold(probe, |probe, (name, value)| probe.with(name, value.clone()));
        probe
            .with_path("secret", Path::new(&self.secret()))
            .with_path("own", &self.hidden[0].path().join("own"))
            .with_path("home", self.home.path())
            .with_path("net", &net)
    }

    /// A file of the host that no environment shows.
    pub fn secret(&self) -> String {
        self.hidden[0].path().join("secret").to_str().unwrap().to_owned()
    }

    /// What an act has changed of the host's files.
    pub fn changes(&self) -> Vec<String> {
        let mut changed = Vec::new();
        for place in self.hidden.iter().chain([&self.home]) {
            for name in ["secret", "open"] {
                let path = place.path().join(name);
                if fs::read_to_string(&path).ok().as_deref() != Some(CONTENT) {
                    changed.push(format!("{} was changed", path.display()));
                }
            }
            let known =
                |name: &str| ["secret", "open", "own"].contains(&name) || name.starts_with("s-");
            for entry in fs::read_dir(place.path()).unwrap() {
                let name = entry.unwrap().file_name().into_string().unwrap();
                if !known(&name) {
                    changed.push(format!("{name} was made in {}", place.path().display()));
                }
            }
        }
        changed.extend(self.strays());
        changed
    }

    /// Files of an act that tries to make them in every mount that it sees.
    fn strays(&self) -> Vec<String> {
        let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap();
        let points = mounts.lines().filter_map(|line| line.split(' ').nth(4));
        let home = zyg_tests::home();
        let places = points.map(Path::new).chain([home.as_path()]);
        let strays = places.map(|place| place.join(format!(".zyg-made-{}", self.marker)));
        let strays = strays.filter(|path| path.symlink_metadata().is_ok());
        strays.map(|path| format!("{} was made", path.display())).collect()
    }
}

impl Drop for Target {
    fn drop(&mut self) {
        drop(self.process.stdin.take());
        self.process.wait().unwrap();
    }
}
