//! The scene: a server, a client that it serves, and a directory with what that client may see and
//! what it may not.

use nix::unistd::{Gid, Uid, chown, getuid};
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use tempfile::TempDir;
use zyg_protocol::message::{
    Acquire, Bytes, Denial, Exec, ExitStatus, FromInit, Prepare, Reply, Request, Strings, ToInit,
};
use zyg_protocol::socket::borrow;
use zyg_tests::{Raw, RawLease, Server, Setup, connect_as, is_root};

/// Who asks where the server is root's: a uid without a name.
const USER: u32 = 47_011;

/// What the file in an allowed place says.
pub const ALLOWED: &str = "allowed\n";

/// What that in a forbidden place says.
pub const FORBIDDEN: &str = "forbidden\n";

/// Who asks.
pub fn user() -> u32 {
    if is_root() { USER } else { getuid().as_raw() }
}

pub struct Place {
    pub server: Server,
    pub client: Raw,
    /// What may never be seen, whoever opens it: device and inode.
    pub forbidden: Vec<(u64, u64)>,
    directory: TempDir,
}

impl Place {
    /// With a pool that keeps up.
    pub fn new() -> Self {
        Self::with("")
    }

    /// With further configuration, in which `PLACE` stands for the directory.
    pub fn with(config: &str) -> Self {
        let directory = tempfile::Builder::new().prefix("zyg-race-").tempdir_in("/var/tmp");
        let directory = directory.unwrap();
        fill(directory.path());
        let forbidden = forbidden(directory.path());
        close(directory.path());
        let config = config.replace("PLACE", directory.path().to_str().unwrap());
        let server = Setup::default()
            .config("[server]\nsocket_mode = \"0666\"\n")
            .config("[profile.default.pool]\nmin = 4\nmax = 16\n")
            .config(&config)
            .start();
        fs::set_permissions(server.directory(), fs::Permissions::from_mode(0o711)).unwrap();
        let client = connect_as(user(), server.socket());
        Self { server, client, forbidden, directory }
    }

    /// A path in the directory.
    pub fn at(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// A symbolic link in it.
    pub fn link(&self, name: &str, to: impl AsRef<Path>) -> PathBuf {
        let link = self.at(name);
        symlink(to, &link).unwrap();
        link
    }

    /// What comes of an acquire.
    pub fn acquire(&self, acquire: Acquire) -> Result<RawLease, Denial> {
        self.client.say(&Request::Acquire(acquire));
        let (reply, descriptors) = self.client.hear().expect("the server is there");
        match reply {
            Reply::Granted(granted) => {
                let mut descriptors = descriptors.into_iter();
                let init = Raw::of(descriptors.next().unwrap());
                let pidfd = descriptors.next().unwrap();
                Ok(RawLease { init, pidfd, granted, trees: descriptors.collect() })
            }
            Reply::Denied { denial, .. } => Err(denial),
            other => panic!("{other:?}"),
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        // Whoever owns it may remove what is in it only so.
        let open = fs::Permissions::from_mode(0o700);
        let _ = fs::set_permissions(self.at("closed"), open);
    }
}

/// The client's own `allowed` and `closed`, and `roots`, which is the tests' own user's. In each a file
/// and directories.
fn fill(directory: &Path) {
    fs::set_permissions(directory, fs::Permissions::from_mode(0o755)).unwrap();
    own(directory);
    for (name, content) in [("allowed", ALLOWED), ("closed", FORBIDDEN), ("roots", FORBIDDEN)] {
        for below in ["", "secret", "p"] {
            let made = directory.join(name).join(below);
            fs::create_dir_all(&made).unwrap();
            fs::write(made.join("file"), content).unwrap();
            if name != "roots" {
                own(&made);
                own(&made.join("file"));
            }
        }
    }
}

/// `closed`, through which nobody passes who has to ask for permission, its owner neither, and
/// `roots`, through which root does.
fn close(directory: &Path) {
    for (name, mode) in [("roots", 0o700), ("closed", 0)] {
        fs::set_permissions(directory.join(name), fs::Permissions::from_mode(mode)).unwrap();
    }
}

/// The closed places and what is in them, as far as whoever runs this may look.
fn forbidden(directory: &Path) -> Vec<(u64, u64)> {
    let inside = ["", "secret", "secret/file", "p", "p/file"];
    ["closed", "roots"]
        .into_iter()
        .flat_map(|closed| inside.map(|name| directory.join(closed).join(name)))
        .filter_map(|path| fs::metadata(path).ok())
        .map(|metadata| (metadata.dev(), metadata.ino()))
        .collect()
}

/// Makes it the client's.
pub fn own(path: &Path) {
    if is_root() {
        chown(path, Some(Uid::from_raw(USER)), Some(Gid::from_raw(USER))).unwrap();
    }
}

/// As the wire has it.
pub fn bytes(path: &Path) -> Bytes {
    use std::os::unix::ffi::OsStrExt;
    Bytes::from(path.as_os_str().as_bytes())
}

/// Has the lease's mounts put in place. Whether that worked; if not, nothing runs there.
pub fn prepare(lease: &RawLease) -> bool {
    let attach = lease.granted.attach.clone();
    let prepare = ToInit::Prepare(Prepare { attach, hostname: None });
    lease.init.say_with(&prepare, &borrow(&lease.trees));
    match lease.init.from_init() {
        Some(FromInit::Prepared { .. }) => true,
        Some(FromInit::PrepareFailed(_)) => false,
        other => panic!("{other:?}"),
    }
}

/// What a script of sh(1) prints inside, at `cwd`, and whether it succeeds.
pub fn run(lease: &RawLease, cwd: &str, script: &str) -> (String, bool) {
    use std::io::Read;
    let (mut reader, writer) = std::io::pipe().unwrap();
    let b = |text: &str| Bytes::from(text.as_bytes());
    let exec = Exec {
        command: 1,
        program: b("/bin/sh"),
        argv: Strings::from_iter(["sh", "-c", script]),
        env: Strings::from_iter(["PATH=/usr/bin:/bin"]),
        cwd: Some(b(cwd)),
        descriptors: vec![1],
        ..Exec::default()
    };
    lease.init.say_with(&ToInit::Exec(exec), &[std::os::fd::AsFd::as_fd(&writer)]);
    drop(writer);
    let mut printed = String::new();
    reader.read_to_string(&mut printed).unwrap();
    loop {
        match lease.init.from_init().expect("the lease goes on") {
            FromInit::Exited { status, .. } => return (printed, status == ExitStatus::Code(0)),
            FromInit::Failed { .. } => return (printed, false),
            _ => {}
        }
    }
}
