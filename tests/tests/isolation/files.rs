//! The host's files are read-only, and what is writable is private: gone with the lease.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use tempfile::TempDir;
use zyg_tests::{Findings, Probe, Refused, Server, Setup};
use zygote_client::{Lease, LeaseOptions};

/// A directory of the host that environments show, for what they must not change.
fn in_home() -> TempDir {
    tempfile::Builder::new().prefix(".zyg-test-").tempdir_in(home()).unwrap()
}

fn home() -> PathBuf {
    zygote::users::with_uid(nix::unistd::getuid().as_raw()).unwrap().home
}

/// Only `/tmp` is private, so that the user's own home is one of the host's read-only directories.
const NARROW: &str = "[profile.default]\nwritable = [\"/tmp\"]\n";

#[test]
fn files_of_the_host_cannot_be_changed_even_by_their_owner() {
    let server = Setup::default().config(NARROW).start_warm();
    let lease = server.client().lease().unwrap();
    let own = in_home();
    fs::write(own.path().join("file"), "original").unwrap();
    fs::write(own.path().join("spare"), "").unwrap();
    fs::create_dir(own.path().join("spare-directory")).unwrap();
    // Acts that succeed once are undone, in this order, by those that follow.
    let acts = [
        row("make a file", "create(own + '/new')"),
        row("make a directory", "os.mkdir(own + '/newdir')"),
        row("make a symbolic link", "os.symlink('/', own + '/newlink')"),
        row("make a fifo", "os.mkfifo(own + '/newfifo')"),
        row("bind a socket", "socket.socket(socket.AF_UNIX).bind(own + '/s')"),
        row("open for writing", "write(own + '/file')"),
        row("append", "os.open(own + '/file', os.O_WRONLY | os.O_APPEND)"),
        row("truncate", "os.truncate(own + '/file', 1)"),
        row("change the mode", "os.chmod(own + '/file', 0o600)"),
        row("change the owner", "os.chown(own + '/file', os.getuid(), -1)"),
        row("set times", "os.utime(own + '/file')"),
        row("set an attribute", "os.setxattr(own + '/file', 'user.zyg', b'x')"),
        row("make a hard link", "os.link(own + '/file', own + '/hard')"),
        row("rename", "os.rename(own + '/spare', own + '/moved')"),
        row(
            "remove a file",
            "os.unlink(own + '/moved' if os.path.exists(own + '/moved') else own + '/spare')",
        ),
        row("remove a directory", "os.rmdir(own + '/spare-directory')"),
    ];
    Probe::new().with_path("own", own.path()).assert_refused(&lease, &acts);
}

const fn row(act: &'static str, code: &'static str) -> Refused {
    Refused { act, code, inside: &["EROFS"], control: "" }
}

#[test]
fn directories_of_the_system_are_read_only() {
    let server = Server::start();
    let lease = server.client().lease().unwrap();
    let make = |act, code| Refused {
        act,
        code,
        inside: &["EROFS"],
        control: "os.mkdir(own + '/' + str(os.getpid()))",
    };
    let rows = [
        make("/", "os.mkdir('/zyg-test')"),
        make("/usr", "os.mkdir('/usr/zyg-test')"),
        make("/usr/bin", "os.mkdir('/usr/bin/zyg-test')"),
        make("/etc", "os.mkdir('/etc/zyg-test')"),
        make("/var", "os.mkdir('/var/zyg-test')"),
        make("/var/lib", "os.mkdir('/var/lib/zyg-test')"),
        make("/home", "os.mkdir('/home/zyg-test')"),
        make("/opt", "os.mkdir('/opt/zyg-test')"),
        make("/dev", "os.mkdir('/dev/zyg-test')"),
    ];
    let own = in_home();
    Probe::new().with_path("own", own.path()).assert_refused(&lease, &rows);
}

/// An act in each private place, by the place's name; `where` is the place.
fn in_each(act: &str) -> Vec<(&'static str, String)> {
    let places = [
        ("/tmp", "where = '/tmp'\n"),
        ("/var/tmp", "where = '/var/tmp'\n"),
        ("/dev/shm", "where = '/dev/shm'\n"),
        ("/run", "where = '/run'\n"),
        ("home", "where = home\n"),
    ];
    places.iter().map(|(name, place)| (*name, format!("{place}{act}"))).collect()
}

fn assert_each(findings: Findings, expected: &str) {
    assert_eq!(findings.len(), 5);
    for (place, found) in findings {
        assert_eq!(found, expected, "{place}");
    }
}

#[test]
fn private_places_are_empty_at_first_and_discarded() {
    let server = Server::start();
    let client = server.client();
    let name = format!("zyg-test-{}", std::process::id());
    let probe = Probe::new().with("name", name).with_path("home", &home());
    let inside = |lease: &Lease, act| probe.inside(lease, &borrowed(&in_each(act)));
    const EMPTY: &str = "result = where == home or set(os.listdir(where)) <= {'user', 'lock'}";
    const LOOK: &str = "os.stat(where + '/' + name)";
    let lease = client.lease().unwrap();
    assert_each(inside(&lease, EMPTY), "True");
    assert_each(inside(&lease, "create(where + '/' + name)"), "ok");
    assert_each(inside(&lease, LOOK), "ok");
    assert_each(probe.outside(&borrowed(&in_each(LOOK))), "ENOENT");
    assert_each(inside(&client.lease().unwrap(), LOOK), "ENOENT");
    drop(lease);
    for _ in 0..5 {
        let next = client.lease().unwrap();
        assert_each(inside(&next, LOOK), "ENOENT");
        assert_each(inside(&next, EMPTY), "True");
    }
}

fn borrowed<'a>(acts: &'a [(&'static str, String)]) -> Vec<(&'a str, &'a str)> {
    acts.iter().map(|(name, code)| (*name, code.as_str())).collect()
}

#[test]
fn the_working_directory_is_seen_and_its_changes_are_discarded() {
    let server = Server::start();
    let client = server.client();
    for directory in [in_home(), tempfile::tempdir().unwrap()] {
        fs::write(directory.path().join("seen"), "host").unwrap();
        let mut options = LeaseOptions::new();
        let options = options.cwd(directory.path());
        let lease = client.acquire(options).unwrap();
        assert!(lease.read_only().is_empty());
        let script = "cat seen; echo private > seen; echo x > new; cat seen new; pwd";
        let output = lease.command("sh").args(["-c", script]).output().unwrap();
        let expected = format!("hostprivate\nx\n{}\n", directory.path().display());
        assert_eq!(String::from_utf8_lossy(&output.stdout), expected);
        assert_eq!(fs::read_to_string(directory.path().join("seen")).unwrap(), "host");
        assert!(!directory.path().join("new").exists());
        let next = client.acquire(options).unwrap();
        let output = next.command("cat").args(["seen", "new"]).output().unwrap();
        assert_eq!(output.stdout, b"host");
    }
}

#[test]
fn a_bind_keeps_what_is_written_and_a_read_only_one_refuses_it() {
    let server = Server::start();
    let client = server.client();
    let shared = tempfile::tempdir().unwrap();
    let mut options = LeaseOptions::new();
    options.bind(shared.path(), "/tmp/shared").ro_bind(shared.path(), "/tmp/fixed");
    let lease = client.acquire(&options).unwrap();
    let probe = Probe::new();
    assert_eq!(probe.one_inside(&lease, "create('/tmp/shared/kept')"), "ok");
    assert_eq!(probe.one_inside(&lease, "os.stat('/tmp/fixed/kept')"), "ok");
    assert_eq!(probe.one_inside(&lease, "create('/tmp/fixed/refused')"), "EROFS");
    assert_eq!(probe.one_inside(&lease, "write('/tmp/fixed/kept')"), "EROFS");
    assert!(shared.path().join("kept").exists());
    let next = client.acquire(&options).unwrap();
    assert_eq!(probe.one_inside(&next, "os.stat('/tmp/shared/kept')"), "ok");
}

#[test]
fn no_way_leads_out_of_the_root() {
    let server = Server::start();
    let directory = tempfile::tempdir().unwrap();
    fs::write(directory.path().join("secret"), "").unwrap();
    let shown = directory.path().join("shown");
    fs::create_dir(&shown).unwrap();
    let mut options = LeaseOptions::new();
    let lease = server.client().acquire(options.bind(&shown, "/tmp/shown")).unwrap();
    let secret = directory.path().join("secret");
    let probe = Probe::new().with_path("secret", &secret);
    let hidden = |act, code| Refused { act, code, inside: &["ENOENT"], control: "os.stat(secret)" };
    let rows = [
        hidden("by its name", "os.stat(secret)"),
        hidden("above /", "os.stat('/../../..' + secret)"),
        hidden("above a bind", "os.stat('/tmp/shown/../secret')"),
        hidden("above a bind, by directory", "os.chdir('/tmp/shown'); os.stat('../secret')"),
        hidden(
            "above a bind, by descriptor",
            "os.fchdir(os.open('/tmp/shown', os.O_RDONLY)); os.chdir('..'); os.stat('secret')",
        ),
        hidden("by a symbolic link", "os.symlink(secret, '/tmp/link'); os.stat('/tmp/link')"),
        hidden("through /proc/self/root", "os.stat('/proc/self/root/../' + secret)"),
        hidden("through /proc/self/cwd", "os.chdir('/'); os.stat('/proc/self/cwd/..' + secret)"),
        hidden("through a thread's root", "os.stat('/proc/thread-self/root' + secret)"),
        hidden("out of /proc", "os.stat('/proc/../..' + secret)"),
    ];
    probe.assert_refused(&lease, &rows);
}

#[test]
fn links_do_not_lead_from_private_places_to_the_hosts_files() {
    let server = Server::start();
    let lease = server.client().lease().unwrap();
    let own = in_home();
    fs::write(own.path().join("file"), "original").unwrap();
    let probe = Probe::new().with_path("own", own.path());
    let rows = [
        Refused {
            act: "a hard link to a file of the system",
            code: "os.link('/etc/passwd', '/tmp/hard')",
            inside: &["EXDEV", "EPERM"],
            control: "os.link(own + '/file', own + '/hard')",
        },
        Refused {
            act: "a hard link from one private place to another",
            code: "create('/tmp/one'); os.link('/tmp/one', '/dev/shm/two')",
            inside: &["EXDEV"],
            control: "create(own + '/one'); os.link(own + '/one', own + '/two')",
        },
        Refused {
            act: "writing through a symbolic link",
            code: "os.symlink('/usr/zyg-test', '/tmp/link'); os.mkdir('/tmp/link/x')",
            inside: &["ENOENT", "EROFS"],
            control: "os.mkdir(own + '/d'); os.symlink(own + '/d', own + '/l'); os.mkdir(own + '/l/x')",
        },
    ];
    probe.assert_refused(&lease, &rows);
    // Home is layered: a hard link there copies, and the host's file is as it was.
    let link = "os.link(own + '/file', own + '/layered'); write(own + '/layered', 'changed!')";
    assert_eq!(probe.one_inside(&lease, link), "ok");
    assert_eq!(fs::read_to_string(own.path().join("file")).unwrap(), "original");
    assert!(!own.path().join("layered").exists());
}

#[test]
fn modes_of_private_places_are_those_of_the_host_again_in_the_next_lease() {
    let server = Server::start();
    let client = server.client();
    let lease = client.lease().unwrap();
    let mode = "result = oct(os.stat('/tmp').st_mode & 0o7777)";
    let close = format!("os.chmod('/tmp', 0); {mode}");
    assert_eq!(Probe::new().one_inside(&lease, &close), "0o0");
    drop(lease);
    let outside = fs::metadata("/tmp").unwrap().permissions().mode() & 0o7777;
    assert_eq!(Probe::new().one_inside(&client.lease().unwrap(), mode), format!("0o{outside:o}"));
}
