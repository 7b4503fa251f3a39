//! What a lease is shown beyond its profile, through the library.

use std::fs;
use std::path::Path;
use zyg_tests::{Probe, Server, Setup, is_root, python};
use zygote_client::{AcquireError, Denial, LeaseOptions};

#[test]
fn a_file_can_be_bound_as_well_as_a_directory() {
    let server = Server::start();
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("file");
    fs::write(&file, "content").unwrap();
    let mut options = LeaseOptions::new();
    options.ro_bind(&file, "/tmp/deep/file").bind(directory.path(), "/etc");
    let lease = server.client().acquire(&options).unwrap();
    let output =
        lease.command("cat").args(["/tmp/deep/file", "/etc/file"]).current_dir("/").output();
    assert_eq!(output.unwrap().stdout, b"contentcontent");
}

#[test]
fn a_tmpfs_hides_what_is_there_and_takes_files() {
    let server = Server::start();
    let mut options = LeaseOptions::new();
    let lease = server.client().acquire(options.tmpfs("/usr/share").tmpfs("/tmp/new")).unwrap();
    let script = "ls -A /usr/share; touch /usr/share/x /tmp/new/x && echo written";
    let output = lease.command("sh").args(["-c", script]).current_dir("/").output().unwrap();
    assert_eq!(output.stdout, b"written\n");
}

#[test]
fn what_the_client_may_not_or_cannot_open_is_refused_by_name() {
    let server = Server::start();
    let client = server.client();
    let refused = |source: &str| {
        let error = client.acquire(LeaseOptions::new().bind(source, "/tmp/x")).unwrap_err();
        let AcquireError::Denied(Denial::MountRefused { path, reason }) = error else {
            panic!("{source}: {error}")
        };
        assert_eq!(path, source);
        reason
    };
    assert_eq!(refused("/no/such/place"), "No such file or directory (os error 2)");
    if !is_root() {
        let closed = ["/root/x", "/lost+found/x"].into_iter().find(|path| {
            fs::metadata(Path::new(path).parent().unwrap()).is_ok()
                && fs::metadata(path).is_err_and(|e| e.raw_os_error() == Some(nix::libc::EACCES))
        });
        let Some(closed) = closed else {
            return zyg_tests::skip("no directory of root's is closed");
        };
        assert_eq!(refused(closed), "Permission denied (os error 13)");
    }
    let mut options = LeaseOptions::new();
    let error = client.acquire(options.tmpfs("/no/mount/point")).unwrap_err();
    assert!(matches!(error, AcquireError::Prepare(_)), "{error}");
    client.lease().unwrap();
}

#[test]
fn files_made_through_a_bind_belong_to_the_client() {
    use std::os::unix::fs::MetadataExt;
    let server = Server::start();
    let directory = tempfile::tempdir().unwrap();
    let mut options = LeaseOptions::new();
    let lease = server.client().acquire(options.bind(directory.path(), "/tmp/shared")).unwrap();
    let made = lease.command("touch").arg("/tmp/shared/made").current_dir("/").status().unwrap();
    assert!(made.success());
    let metadata = fs::metadata(directory.path().join("made")).unwrap();
    assert_eq!(metadata.uid(), nix::unistd::getuid().as_raw());
    assert_eq!(metadata.gid(), nix::unistd::getgid().as_raw());
    assert_eq!(metadata.mode() & 0o777, 0o644);
}

/// Mounts something in a mount namespace of its own, which an ordinary user may in a user
/// namespace of its own, and becomes the program that follows.
const MOUNT_AND_RUN: &str = r#"
import ctypes, os, sys
libc, uid, gid = ctypes.CDLL(None), os.getuid(), os.getgid()
assert libc.unshare(0x00020000 | (0x10000000 if uid else 0)) == 0
if uid:
    for name, line in (("setgroups", "deny"), ("uid_map", f"{uid} {uid} 1"), ("gid_map", f"{gid} {gid} 1")):
        open(f"/proc/self/{name}", "w").write(line)
assert libc.mount(b"none", b"/", None, ctypes.c_ulong(0x44000), None) == 0
assert libc.mount(b"x", sys.argv[1].encode(), b"tmpfs", ctypes.c_ulong(0), b"mode=777") == 0
os.execvp(sys.argv[2], sys.argv[2:])
"#;

#[test]
fn a_directory_with_a_mount_below_stays_read_only_and_that_is_told() {
    // The kernel refuses a layer over it, for that would show what the mount hides.
    for place in [std::env::temp_dir(), zyg_tests::home()] {
        let directory = tempfile::Builder::new().prefix(".zyg-test-").tempdir_in(place).unwrap();
        let below = directory.path().join("below");
        fs::create_dir(&below).unwrap();
        let shell =
            format!("set -- {} -ISc '{MOUNT_AND_RUN}' '{}' \"$@\"", python(), below.display());
        let server = Setup::default().shell(&shell).start();
        let lease = server.client().acquire(LeaseOptions::new().cwd(directory.path())).unwrap();
        assert_eq!(lease.read_only(), [directory.path()]);
        let probe = Probe::new().with_path("here", directory.path());
        assert_eq!(probe.one_inside(&lease, "create(here + '/new')"), "EROFS");
        assert_eq!(probe.one_inside(&lease, "create(here + '/below/new')"), "EROFS");
        // The control: what has no mount below is layered, by the same server.
        let plain = tempfile::tempdir().unwrap();
        let lease = server.client().acquire(LeaseOptions::new().cwd(plain.path())).unwrap();
        assert!(lease.read_only().is_empty());
        let probe = Probe::new().with_path("here", plain.path());
        assert_eq!(probe.one_inside(&lease, "create(here + '/new')"), "ok");
    }
}

#[test]
fn a_profile_without_a_writable_working_directory_shows_it_read_only() {
    let config = "[profile.default]\nwritable = [\"/tmp\"]\n";
    let server = Setup::default().config(config).start();
    for place in [std::env::temp_dir(), zyg_tests::home()] {
        let directory = tempfile::Builder::new().prefix(".zyg-test-").tempdir_in(place).unwrap();
        fs::write(directory.path().join("file"), "host").unwrap();
        let lease = server.client().acquire(LeaseOptions::new().cwd(directory.path())).unwrap();
        let probe = Probe::new().with_path("here", directory.path());
        assert_eq!(probe.one_inside(&lease, "result = read(here + '/file')"), "host");
        assert_eq!(probe.one_inside(&lease, "create(here + '/new')"), "EROFS");
        assert_eq!(probe.one_inside(&lease, "write(here + '/file')"), "EROFS");
        assert_eq!(probe.one_outside("create(here + '/new')"), "ok");
    }
}
