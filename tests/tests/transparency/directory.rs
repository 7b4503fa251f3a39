//! The command starts in the caller's working directory, whatever it is called.

use crate::arguments::script;
use crate::run::{Way, same_when};
use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::{Duration, SystemTime};
use zyg_tests::{Server, home};

/// What is in the directory, and where it is: by the kernel, not by `$PWD`.
const LOOK: [&str; 3] = ["sh", "-c", "cd -P . && pwd; ls -A; cat file"];

/// Names that mean something to shells, to mount options, to terminals, or to nobody.
const NAMES: [&[u8]; 14] = [
    b"plain",
    b"with space",
    b" ",
    b"two\nlines",
    b"colon:comma,equals=",
    b"back\\slash\\054",
    b"quote'quote\"",
    b"-dash",
    b"$(touch x)`y`*?[z]",
    b"per%cent%s",
    b"\xff\xfe not text \x80",
    "umlaut \u{fc}".as_bytes(),
    b"\x1b[1m\x07",
    &[b'n'; 255],
];

fn look_the_same_below(server: &Server, parent: &Path) {
    for name in NAMES {
        let directory = parent.join(OsStr::from_bytes(name));
        fs::create_dir(&directory).unwrap();
        fs::write(directory.join("file"), name).unwrap();
        let seen = same_when(server, &LOOK, |command| command.current_dir(&directory));
        assert!(seen.stdout.starts_with(directory.as_os_str().as_bytes()), "{seen:?}");
        assert!(seen.stdout.ends_with(name), "{seen:?}");
        assert_eq!((seen.stderr.len(), seen.code), (0, 0), "{seen:?}");
    }
}

#[test]
fn a_directory_below_home_of_any_name_is_there() {
    let server = Server::start();
    let place = tempfile::tempdir_in(home()).unwrap();
    look_the_same_below(&server, place.path());
}

#[test]
fn a_directory_below_a_private_place_of_any_name_is_there() {
    let server = Server::start();
    let place = tempfile::tempdir_in("/tmp").unwrap();
    look_the_same_below(&server, place.path());
}

#[test]
fn a_directory_below_that_of_the_program_is_writable() {
    let server = Server::start();
    for parent in [Path::new("/tmp"), &home()] {
        let place = tempfile::tempdir_in(parent).unwrap();
        let tests = place.path().join("tests");
        fs::create_dir(&tests).unwrap();
        script(&place.path().join("prog"), "#!/bin/sh\necho x >result && cat result\n");
        // The first by a path, the other by PATH.
        for argv in [["../prog"], ["prog"]] {
            let seen = same_when(&server, &argv, |command| {
                command.current_dir(&tests).env("PATH", format!("{}:/usr/bin:/bin", text(&place)))
            });
            assert_eq!((&seen.stdout[..], seen.code), (&b"x\n"[..], 0), "{seen:?}");
        }
        fs::remove_file(tests.join("result")).unwrap();
        let mut alone = server.zyg("run");
        alone.current_dir(&tests).args(["--", "../prog"]);
        assert!(alone.status().unwrap().success());
        assert!(!tests.join("result").exists(), "what is written there stays there");
    }
}

fn text(place: &tempfile::TempDir) -> &str {
    place.path().to_str().unwrap()
}

#[test]
fn a_directory_of_the_host_is_there() {
    let server = Server::start();
    let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap();
    for directory in ["/usr", "/usr/share", "/etc", "/usr/bin", "/var/lib"] {
        let below = format!("{directory}/");
        let mut points = mounts.lines().filter_map(|mount| mount.split(' ').nth(4));
        if let Some(point) = points.find(|point| point.starts_with(&below)) {
            // It is told to be read-only, which is something else (`zyg run`).
            eprintln!("NOT SHOWN for {directory}: {point} is a mount below it");
            continue;
        }
        let argv = ["sh", "-c", "cd -P . && pwd; ls -A"];
        let seen = same_when(&server, &argv, |command| command.current_dir(directory));
        assert!(seen.stdout.starts_with(directory.as_bytes()) && seen.code == 0, "{seen:?}");
    }
}

#[test]
fn a_place_that_every_environment_has_of_its_own_is_the_working_directory_too() {
    let server = Server::start();
    for directory in ["/", "/tmp", "/var/tmp", "/dev/shm", "/run", "/proc", "/sys", "/dev"] {
        let seen = same_when(&server, &["pwd"], |command| {
            command.current_dir(directory).env("PWD", directory)
        });
        let expected = fs::canonicalize(directory).unwrap();
        assert!(seen.stdout.starts_with(expected.as_os_str().as_bytes()), "{seen:?}");
        assert_eq!(seen.code, 0);
    }
}

#[test]
fn the_way_to_a_directory_through_links_is_kept() {
    let server = Server::start();
    let place = tempfile::tempdir_in(home()).unwrap();
    fs::create_dir(place.path().join("real")).unwrap();
    let link = place.path().join("link");
    std::os::unix::fs::symlink("real", &link).unwrap();
    let seen = same_when(&server, &["sh", "-c", "pwd -L; cd -P .; pwd"], |command| {
        command.current_dir(&link).env("PWD", &link)
    });
    let expected = format!("{}\n{}\n", link.display(), place.path().join("real").display());
    assert_eq!(String::from_utf8_lossy(&seen.stdout), expected);
}

#[test]
fn a_directory_that_is_deep_is_there() {
    let server = Server::start();
    let place = tempfile::tempdir_in("/tmp").unwrap();
    let mut directory = place.path().to_owned();
    // Longer than one component may be, shorter than a path may be (PATH_MAX, 4096).
    while directory.as_os_str().len() < 3500 {
        directory.push("d".repeat(100));
    }
    fs::create_dir_all(&directory).unwrap();
    let argv = ["sh", "-c", "cd -P . && pwd"];
    let seen = same_when(&server, &argv, |command| command.current_dir(&directory));
    assert_eq!(seen.stdout.len(), directory.as_os_str().len() + 1);
}

#[test]
fn what_lies_beside_a_directory_below_a_private_place_is_not_shown() {
    let server = Server::start();
    let place = tempfile::tempdir_in("/tmp").unwrap();
    fs::create_dir(place.path().join("here")).unwrap();
    fs::write(place.path().join("beside"), "").unwrap();
    let look = ["ls", "../beside"];
    for (way, expected) in [(Way::Bare, true), (Way::Zyg, false)] {
        let mut command = way.command(&server, &look);
        let output = command.current_dir(place.path().join("here")).output().unwrap();
        assert_eq!(output.status.success(), expected, "{way:?}");
    }
}

/// As shared checkouts have it: what is made there is of the directory's group.
#[test]
fn a_directory_looks_as_it_does_outside() {
    let server = Server::start();
    for parent in [Path::new("/tmp"), &home()] {
        let place = tempfile::tempdir_in(parent).unwrap();
        let directory = place.path().join("shared");
        fs::create_dir(&directory).unwrap();
        fs::set_permissions(&directory, fs::Permissions::from_mode(0o3771)).unwrap();
        let old = SystemTime::UNIX_EPOCH + Duration::new(987_654_321, 123_456_789);
        fs::File::open(&directory).unwrap().set_modified(old).unwrap();
        let look = ["stat", "-c", "%A %U %G %y", "."];
        let seen = same_when(&server, &look, |command| command.current_dir(&directory));
        let said = String::from_utf8_lossy(&seen.stdout).into_owned();
        assert!(said.starts_with("drwxrws--t ") && said.contains(".123456789"), "{said}");
        let make = ["sh", "-c", "mkdir it && stat -c '%A %G' it; rmdir it"];
        let seen = same_when(&server, &make, |command| command.current_dir(&directory));
        assert_eq!(seen.stdout[6], b's', "{seen:?}");
    }
}
