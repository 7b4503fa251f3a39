//! Descriptors that outlive the lease in which they were opened, in the hands of whoever was passed them:
//! they show no more than they did in the lease. The kernel takes what is mounted off what it covers when
//! a mount namespace ends, unless it is locked there.
#![expect(clippy::unwrap_used, reason = "a test reports by panicking")]

use nix::dir::Dir;
use nix::errno::Errno;
use nix::fcntl::{OFlag, openat};
use nix::sys::stat::Mode;
use std::fs;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use tempfile::TempDir;
use zyg_protocol::socket::{pair, receive};
use zyg_tests::{Setup, home, is_root};
use zygote_client::{Lease, LeaseOptions};

/// Sends descriptors of the directories that it is told to the other side of its standard input.
const SENDER: &str = "import array, os, socket, sys\n\
    own = socket.socket(fileno=0)\n\
    fds = [os.open(path, os.O_RDONLY | os.O_DIRECTORY) for path in sys.argv[1:]]\n\
    rights = array.array('i', fds)\n\
    own.sendmsg([b'x'], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, rights)])\n";

/// Directories opened by a command in the lease.
fn opened_in(lease: &Lease, directories: &[&str]) -> Vec<OwnedFd> {
    let (ours, theirs) = pair().unwrap();
    let mut sender = lease.command("python3");
    sender.args(["-c", SENDER]).args(directories).stdin(theirs);
    let status = sender.status().unwrap();
    assert!(status.success(), "{status}");
    drop(sender);
    let opened = receive(ours.as_fd(), &mut [0]).unwrap().descriptors;
    assert_eq!(opened.len(), directories.len());
    opened
}

fn open_below(directory: &OwnedFd, path: &Path, flags: OFlag) -> Result<OwnedFd, Errno> {
    let path = path.strip_prefix("/").unwrap_or(path);
    openat(directory.as_fd(), path, flags | OFlag::O_CLOEXEC, Mode::empty())
}

/// Something of the host that environments are not to show, or not to change.
struct Host {
    hidden: TempDir,
    stray: TempDir,
    shared: TempDir,
}

impl Host {
    fn new() -> Self {
        let below = |parent: &Path| tempfile::tempdir_in(parent).unwrap();
        let host = Self {
            hidden: below(&home()),
            stray: below(Path::new("/var/tmp")),
            shared: below(&home()),
        };
        fs::create_dir(host.shared.path().join("part")).unwrap();
        for file in [host.hidden_file(), host.stray_file(), host.part(), host.whole()] {
            fs::write(file, "the host's").unwrap();
        }
        host
    }

    fn hidden_file(&self) -> std::path::PathBuf {
        self.hidden.path().join("file")
    }

    fn stray_file(&self) -> std::path::PathBuf {
        self.stray.path().join("file")
    }

    fn part(&self) -> std::path::PathBuf {
        self.shared.path().join("part/file")
    }

    fn whole(&self) -> std::path::PathBuf {
        self.shared.path().join("file")
    }

    /// What a descriptor of an environment's root, and one of its /proc, give of it.
    fn given_by(&self, root: &OwnedFd, proc: &OwnedFd) -> Vec<String> {
        let mut given = Vec::new();
        let own = std::process::id().to_string();
        let entries = open_below(root, Path::new("proc"), OFlag::O_RDONLY | OFlag::O_DIRECTORY)
            .and_then(Dir::from_fd)
            .map(|mut entries| {
                entries.iter().map(|entry| entry.unwrap().file_name().to_owned()).collect()
            });
        let entries: Vec<_> = entries.unwrap_or_default();
        if entries.iter().any(|name| name.to_bytes() == own.as_bytes()) {
            given.push("processes of the host".to_owned());
        }
        let setting = Path::new("sys/kernel/core_pattern");
        for (directory, path) in [(root, Path::new("proc").join(setting)), (proc, setting.into())] {
            if open_below(directory, &path, OFlag::O_WRONLY).is_ok() {
                given.push(format!("{}, to be written", path.display()));
            }
        }
        for file in [self.hidden_file(), self.stray_file()] {
            if open_below(root, &file, OFlag::O_RDONLY).is_ok() {
                given.push(file.display().to_string());
            }
        }
        given
    }
}

#[test]
fn what_init_has_covered_stays_covered() {
    let host = Host::new();
    let hide = format!("hide = [{:?}]\n", host.hidden.path());
    let network = "network = \"own\"\n";
    let server = Setup::default()
        .config(&format!(
            "[profile.default]\n{hide}[profile.new]\nrecycle = \"none\"\n{hide}\
             [profile.own]\n{network}{hide}[profile.plain]\n[profile.again]\nrecycle = \"whole\"\n"
        ))
        .start();
    // The control: a process of the host is given all of it, but for what takes root.
    let [root, proc] = ["/", "/proc"].map(|path| OwnedFd::from(fs::File::open(path).unwrap()));
    let all = host.given_by(&root, &proc);
    assert_eq!(all.len(), if is_root() { 5 } else { 3 }, "{all:?}");
    let strict = is_root().then_some("strict");
    let profiles = ["default", "new", "own", "plain", "again", "networked"];
    for profile in profiles.into_iter().chain(strict) {
        let lease = server.client().acquire(LeaseOptions::new().profile(profile)).unwrap();
        let opened = opened_in(&lease, &["/", "/proc"]);
        let [root, proc] = <[OwnedFd; 2]>::try_from(opened).unwrap();
        let hides = !matches!(profile, "plain" | "again" | "networked");
        let sought = |given: Vec<String>| -> Vec<String> {
            // Some show the home directory, and hide nothing in it. No process of `strict` has the uid
            // that settings are root's by, as this test's own one may have; and what protects them in an
            // environment that is to be used again must come off again.
            let shown = host.hidden_file().display().to_string();
            let unprotected = matches!(profile, "strict" | "again");
            let is_allowed = |it: &String| {
                !hides && *it == shown || unprotected && it.ends_with("to be written")
            };
            given.into_iter().filter(|it| !is_allowed(it)).collect()
        };
        assert_eq!(sought(host.given_by(&root, &proc)), [""; 0], "{profile}, in its time");
        lease.release().unwrap();
        assert_eq!(sought(host.given_by(&root, &proc)), [""; 0], "{profile}, afterwards");
    }
}

/// A single mount of a lease's own, over what its profile shows.
#[test]
fn what_a_lease_covers_of_its_profile_stays_covered() {
    let host = Host::new();
    let (shared, home) = (host.shared.path(), host.hidden.path());
    let server =
        Setup::default().config(&format!("[profile.default]\nbind = [{shared:?}]\n")).start();
    let lease = {
        let mut options = LeaseOptions::new();
        options.ro_bind(shared.join("part"), shared.join("part")).tmpfs(home);
        server.client().acquire(&options).unwrap()
    };
    let [shared, home] = [shared, home].map(|path| path.to_str().unwrap());
    let opened = opened_in(&lease, &[shared, "/"]);
    let write = |path: &str| open_below(&opened[0], Path::new(path), OFlag::O_WRONLY).map(drop);
    let read = || open_below(&opened[1], &host.hidden_file(), OFlag::O_RDONLY).map(drop);
    let (refused, absent) = (Err(Errno::EROFS), Err(Errno::ENOENT));
    assert_eq!((write("part/file"), read()), (refused, absent), "in its time");
    lease.release().unwrap();
    assert_eq!((write("part/file"), read()), (refused, absent), "afterwards");
    assert_eq!(write("file"), Ok(()), "the control: the rest was shared to be written");
    let unhidden = server.client().lease().unwrap();
    let opened = opened_in(&unhidden, &[home]);
    assert!(open_below(&opened[0], Path::new("file"), OFlag::O_RDONLY).is_ok(), "the control");
}

#[test]
fn what_a_leases_own_mounts_protect_stays_protected() {
    let host = Host::new();
    let server = Setup::default().start();
    let shared = host.shared.path();
    for part in ["part", "part/file"] {
        let lease = {
            let mut options = LeaseOptions::new();
            options.bind(shared, "/tmp/shared");
            options.ro_bind(shared.join(part), Path::new("/tmp/shared").join(part));
            server.client().acquire(&options).unwrap()
        };
        let opened = opened_in(&lease, &["/tmp/shared"]).pop().unwrap();
        let write = |path: &str| open_below(&opened, Path::new(path), OFlag::O_WRONLY).map(drop);
        assert_eq!(write("part/file"), Err(Errno::EROFS), "{part}, in its time");
        lease.release().unwrap();
        assert_eq!(write("part/file"), Err(Errno::EROFS), "{part}, afterwards");
        assert_eq!(write("file"), Ok(()), "the control: the rest was shared to be written");
    }
}

/// Private places over what a profile shows, wherever that comes from.
#[test]
fn what_is_below_a_private_place_of_a_profile_stays_below() {
    let host = Host::new();
    let (shared, hidden) = (host.shared.path(), host.hidden.path());
    let part = shared.join("part");
    let link = hidden.join("link");
    std::os::unix::fs::symlink(shared, &link).unwrap();
    let below_link = link.join("part");
    let server = Setup::default()
        .config(&format!(
            "[profile.around]\nbind = [{shared:?}]\nwritable = [{part:?}]\n\
             [profile.within]\nbind = [\"{host}:/run/x\"]\nwritable = [\"/var/run\"]\n\
             [profile.listed]\nroot = \"empty\"\nread_only = [\"/usr\", \"/lib*\", \"/bin\", {part:?}]\n\
             writable = [{shared:?}]\n\
             [profile.named]\nbind = [{shared:?}]\nwritable = [{below_link:?}]\n",
            host = shared.display()
        ))
        .start();
    for (profile, directory, sought) in [
        ("around", shared, Path::new("part/file")),
        ("around", Path::new("/"), &part.join("file")),
        ("within", Path::new("/"), Path::new("run/x/file")),
        ("listed", Path::new("/"), &part.join("file")),
        ("named", shared, Path::new("part/file")),
    ] {
        let lease = server.client().acquire(LeaseOptions::new().profile(profile)).unwrap();
        let opened = opened_in(&lease, &[directory.to_str().unwrap()]).pop().unwrap();
        let read = || open_below(&opened, sought, OFlag::O_RDONLY).map(drop);
        assert_eq!(read(), Err(Errno::ENOENT), "{profile}, {directory:?}, in its time");
        lease.release().unwrap();
        assert_eq!(read(), Err(Errno::ENOENT), "{profile}, {directory:?}, afterwards");
    }
    // The control: without the private place it is there.
    let control = Setup::default().config(&format!("[profile.default]\nbind = [{shared:?}]\n"));
    let control = control.start();
    let lease = control.client().lease().unwrap();
    let opened = opened_in(&lease, &[shared.to_str().unwrap()]).pop().unwrap();
    lease.release().unwrap();
    assert!(open_below(&opened, Path::new("part/file"), OFlag::O_WRONLY).is_ok(), "the control");
}

/// The template was made with what was there then.
#[test]
fn what_has_taken_the_place_of_a_private_one_stays_below() {
    let host = Host::new();
    let part = host.shared.path().join("part");
    let config = format!(
        "[profile.default]\nwritable = [{part:?}]\n[profile.default.pool]\nmin = 0\nlearn = false\n"
    );
    let server = Setup::default().config(&config).start();
    server.client().lease().unwrap().release().unwrap();
    fs::rename(&part, host.shared.path().join("moved")).unwrap();
    fs::create_dir(&part).unwrap();
    fs::write(part.join("file"), "the host's").unwrap();
    for _ in 0..4 {
        let lease = server.client().lease().unwrap();
        let opened = opened_in(&lease, &["/"]).pop().unwrap();
        let read = || open_below(&opened, &host.part(), OFlag::O_RDONLY).map(drop);
        assert_eq!(read(), Err(Errno::ENOENT), "in its time");
        lease.release().unwrap();
        assert_eq!(read(), Err(Errno::ENOENT), "afterwards");
    }
}

/// What is written through a descriptor is written to a layer in the lease's time, and never to what that
/// covers.
#[test]
fn layers_over_a_profiles_own_mounts_stay_above_them() {
    let host = Host::new();
    let shared = host.shared.path();
    let real = shared.join("real");
    let link = host.stray.path().join("link");
    fs::create_dir_all(real.join("sub")).unwrap();
    std::os::unix::fs::symlink(&real, &link).unwrap();
    let home = home();
    let parent = home.parent().unwrap();
    let mut cases = vec![(link.clone(), real.join("sub"), real.join("sub"))];
    // Whose home is at the top has it in no directory that could be bound.
    if parent != Path::new("/") {
        cases.push((parent.to_owned(), Path::new("/").to_owned(), shared.to_owned()));
    }
    for (bind, cwd, written) in cases {
        let config = format!("[profile.default]\nbind = [{bind:?}]\n");
        let server = Setup::default().config(&config).start();
        let lease = server.client().acquire(LeaseOptions::new().cwd(&cwd)).unwrap();
        let opened = opened_in(&lease, &[written.to_str().unwrap(), "/"]);
        lease.release().unwrap();
        let create = OFlag::O_WRONLY | OFlag::O_CREAT;
        for (directory, file) in
            [(&opened[0], Path::new("new")), (&opened[1], &written.join("new"))]
        {
            let made = open_below(directory, file, create);
            assert!(!written.join("new").exists(), "{bind:?}: {made:?}");
        }
    }
}

#[test]
fn what_a_lease_covers_in_a_private_place_stays_covered() {
    let host = Host::new();
    let shared = host.shared.path();
    let config = format!("[profile.default]\nbind = [\"{}:/tmp/x\"]\n", shared.display());
    let server = Setup::default().config(&config).start();
    let lease = server.client().acquire(LeaseOptions::new().tmpfs("/tmp")).unwrap();
    let opened = opened_in(&lease, &["/"]).pop().unwrap();
    let read = || open_below(&opened, Path::new("tmp/x/file"), OFlag::O_RDONLY).map(drop);
    assert_eq!(read(), Err(Errno::ENOENT), "in its time");
    lease.release().unwrap();
    assert_eq!(read(), Err(Errno::ENOENT), "afterwards");
    let control = server.client().lease().unwrap();
    let opened = opened_in(&control, &["/"]).pop().unwrap();
    assert!(open_below(&opened, Path::new("tmp/x/file"), OFlag::O_RDONLY).is_ok(), "the control");
}
