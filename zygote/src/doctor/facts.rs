//! What the machine says about itself: the evidence from which a failed step is judged.

use super::mountinfo;
use crate::users;
use nix::unistd::Uid;
use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

/// The kinds of namespaces with a limit of their own (namespaces(7)).
const NAMESPACES: [&str; 7] = ["user", "pid", "mnt", "net", "ipc", "uts", "cgroup"];

/// Those that a zygote is cloned into: its network namespace is the template's.
pub(super) const CLONED: [&str; 6] = ["user", "pid", "mnt", "ipc", "uts", "cgroup"];

/// Namespaces of each kind for one full pool of the default size (64 zygotes) and its template, which
/// has at most two of a kind.
pub(super) const NAMESPACES_MIN: u64 = 64 + 2;

/// `CAP_SYS_ADMIN` in the masks of /proc/PID/status (capabilities(7)).
const CAP_SYS_ADMIN: u64 = 1 << 21;

/// Evidence. Everything that [`judge`](super::judge) looks at, and nothing that it does not.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Facts {
    /// The kernel's release, as uname(2) has it.
    pub release: String,
    /// The user's name, or number where there is no name.
    pub user: String,
    /// Whether the process has `CAP_SYS_ADMIN` over the initial user namespace.
    pub admin: bool,
    /// Whether it is in the initial user namespace.
    pub outermost: bool,
    /// The container that it is in.
    pub container: Option<Container>,
    /// Whether a system call filter is in force.
    pub filtered: bool,
    /// Whether one is in force for pid 1 too, and so is that of the container, not of a service in it.
    pub filtered_from_outside: bool,
    /// Whether `no_new_privs` is set (prctl(2)).
    pub no_new_privs: bool,
    /// AppArmor's label, as `unconfined` or `NAME (MODE)`; `None` without AppArmor.
    pub apparmor: Option<String>,
    /// Whether AppArmor lets only profiles that say so have user namespaces (Ubuntu 24.04 and later).
    pub apparmor_restricts: bool,
    /// Whether SELinux enforces.
    pub selinux: bool,
    /// `kernel.unprivileged_userns_clone` (Debian, Arch); `None` on other kernels.
    pub unprivileged_userns_clone: Option<i64>,
    /// `user.max_KIND_namespaces`, by kind, as far as they can be read.
    pub namespaces_max: BTreeMap<String, u64>,
    /// Whether the root directory is not the mount namespace's own.
    pub chroot: bool,
    /// What covers a part of /proc.
    pub covered_proc: Vec<String>,
    /// Controllers that are bound to hierarchies of cgroup v1, and so not to be had from v2.
    pub cgroup_v1: Vec<String>,
    /// The path of zyg's own program.
    pub program: String,
}

/// Something that runs us with less than the machine has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Container {
    /// Docker, or what behaves like it.
    Docker,
    /// Podman.
    Podman,
    /// A pod of Kubernetes.
    Kubernetes,
    /// An environment of zyg's.
    Zyg,
    /// Another one that gives its name.
    Other(String),
}

impl Facts {
    /// Looks around. What cannot be read counts as absent.
    #[must_use]
    pub fn read() -> Self {
        let status = read("/proc/self/status").unwrap_or_default();
        let capabilities =
            field(&status, "CapEff").and_then(|mask| u64::from_str_radix(mask, 16).ok());
        let outermost = read("/proc/self/uid_map").is_some_and(|map| is_whole(&map));
        let mounts = mountinfo::parse(&read("/proc/self/mountinfo").unwrap_or_default());
        let uid = Uid::effective();
        let user = users::with_uid(uid.as_raw()).map_or(uid.to_string(), |user| user.name);
        Self {
            release: release(),
            user,
            admin: outermost && capabilities.is_some_and(|mask| mask & CAP_SYS_ADMIN != 0),
            outermost,
            container: container(),
            filtered: field(&status, "Seccomp") == Some("2"),
            filtered_from_outside: read("/proc/1/status")
                .is_none_or(|status| field(&status, "Seccomp") != Some("0")),
            no_new_privs: field(&status, "NoNewPrivs") == Some("1"),
            apparmor: apparmor(),
            apparmor_restricts: knob("kernel/apparmor_restrict_unprivileged_userns") == Some(1),
            selinux: read("/sys/fs/selinux/enforce").is_some_and(|enforce| enforce.trim() == "1"),
            unprivileged_userns_clone: knob("kernel/unprivileged_userns_clone"),
            namespaces_max: namespaces_max(),
            chroot: !mounts.is_empty()
                && (!mounts.iter().any(|mount| mount.point == "/") || is_below_init()),
            covered_proc: mountinfo::covered_proc(&mounts),
            cgroup_v1: cgroup_v1(&read("/proc/self/cgroup").unwrap_or_default()),
            program: std::env::current_exe()
                .map_or_else(|_| "zyg".to_owned(), |path| path.display().to_string()),
        }
    }

    /// The kernel's version by its release: major and minor number.
    #[must_use]
    pub fn version(&self) -> Option<(u32, u32)> {
        let mut numbers = self.release.split(|c: char| !c.is_ascii_digit());
        Some((numbers.next()?.parse().ok()?, numbers.next()?.parse().ok()?))
    }
}

fn read(path: &str) -> Option<String> {
    fs::read_to_string(path).ok()
}

fn knob<T: std::str::FromStr>(name: &str) -> Option<T> {
    read(&format!("/proc/sys/{name}"))?.trim().parse().ok()
}

/// A field of /proc/PID/status.
fn field<'a>(status: &'a str, name: &str) -> Option<&'a str> {
    status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':')).map(str::trim)
}

/// Whether an id map is the initial user namespace's: every id to itself.
fn is_whole(map: &str) -> bool {
    map.split_whitespace().eq(["0", "0", "4294967295"])
}

/// The controllers in /proc/self/cgroup, whose lines are `number:controllers:path` (cgroups(7)).
fn cgroup_v1(cgroup: &str) -> Vec<String> {
    let controllers = cgroup.lines().filter_map(|line| line.split(':').nth(1));
    let mut bound: Vec<String> = controllers
        .flat_map(|controllers| controllers.split(','))
        .filter(|name| !name.is_empty() && !name.starts_with("name="))
        .map(str::to_owned)
        .collect();
    bound.sort();
    bound
}

fn release() -> String {
    let name = nix::sys::utsname::uname().ok();
    name.map(|name| name.release().to_string_lossy().into_owned()).unwrap_or_default()
}

/// The limits of the caller's own user namespace; those further out are not to be seen from here.
pub(super) fn namespaces_max() -> BTreeMap<String, u64> {
    let max = |kind: &str| Some((kind.to_owned(), knob(&format!("user/max_{kind}_namespaces"))?));
    NAMESPACES.iter().filter_map(|kind| max(kind)).collect()
}

/// The label, where AppArmor is what writes that file: other modules write theirs there too.
fn apparmor() -> Option<String> {
    let enabled = read("/sys/module/apparmor/parameters/enabled")?;
    let label =
        read("/proc/self/attr/apparmor/current").or_else(|| read("/proc/self/attr/current"));
    label.filter(|_| enabled.trim() == "Y").map(|label| label.trim().to_owned())
}

fn container() -> Option<Container> {
    let there = |path: &str| Path::new(path).exists();
    if read("/proc/1/comm").is_some_and(|name| Ok(name.trim()) == crate::init::NAME.to_str()) {
        Some(Container::Zyg)
    } else if std::env::var_os("KUBERNETES_SERVICE_HOST").is_some() {
        Some(Container::Kubernetes)
    } else if there("/run/.containerenv") {
        Some(Container::Podman)
    } else if there("/.dockerenv") {
        Some(Container::Docker)
    } else {
        // Written by systemd from what the container's runtime told it (container interface).
        let name = read("/run/systemd/container")?;
        Some(Container::Other(name.trim().to_owned()))
    }
}

/// Whether pid 1, where it may be looked at, has another root directory.
fn is_below_init() -> bool {
    let identity = |path| fs::metadata(path).ok().map(|stat| (stat.dev(), stat.ino()));
    identity("/proc/1/root/").is_some_and(|init| identity("/") != Some(init))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_release_has_a_version() {
        for (release, version) in [
            ("6.8.0-31-generic", Some((6, 8))),
            ("5.15.153.1-microsoft-standard-WSL2", Some((5, 15))),
            ("4.18.0-553.el8_10.x86_64", Some((4, 18))),
            ("nonsense", None),
        ] {
            let facts = Facts { release: release.to_owned(), ..Facts::default() };
            assert_eq!(facts.version(), version, "{release}");
        }
    }

    #[test]
    fn fields_of_a_status_are_found_by_their_whole_name() {
        let status = "Name:\tzyg\nSeccomp:\t2\nSeccomp_filters:\t1\nNoNewPrivs:\t0\n";
        assert_eq!(field(status, "Seccomp"), Some("2"));
        assert_eq!(field(status, "Seccomp_filters"), Some("1"));
        assert_eq!(field(status, "CapEff"), None);
    }

    #[test]
    fn controllers_of_cgroup_v1_are_told_from_named_hierarchies() {
        let hybrid = "9:name=systemd:/\n8:pids:/x\n4:cpu,cpuacct:/\n0::/y\n";
        assert_eq!(cgroup_v1(hybrid), ["cpu", "cpuacct", "pids"]);
        assert_eq!(cgroup_v1("0::/\n"), [""; 0]);
    }

    #[test]
    fn only_the_outermost_map_is_whole() {
        assert!(is_whole("         0          0 4294967295\n"));
        assert!(!is_whole("         0       1000          1\n"));
        assert!(!is_whole("0 0 1\n1 1 4294967294\n"));
    }

    #[test]
    fn the_facts_of_this_machine_can_be_read() {
        let facts = Facts::read();
        assert!(facts.version().is_some_and(|version| version >= (5, 15)), "{}", facts.release);
        assert!(!facts.user.is_empty() && !facts.program.is_empty());
    }
}
