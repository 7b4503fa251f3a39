//! Targets: a mount point that lies in another mount of the lease, and that somebody outside changes
//! while init makes and finds it. Init finds it in its own tree: the host's is out of reach.

use crate::place::{Place, bytes, own, prepare, run};
use crate::swapper::Swapper;
use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use zyg_protocol::message::{Acquire, Mount};

/// Leases for each way out.
const TRIES: u64 = 60;

fn bind(source: &Path, target: &str) -> Mount {
    let target = target.as_bytes().to_vec().into();
    Mount::Bind { source: bytes(source), target, read_only: false }
}

/// Everything below a directory.
fn everything(directory: &Path) -> BTreeSet<PathBuf> {
    let mut found = BTreeSet::new();
    for entry in fs::read_dir(directory).into_iter().flatten().map(Result::unwrap) {
        found.insert(entry.path());
        if entry.file_type().unwrap().is_dir() {
            found.extend(everything(&entry.path()));
        }
    }
    found
}

#[test]
fn a_mount_point_that_becomes_a_link_leads_nowhere_outside() {
    let place = Place::new();
    let (shared, other, victim) = (place.at("shared"), place.at("other"), place.at("victim"));
    for directory in [&shared, &other, &victim, &shared.join("y")] {
        fs::create_dir(directory).unwrap();
        own(directory);
    }
    fs::write(other.join("file"), "other").unwrap();
    let below = |name: &str| victim.join(name).to_str().unwrap().to_owned();
    let ways = [
        "../../..".to_owned(),
        "/".to_owned(),
        "/usr".to_owned(),
        "..".to_owned(),
        below(""),
        below("new"),
        format!("/proc/self/root{}", victim.display()),
        format!("/proc/1/root{}", victim.display()),
        "/proc/self/fd/3".to_owned(),
        "/proc/self/fd/5".to_owned(),
        "/dev/shm".to_owned(),
    ];
    let mounts = [
        vec![bind(&shared, "/tmp/x"), bind(&other, "/tmp/x/y")],
        vec![bind(&shared, "/tmp/x"), bind(&other, "/tmp/x/y/deep/er")],
        vec![bind(&shared, "/tmp/x"), bind(&other.join("file"), "/tmp/x/y/made/file")],
        vec![bind(&shared, "/tmp/x"), Mount::Tmpfs { target: b"/tmp/x/y/memory".to_vec().into() }],
    ];
    let roots = everything_at_the_top();
    let (mut prepared, mut failed) = (0, 0);
    for way in ways {
        let link = place.link("link", &way);
        let swapper = Swapper::start(&shared.join("y"), &link);
        for request in 0..TRIES {
            let mounts = mounts[request as usize % mounts.len()].clone();
            let acquire = Acquire { request, mounts, ..Acquire::default() };
            let lease = place.acquire(acquire).unwrap();
            if prepare(&lease) {
                prepared += 1;
                // Whatever it became inside, it is inside.
                run(&lease, "/", "echo x >/tmp/x/y/written; echo x >/tmp/x/y/deep/er/written");
            } else {
                failed += 1;
            }
        }
        drop(swapper);
        assert_eq!(everything(&victim), BTreeSet::new(), "{way}");
        let left = if link.is_symlink() { link } else { shared.join("y") };
        let other = if left == shared.join("y") { place.at("link") } else { shared.join("y") };
        fs::remove_file(&left).unwrap();
        if other != shared.join("y") {
            fs::rename(other, shared.join("y")).unwrap();
        }
    }
    eprintln!("{prepared} prepared, {failed} failed");
    assert!(prepared > 0, "the control: it can be had");
    assert_eq!(everything_at_the_top(), roots);
    assert!(!Path::new("/usr/deep").exists() && !Path::new("/usr/made").exists());
}

fn everything_at_the_top() -> BTreeSet<PathBuf> {
    fs::read_dir("/").unwrap().map(|entry| entry.unwrap().path()).collect()
}
