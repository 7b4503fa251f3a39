//! A minimal /dev with pseudoterminals of its own.

use std::process::{Command, Stdio};
use zyg_tests::{Probe, Refused, Server};

#[test]
fn dev_holds_these_names_and_no_others() {
    let server = Server::start();
    let lease = server.client().lease().unwrap();
    let names = "result = ' '.join(sorted(os.listdir('/dev')))";
    assert_eq!(
        Probe::new().one_inside(&lease, names),
        "fd full null ptmx pts random shm stderr stdin stdout tty urandom zero"
    );
    assert_eq!(Probe::new().one_inside(&lease, "result = os.listdir('/dev/pts')"), "['ptmx']");
    assert_eq!(Probe::new().one_inside(&lease, "result = os.listdir('/dev/shm')"), "[]");
}

#[test]
fn the_devices_work() {
    let server = Server::start();
    let lease = server.client().lease().unwrap();
    let acts = [
        ("null swallows", "write('/dev/null')"),
        ("null is empty", "assert read('/dev/null') == ''"),
        ("zero", "assert os.read(os.open('/dev/zero', os.O_RDONLY), 4) == bytes(4)"),
        ("random", "assert len(os.read(os.open('/dev/random', os.O_RDONLY), 4)) == 4"),
        ("urandom", "assert len(os.read(os.open('/dev/urandom', os.O_RDONLY), 4)) == 4"),
        ("full", "write('/dev/full')"),
        ("tty", "os.open('/dev/tty', os.O_RDWR)"),
        ("stdin", "os.stat('/dev/stdin')"),
        ("fd", "assert os.path.realpath('/dev/fd') == f'/proc/{os.getpid()}/fd'"),
    ];
    for (act, found) in Probe::new().inside(&lease, &acts) {
        let expected = match act.as_str() {
            "full" => "ENOSPC",
            // No controlling terminal, as without --tty.
            "tty" => "ENXIO",
            _ => "ok",
        };
        assert_eq!(found, expected, "{act}");
    }
}

#[test]
fn devices_cannot_be_changed_or_made() {
    let server = Server::start();
    let lease = server.client().lease().unwrap();
    let rows = [
        Refused {
            act: "change the mode of null",
            code: "os.chmod('/dev/null', 0o666)",
            inside: &["EROFS"],
            control: "",
        },
        Refused {
            act: "set the times of null",
            code: "os.utime('/dev/null')",
            inside: &["EROFS"],
            control: "",
        },
        Refused {
            act: "replace null",
            code: "os.unlink('/dev/null')",
            inside: &["EROFS", "EBUSY"],
            control: "create(own); os.unlink(own)",
        },
        Refused {
            act: "make a device",
            code: "os.mknod('/tmp/node', stat.S_IFCHR | 0o600, os.makedev(1, 3))",
            inside: &["EPERM"],
            control: "os.mknod(own, stat.S_IFIFO | 0o600); os.unlink(own)",
        },
        Refused {
            act: "make a block device",
            code: "os.mknod('/tmp/node', stat.S_IFBLK | 0o600, os.makedev(254, 0))",
            inside: &["EPERM"],
            control: "os.mknod(own, stat.S_IFIFO | 0o600); os.unlink(own)",
        },
    ];
    let controlled: Vec<_> = rows
        .into_iter()
        // An ordinary user may not change the host's devices outside either.
        .map(|row| {
            if row.control.is_empty() && !zyg_tests::is_root() {
                Refused {
                    control: "create(own); os.chmod(own, 0o666); os.utime(own); os.unlink(own)",
                    ..row
                }
            } else {
                row
            }
        })
        .collect();
    let own = server.directory().join("own");
    Probe::new().with_path("own", &own).assert_refused(&lease, &controlled);
}

#[test]
fn pseudoterminals_are_numbered_from_zero_in_every_lease_and_the_hosts_are_hidden() {
    let server = Server::start();
    let client = server.client();
    let probe = Probe::new();
    let open = "import pty; master, slave = pty.openpty(); result = os.ttyname(slave)";
    // Python finds the standard library only with its site directories.
    let open = open.replace("import pty; ", "import pty\n");
    // One is held open outside meanwhile, so that number 0 of the host is taken in the main.
    let mut host = Command::new(zyg_tests::python());
    host.args(["-c", "import pty, sys; pty.openpty(); sys.stdin.read()"]).stdin(Stdio::piped());
    let mut host = host.spawn().unwrap();
    for _ in 0..2 {
        let lease = client.lease().unwrap();
        assert_eq!(probe.one_inside(&lease, &open), "/dev/pts/0");
        let other = client.lease().unwrap();
        assert_eq!(probe.one_inside(&other, &open), "/dev/pts/0");
        let talk = format!(
            "{open}\nos.write(master, b'hello\\n'); assert os.read(slave, 9) == b'hello\\n'"
        );
        assert_eq!(probe.one_inside(&lease, &talk), "/dev/pts/0");
        let listed = format!("{open}\nresult = sorted(os.listdir('/dev/pts'))");
        assert_eq!(probe.one_inside(&lease, &listed), "['0', 'ptmx']");
    }
    drop(host.stdin.take());
    host.wait().unwrap();
}
