//! Sources: of `--bind` and `--ro-bind`, the working directory, the program's directory.

use crate::place::{ALLOWED, Place, bytes, prepare, run, user};
use crate::swapper::Swapper;
use nix::sys::stat::fstat;
use nix::sys::statfs::fstatfs;
use nix::sys::statvfs::FsFlags;
use std::fs;
use std::os::fd::AsFd;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use zyg_protocol::message::{Acquire, Denial, Mount};
use zyg_tests::is_root;

/// Acquires in each race.
const TRIES: u64 = 600;

/// One in so many is looked at from inside as well, which takes longer.
const INSIDE: u64 = 6;

fn bind(source: &Path, read_only: bool) -> Acquire {
    let mount = Mount::Bind { source: bytes(source), target: b"/mnt".to_vec().into(), read_only };
    Acquire { mounts: vec![mount], ..Acquire::default() }
}

/// What came of the tries.
#[derive(Debug, Default)]
struct Seen {
    granted: u64,
    refused: u64,
    read: u64,
}

/// Asks again and again. Whatever is opened is nothing that the client may not see, and carries no
/// more rights than any bind; what `script` prints inside at `cwd` is what is allowed, or nothing.
fn hammer(place: &Place, acquire: &Acquire, tries: u64, cwd: &str, script: &str) -> Seen {
    let mut seen = Seen::default();
    for request in 0..tries {
        match place.acquire(Acquire { request, ..acquire.clone() }) {
            Ok(lease) => {
                seen.granted += 1;
                for tree in &lease.trees {
                    let opened = fstat(tree).unwrap();
                    let opened = (opened.st_dev, opened.st_ino);
                    assert!(!place.forbidden.contains(&opened), "forbidden ground was opened");
                    let flags = fstatfs(tree.as_fd()).unwrap().flags();
                    assert!(flags.contains(FsFlags::ST_NOSUID | FsFlags::ST_NODEV), "{flags:?}");
                }
                if request % INSIDE == 0 && prepare(&lease) {
                    let (printed, _) = run(&lease, cwd, script);
                    assert!([ALLOWED, ""].contains(&printed.as_str()), "{printed:?}");
                    seen.read += u64::from(printed == ALLOWED);
                }
            }
            Err(Denial::MountRefused { .. }) => seen.refused += 1,
            Err(other) => panic!("{other:?}"),
        }
    }
    seen
}

/// A race in which both come about: what is allowed, and a refusal.
fn race(place: &Place, names: [&Path; 2], acquire: &Acquire, cwd: &str, script: &str) {
    let swapper = Swapper::start(names[0], names[1]);
    let before = swapper.swaps();
    let mut seen = hammer(place, acquire, TRIES, cwd, script);
    // Until either has won once: on a machine with one processor that may take longer.
    for _ in 0..10 {
        if seen.granted > 0 && seen.refused > 0 && seen.read > 0 {
            break;
        }
        let more = hammer(place, acquire, TRIES, cwd, script);
        seen.granted += more.granted;
        seen.refused += more.refused;
        seen.read += more.read;
    }
    let swaps = swapper.swaps() - before;
    eprintln!("{seen:?} in {swaps} exchanges");
    assert!(seen.granted > 0 && seen.refused > 0 && seen.read > 0, "no race: {seen:?}");
}

/// Each place that is closed to the client.
fn closed() -> &'static [&'static str] {
    if is_root() { &["closed", "roots"] } else { &["closed"] }
}

#[test]
fn a_source_that_becomes_a_link_to_a_closed_place() {
    for closed in closed() {
        let place = Place::new();
        let link = place.link("link", place.at(closed).join("secret"));
        let names = [place.at("allowed"), link];
        let names = [names[0].as_path(), names[1].as_path()];
        race(&place, names, &bind(names[0], false), "/", "cat /mnt/file 2>/dev/null");
    }
}

#[test]
fn a_read_only_source_that_becomes_a_link_to_a_closed_place() {
    let place = Place::new();
    let link = place.link("link", place.at(closed().last().unwrap()).join("secret"));
    let names = [place.at("allowed"), link];
    let names = [names[0].as_path(), names[1].as_path()];
    let script = "touch /mnt/made 2>/dev/null && echo written; cat /mnt/file 2>/dev/null";
    race(&place, names, &bind(names[0], true), "/", script);
    assert!(!place.at("allowed").join("made").exists() && !names[1].join("made").exists());
}

#[test]
fn a_parent_that_becomes_a_closed_place() {
    for closed in closed() {
        let place = Place::new();
        let names = [place.at("allowed"), place.at(closed)];
        let names = [names[0].as_path(), names[1].as_path()];
        let source = names[0].join("p");
        race(&place, names, &bind(&source, false), "/", "cat /mnt/file 2>/dev/null");
    }
}

#[test]
fn a_parent_that_becomes_a_link_to_a_closed_place() {
    for closed in closed() {
        let place = Place::new();
        let link = place.link("link", place.at(closed));
        let names = [place.at("allowed"), link];
        let names = [names[0].as_path(), names[1].as_path()];
        let source = names[0].join("p");
        race(&place, names, &bind(&source, false), "/", "cat /mnt/file 2>/dev/null");
    }
}

#[test]
fn a_file_that_becomes_a_link_to_a_closed_one() {
    for closed in closed() {
        let place = Place::new();
        let link = place.link("link", place.at(closed).join("secret/file"));
        let names = [place.at("allowed/file"), link];
        let names = [names[0].as_path(), names[1].as_path()];
        let target = b"/tmp/seen".to_vec().into();
        let mount = Mount::Bind { source: bytes(names[0]), target, read_only: false };
        let acquire = Acquire { mounts: vec![mount], ..Acquire::default() };
        race(&place, names, &acquire, "/", "cat /tmp/seen 2>/dev/null");
    }
}

/// A file that can be named and not read (mode 0640 of root's) may be mounted, and is not read
/// inside either.
#[test]
fn a_file_that_becomes_a_link_to_one_that_cannot_be_read() {
    let place = Place::new();
    let link = place.link("link", "/etc/shadow");
    let file = place.at("allowed/file");
    let mount = Mount::Bind {
        source: bytes(&file),
        target: b"/tmp/seen".to_vec().into(),
        read_only: false,
    };
    let acquire = Acquire { mounts: vec![mount], ..Acquire::default() };
    let swapper = Swapper::start(&file, &link);
    let script = "head -n 1 /tmp/seen 2>/dev/null; echo x 2>/dev/null >>/tmp/seen";
    let shadow = fs::metadata("/etc/shadow").map(|shadow| (shadow.len(), shadow.mtime())).unwrap();
    let seen = hammer(&place, &acquire, TRIES, "/", script);
    drop(swapper);
    assert_eq!(seen.refused, 0, "{seen:?}");
    let after = fs::metadata("/etc/shadow").map(|shadow| (shadow.len(), shadow.mtime())).unwrap();
    assert_eq!(after, shadow);
}

/// Links that a process itself is behind, be it the template that opens them, the server, or the
/// first process of all (proc_pid_root(5), proc_pid_fd(5)).
#[test]
fn a_source_that_becomes_a_link_through_a_process() {
    let place = Place::new();
    let secret = place.at(closed().last().unwrap()).join("secret");
    let secret = secret.strip_prefix("/").unwrap();
    let server = place.server.pid();
    let mut ways = vec![format!("/proc/{server}/fd/{}", 5)];
    for process in ["self".to_owned(), "1".to_owned(), server.to_string()] {
        ways.push(format!("/proc/{process}/root/{}", secret.display()));
        ways.push(format!("/proc/{process}/cwd/{}", secret.display()));
        ways.push(format!("/proc/{process}/exe"));
        ways.extend((0..12).map(|number| format!("/proc/{process}/fd/{number}")));
        ways.extend(["mnt", "net", "user"].map(|kind| format!("/proc/{process}/ns/{kind}")));
    }
    let (allowed, link) = (place.at("allowed"), place.at("link"));
    for way in ways {
        place.link("link", &way);
        let swapper = Swapper::start(&allowed, &link);
        for request in 0..10 {
            match place.acquire(Acquire { request, ..bind(&allowed, false) }) {
                Ok(lease) => {
                    let opened = fstat(&lease.trees[0]).unwrap();
                    assert!(!place.forbidden.contains(&(opened.st_dev, opened.st_ino)), "{way}");
                    if request == 0 && prepare(&lease) {
                        let (printed, _) = run(&lease, "/", "cat /mnt/file 2>/dev/null");
                        assert!([ALLOWED, ""].contains(&printed.as_str()), "{way}: {printed:?}");
                    }
                }
                Err(Denial::MountRefused { .. }) => {}
                Err(other) => panic!("{way}: {other:?}"),
            }
        }
        drop(swapper);
        let is_link = |path: &Path| fs::symlink_metadata(path).unwrap().is_symlink();
        if is_link(&allowed) {
            fs::rename(&allowed, place.at("other")).unwrap();
            fs::rename(&link, &allowed).unwrap();
            fs::rename(place.at("other"), &link).unwrap();
        }
        fs::remove_file(&link).unwrap();
    }
}

#[test]
fn a_working_directory_that_becomes_a_link_to_a_closed_place() {
    let place = Place::new();
    let link = place.link("link", place.at(closed().last().unwrap()).join("secret"));
    let names = [place.at("allowed"), link];
    let names = [names[0].as_path(), names[1].as_path()];
    let acquire = Acquire { cwd: Some(bytes(names[0])), ..Acquire::default() };
    let script = "cat file 2>/dev/null; echo changed >file; touch made";
    race(&place, names, &acquire, names[0].to_str().unwrap(), script);
    // A working directory is private as well.
    for name in names.map(|name| name.join("file")) {
        assert!(
            [Ok(ALLOWED.to_owned()), Err(())].contains(&fs::read_to_string(name).map_err(drop))
                || is_root()
        );
    }
    assert!(names.iter().all(|name| !name.join("made").exists()));
}

#[test]
fn a_programs_directory_that_becomes_a_link_to_a_closed_place() {
    let place = Place::new();
    let link = place.link("link", place.at(closed().last().unwrap()).join("secret"));
    let names = [place.at("allowed"), link];
    let names = [names[0].as_path(), names[1].as_path()];
    let program = names[0].join("file");
    let acquire = Acquire { program: Some(bytes(&program)), ..Acquire::default() };
    let script = format!("cat {} 2>/dev/null", program.display());
    race(&place, names, &acquire, "/", &script);
}

/// What is written goes where the client itself may write, and belongs to it.
#[test]
fn what_is_made_through_a_bind_is_the_clients() {
    let place = Place::new();
    let other = place.at("other");
    fs::create_dir(&other).unwrap();
    crate::place::own(&other);
    // One that everybody sees and nobody but root may change.
    let link = place.link("link", "/usr");
    let allowed = place.at("allowed");
    let name = format!("made-{}", std::process::id());
    let script = format!("touch /mnt/{name} 2>/dev/null");
    for partner in [&other, &link] {
        let swapper = Swapper::start(&allowed, partner);
        let mut made = 0;
        for request in 0..100 {
            let lease = place.acquire(Acquire { request, ..bind(&allowed, false) }).unwrap();
            assert!(prepare(&lease));
            made += u64::from(run(&lease, "/", &script).1);
        }
        drop(swapper);
        assert!(made > 0, "the control: it may write in its own");
        assert!(!Path::new("/usr").join(&name).exists());
        let made = [&allowed, partner].map(|directory| fs::metadata(directory.join(&name)));
        let made: Vec<_> = made.into_iter().flatten().collect();
        assert!(!made.is_empty() && made.iter().all(|file| file.uid() == user()));
        assert!(made.iter().all(|file| file.gid() == user() || !is_root()));
    }
}
