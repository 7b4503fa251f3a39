//! What is seen of a zygote from outside: the evidence that nothing is left in it of a lease.
//!
//! The first look is taken before anybody has had it. Whatever a lease could have left in its
//! processes, in its mounts or with init shows in the same places, and must be as it was. Its ipc
//! and uts namespaces must be others; what is in its network namespace is told by its `account`.
//!
//! The kernel lets nobody look into init (`PR_SET_DUMPABLE(2const)`), the template neither. So init
//! hands out what there is no other way to: its procfs, which is held against the mount table, and
//! descriptors of the two namespaces.

use crate::sys::process::{Scheduling, scheduling};
use nix::dir::Dir;
use nix::errno::Errno;
use nix::fcntl::{AT_FDCWD, OFlag, openat, readlink};
use nix::sys::stat::{Mode, fstat, major, minor};
use nix::unistd::{Pid, getpid};
use std::collections::HashMap;
use std::fs::{self, File};
use std::io::Read;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use zyg_protocol::message::Fate;

/// Why a zygote cannot be used again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Doubt {
    /// A process is left beside init.
    Processes,
    /// Its mount table is another one.
    Mounts,
    /// A namespace is the one that the lease had.
    Namespaces,
    /// It is in another cgroup.
    Cgroup,
    /// Init itself is not what it was.
    Init,
    /// Its network tells something, or cannot be asked.
    Network,
    /// It could not be looked at.
    Unseen,
}

impl From<Doubt> for Fate {
    fn from(doubt: Doubt) -> Self {
        match doubt {
            Doubt::Processes => Self::ZygoteWithProcesses,
            Doubt::Mounts => Self::ZygoteWithMounts,
            Doubt::Namespaces => Self::ZygoteWithNamespaces,
            Doubt::Cgroup => Self::ZygoteInOtherCgroup,
            Doubt::Init => Self::ZygoteWithOtherInit,
            Doubt::Network => Self::ZygoteWithNetwork,
            Doubt::Unseen => Self::ZygoteUnseen,
        }
    }
}

impl std::fmt::Display for Doubt {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Processes => "processes are left",
            Self::Mounts => "its mounts are others",
            Self::Namespaces => "a namespace is the lease's",
            Self::Cgroup => "it is in another cgroup",
            Self::Init => "init is not what it was",
            Self::Network => "its network tells something",
            Self::Unseen => "it cannot be looked at",
        })
    }
}

/// What init hands out to be looked at.
pub(super) struct Handles {
    ipc: OwnedFd,
    uts: OwnedFd,
    /// The root of what is mounted at /proc.
    procfs: OwnedFd,
}

/// What is seen of one zygote.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Portrait {
    init: [Vec<u8>; INIT.len()],
    status: Vec<u8>,
    scheduling: Scheduling,
    mounts: Vec<u8>,
    /// As the kernel names them, such as `ipc:[4026532200]`: two that live at the same time, as those
    /// before and after unshare(2) do, have different names.
    ipc: Vec<u8>,
    uts: Vec<u8>,
}

/// What the kernel tells of init beside its status, and what it starts would have from it. A uid 0
/// without capabilities may write some of it.
const INIT: [&str; 4] = ["limits", "oom_score_adj", "coredump_filter", "autogroup"];

/// The lines of its status (proc_pid_status(5)) that do not change by themselves.
const STATUS: [&str; 22] = [
    "Name:",
    "Umask:",
    "PPid:",
    "TracerPid:",
    "Uid:",
    "Gid:",
    "Groups:",
    "NSpid:",
    "NSpgid:",
    "NSsid:",
    "Threads:",
    "SigBlk:",
    "SigIgn:",
    "SigCgt:",
    "CapInh:",
    "CapPrm:",
    "CapEff:",
    "CapBnd:",
    "CapAmb:",
    "NoNewPrivs:",
    "Seccomp_filters:",
    "Cpus_allowed:",
];

impl Handles {
    /// As init sends them: ipc and uts namespace, procfs.
    pub fn new(descriptors: Vec<OwnedFd>) -> Option<Self> {
        let [ipc, uts, procfs] = descriptors.try_into().ok()?;
        Some(Self { ipc, uts, procfs })
    }
}

impl Portrait {
    /// That of a child that is an init without any other process.
    pub fn take(init: Pid, handles: &Handles) -> Result<Self, Doubt> {
        // Of another pid namespace its numbers would be others.
        let own = readlink(c"/proc/self").map_err(|_| Doubt::Unseen)?;
        if own.to_str() != Some(getpid().to_string().as_str()) {
            return Err(Doubt::Unseen);
        }
        let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
        let place = openat(AT_FDCWD, format!("/proc/{init}").as_str(), flags, Mode::empty());
        let place = place.map_err(|_| Doubt::Unseen)?;
        let read = |name: &str| content_of(&place, name).map_err(|_| Doubt::Unseen);
        if !read(&format!("task/{init}/children"))?.is_empty() {
            return Err(Doubt::Processes);
        }
        let table = read("mountinfo")?;
        is_mounted(&handles.procfs, &table)?;
        is_alone(&handles.procfs)?;
        // A new one would be born into that of its template.
        if read("cgroup")? != own_cgroup()? {
            return Err(Doubt::Cgroup);
        }
        let mut files: [Vec<u8>; INIT.len()] = Default::default();
        for (file, name) in files.iter_mut().zip(INIT) {
            *file = match content_of(&place, name) {
                // A kernel without it.
                Err(Errno::ENOENT) => Vec::new(),
                content => content.map_err(|_| Doubt::Unseen)?,
            };
        }
        let parent = format!("PPid:\t{}", getpid());
        let status = selected(&read("status")?, &STATUS).ok_or(Doubt::Unseen)?;
        if !status.split(|byte| *byte == b'\n').any(|line| line == parent.as_bytes()) {
            return Err(Doubt::Unseen);
        }
        Ok(Self {
            init: files,
            status,
            scheduling: scheduling(init).map_err(|_| Doubt::Unseen)?,
            mounts: without_numbers(&table).ok_or(Doubt::Unseen)?,
            ipc: name_of(&handles.ipc, "ipc:[")?,
            uts: name_of(&handles.uts, "uts:[")?,
        })
    }

    /// Whether nothing tells that there has been a lease since the last look.
    pub fn compare(&self, now: &Self) -> Result<(), Doubt> {
        let judge = |same: bool, doubt| if same { Ok(()) } else { Err(doubt) };
        judge(self.mounts == now.mounts, Doubt::Mounts)?;
        let same =
            self.init == now.init && self.status == now.status && self.scheduling == now.scheduling;
        judge(same, Doubt::Init)?;
        judge(self.ipc != now.ipc && self.uts != now.uts, Doubt::Namespaces)
    }
}

fn own_cgroup() -> Result<Vec<u8>, Doubt> {
    fs::read("/proc/self/cgroup").map_err(|_| Doubt::Unseen)
}

/// Whether this is the root of what is mounted last at /proc.
fn is_mounted(procfs: &OwnedFd, table: &[u8]) -> Result<(), Doubt> {
    let device = fstat(procfs).map_err(|_| Doubt::Unseen)?.st_dev;
    let device = format!("{}:{}", major(device), minor(device));
    let table = std::str::from_utf8(table).map_err(|_| Doubt::Unseen)?;
    let mut lines = table.lines().filter_map(Line::of);
    let last = lines.rfind(|line| line.target == "/proc").ok_or(Doubt::Unseen)?;
    let same = last.device == device && last.root == "/" && last.rest.contains(" - proc ");
    if same { Ok(()) } else { Err(Doubt::Mounts) }
}

/// Whether it shows init and no other process of its pid namespace, wherever that was born.
fn is_alone(procfs: &OwnedFd) -> Result<(), Doubt> {
    let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
    let mut entries = Dir::openat(procfs, c".", flags, Mode::empty()).map_err(|_| Doubt::Unseen)?;
    let mut init = false;
    for entry in entries.iter() {
        let entry = entry.map_err(|_| Doubt::Unseen)?;
        let name = entry.file_name().to_bytes();
        if name == b"1" {
            init = true;
        } else if name.iter().all(u8::is_ascii_digit) {
            return Err(Doubt::Processes);
        }
    }
    if init { Ok(()) } else { Err(Doubt::Unseen) }
}

/// The name of a namespace, which must be of this kind.
fn name_of(namespace: &OwnedFd, kind: &str) -> Result<Vec<u8>, Doubt> {
    let path = format!("/proc/self/fd/{}", namespace.as_raw_fd());
    let name = readlink(path.as_str()).map_err(|_| Doubt::Unseen)?;
    let name = name.into_encoded_bytes();
    if name.starts_with(kind.as_bytes()) { Ok(name) } else { Err(Doubt::Unseen) }
}

/// One line of a mount table (proc_pid_mountinfo(5)).
struct Line<'a> {
    id: &'a str,
    parent: &'a str,
    device: &'a str,
    root: &'a str,
    target: &'a str,
    /// Options, optional fields, type, source and options of the filesystem.
    rest: &'a str,
}

impl<'a> Line<'a> {
    fn of(line: &'a str) -> Option<Self> {
        let mut words = line.splitn(6, ' ');
        let mut next = || words.next();
        Some(Self {
            id: next()?,
            parent: next()?,
            device: next()?,
            root: next()?,
            target: next()?,
            rest: next()?,
        })
    }
}

/// The table without what is another number for each mount: ids become places in it.
fn without_numbers(table: &[u8]) -> Option<Vec<u8>> {
    let table = std::str::from_utf8(table).ok()?;
    let lines = table.lines().map(Line::of).collect::<Option<Vec<_>>>()?;
    let places: HashMap<&str, usize> =
        lines.iter().enumerate().map(|(place, line)| (line.id, place)).collect();
    let mut plain = String::with_capacity(table.len());
    for line in &lines {
        let parent = places.get(line.parent).map_or("-".to_owned(), usize::to_string);
        let words = [parent.as_str(), line.root, line.target, line.rest].join(" ");
        plain.push_str(&words);
        plain.push('\n');
    }
    Some(plain.into_bytes())
}

/// The lines that begin with these words; `None` unless each of them is there.
fn selected(text: &[u8], words: &[&str]) -> Option<Vec<u8>> {
    let mut found = Vec::with_capacity(text.len());
    for word in words {
        let mut lines = text.split(|byte| *byte == b'\n');
        found.extend_from_slice(lines.find(|line| line.starts_with(word.as_bytes()))?);
        found.push(b'\n');
    }
    Some(found)
}

fn content_of(place: &OwnedFd, name: &str) -> Result<Vec<u8>, Errno> {
    let file = openat(place.as_fd(), name, OFlag::O_RDONLY | OFlag::O_CLOEXEC, Mode::empty())?;
    let mut content = Vec::new();
    let read = File::from(file).read_to_end(&mut content);
    read.map_err(|error| error.raw_os_error().map_or(Errno::EIO, Errno::from_raw))?;
    Ok(content)
}

#[cfg(test)]
mod tests {
    use super::*;

    const TABLE: &str = "\
210 209 0:39 / / ro,nosuid - tmpfs zyg rw,mode=755
236 210 0:21 / /proc rw,relatime - proc proc rw
243 236 0:60 / /proc rw,nosuid - proc proc rw
244 243 0:60 /sys /proc/sys ro - proc proc rw
251 210 0:62 / /root rw - overlay zyg rw,upperdir=4.upper
";

    #[test]
    fn a_table_is_the_same_whatever_the_numbers_and_another_whatever_else_differs() {
        let plain = |table: &str| without_numbers(table.as_bytes()).unwrap();
        let renumbered = TABLE
            .replace("210 ", "810 ")
            .replace("236 ", "836 ")
            .replace("243 ", "843 ")
            .replace("209 ", "809 ")
            .replace("0:6", "0:9");
        assert_eq!(plain(&renumbered), plain(TABLE));
        for (from, to) in [
            ("244 243", "244 236"),
            ("rw,nosuid", "rw"),
            ("/sys /proc/sys", "/ /proc/sys"),
            ("4.upper", "5.upper"),
            ("251 210 0:62 / /root rw - overlay zyg rw,upperdir=4.upper\n", ""),
        ] {
            assert_ne!(plain(&TABLE.replace(from, to)), plain(TABLE), "{from}");
        }
        assert_eq!(without_numbers(b"210 209 0:39\n"), None);
    }

    #[test]
    fn what_is_missing_in_a_status_is_no_evidence() {
        let status = b"Name:\tinit\nState:\tS\nThreads:\t1\n";
        assert_eq!(
            selected(status, &["Threads:", "Name:"]).unwrap(),
            b"Threads:\t1\nName:\tinit\n"
        );
        assert_eq!(selected(status, &["Threads:", "Uid:"]), None);
    }

    #[test]
    fn a_procfs_is_the_one_that_is_mounted_last() {
        let procfs = OwnedFd::from(File::open("/proc").unwrap());
        let device = fstat(&procfs).unwrap().st_dev;
        let own = format!("{}:{}", major(device), minor(device));
        let table = TABLE.replace("243 236 0:60", &format!("243 236 {own}"));
        assert_eq!(is_mounted(&procfs, table.as_bytes()), Ok(()));
        assert_eq!(is_mounted(&procfs, TABLE.as_bytes()), Err(Doubt::Mounts));
        let covered = format!("{table}300 243 0:99 / /proc rw - tmpfs zyg rw\n");
        assert_eq!(is_mounted(&procfs, covered.as_bytes()), Err(Doubt::Mounts));
        // The control: this process is not alone.
        assert_eq!(is_alone(&procfs), Err(Doubt::Processes));
    }

    #[test]
    fn a_namespace_of_another_kind_is_no_evidence() {
        let ipc = OwnedFd::from(File::open("/proc/self/ns/ipc").unwrap());
        assert!(name_of(&ipc, "ipc:[").unwrap().starts_with(b"ipc:["));
        assert_eq!(name_of(&ipc, "uts:["), Err(Doubt::Unseen));
    }
}
