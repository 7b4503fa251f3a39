//! An `/etc` with what programs cannot do without, and nothing of the host's users.

use crate::failure::At;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use zyg_protocol::message::{Failure, Step};

/// Of the host's, shown where they are: the dynamic linker's, certificates, Debian's choices among
/// programs. Nothing in them is about anybody.
pub(super) const SHOWN: [&str; 8] = [
    "/etc/ld.so.cache",
    "/etc/ld.so.conf",
    "/etc/ld.so.conf.d",
    "/etc/ssl/certs",
    "/etc/pki/tls/certs",
    "/etc/ca-certificates",
    "/etc/alternatives",
    "/etc/protocols",
];

/// Where the command's home is, and what it is called.
const HOME: &str = "/home/user";

/// Writes the files that are made anew below `root`, for a command that sees itself as this uid
/// and gid.
pub(super) fn build(root: &Path, (uid, gid): (u32, u32)) -> Result<(), Failure> {
    let etc = root.join("etc");
    fs::create_dir_all(&etc).at_subject(Step::HostDirectory, "/etc")?;
    let (user, group) = if uid == 0 {
        (String::new(), String::new())
    } else {
        (format!("user:x:{uid}:{gid}::{HOME}:/bin/sh\n"), format!("user:x:{gid}:\n"))
    };
    let files = [
        (
            "passwd",
            format!(
                "root:x:0:0::/root:/bin/sh\n{user}nobody:x:65534:65534::/nonexistent:/bin/false\n"
            ),
        ),
        ("group", format!("root:x:0:\n{group}nogroup:x:65534:\n")),
        ("nsswitch.conf", "passwd: files\ngroup: files\nhosts: files dns\n".to_owned()),
        ("hosts", "127.0.0.1 localhost\n::1 localhost\n".to_owned()),
        ("resolv.conf", String::new()),
    ];
    for (name, content) in files {
        fs::write(etc.join(name), content).at_subject(Step::HostDirectory, name)?;
    }
    symlink("/proc/self/mounts", etc.join("mtab")).at_subject(Step::HostDirectory, "mtab")
}
