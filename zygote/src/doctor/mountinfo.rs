//! Reading /proc/self/mountinfo (proc_pid_mountinfo(5)). Pure.

use std::path::PathBuf;

/// One mount.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Mount {
    /// What of the file system is mounted there.
    pub root: String,
    /// Where.
    pub point: String,
    /// Options of this mount, comma-separated.
    pub options: String,
    /// Whether mounts elsewhere show here, or those here elsewhere.
    pub propagates: bool,
    /// The file system's type.
    pub kind: String,
}

/// All mounts, in the order in which they were made. Lines that are none are passed over.
pub(super) fn parse(text: &str) -> Vec<Mount> {
    text.lines().filter_map(mount).collect()
}

fn mount(line: &str) -> Option<Mount> {
    let (here, system) = line.split_once(" - ")?;
    let mut here = here.split(' ').skip(3);
    let (root, point, options) = (here.next()?, here.next()?, here.next()?);
    let propagates = here.any(|field| field.starts_with("shared:") || field.starts_with("master:"));
    Some(Mount {
        root: unescape(root),
        point: unescape(point),
        options: options.to_owned(),
        propagates,
        kind: system.split(' ').next()?.to_owned(),
    })
}

/// Undoes the octal escapes of white space and backslashes.
fn unescape(field: &str) -> String {
    [("\\040", " "), ("\\011", "\t"), ("\\012", "\n"), ("\\134", "\\")]
        .iter()
        .fold(field.to_owned(), |field, (escape, meant)| field.replace(escape, meant))
}

/// What covers a part of /proc, or makes it read-only: the kernel then refuses a fresh one in a user
/// namespace (`mount_too_revealing()`, fs/namespace.c).
pub(super) fn covered_proc(mounts: &[Mount]) -> Vec<String> {
    /// A directory that is empty for ever: what is mounted there hides nothing.
    const HARMLESS: &str = "/proc/sys/fs/binfmt_misc";
    let read_only = |mount: &Mount| mount.options.split(',').any(|option| option == "ro");
    let mut covered: Vec<String> = mounts
        .iter()
        .filter(|mount| {
            (mount.point.starts_with("/proc/") && mount.point != HARMLESS)
                || (mount.point == "/proc" && mount.kind == "proc" && read_only(mount))
        })
        .map(|mount| mount.point.clone())
        .collect();
    covered.sort();
    covered.dedup();
    covered
}

/// Where the process's own cgroup of the unified hierarchy lies, from /proc/self/cgroup and the
/// mounts (cgroups(7)).
pub(super) fn own_cgroup(cgroup: &str, mounts: &[Mount]) -> Option<PathBuf> {
    let path = cgroup.lines().find_map(|line| line.strip_prefix("0::"))?;
    mounts.iter().rev().filter(|mount| mount.kind == "cgroup2").find_map(|mount| {
        let below = match mount.root.as_str() {
            "/" => path,
            root => path.strip_prefix(root)?,
        };
        let below = below.trim_start_matches('/');
        // Above the root of the cgroup namespace: not to be seen from here.
        (!below.split('/').any(|part| part == ".."))
            .then(|| PathBuf::from(&mount.point).join(below))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

    const PLAIN: &str = "\
22 27 0:21 / /proc rw,relatime shared:5 - proc proc rw
30 27 0:26 / /sys/fs/cgroup rw,nosuid - cgroup2 cgroup2 rw
31 22 0:40 / /proc/sys/fs/binfmt_misc rw - binfmt_misc none rw
32 27 0:41 / /mnt/a\\040b rw master:7 - tmpfs none rw
nonsense
";

    #[test]
    fn a_mount_is_read_with_its_escapes() {
        let mounts = parse(PLAIN);
        assert_eq!(mounts.len(), 4);
        assert_eq!(mounts[3].point, "/mnt/a b");
        assert!(mounts[0].propagates && mounts[3].propagates && !mounts[1].propagates);
        assert_eq!(mounts[1].kind, "cgroup2");
    }

    #[test]
    fn a_whole_proc_is_not_covered() {
        assert_eq!(covered_proc(&parse(PLAIN)), [""; 0]);
    }

    #[test]
    fn what_docker_masks_covers_proc() {
        let docker = "\
600 590 0:70 / /proc rw,nosuid - proc proc rw
610 600 0:70 /bus /proc/bus ro,nosuid - proc proc rw
611 600 0:70 /sys /proc/sys ro,nosuid - proc proc rw
612 600 0:71 / /proc/acpi ro - tmpfs tmpfs ro
";
        assert_eq!(covered_proc(&parse(docker)), ["/proc/acpi", "/proc/bus", "/proc/sys"]);
        let read_only = "22 27 0:21 / /proc ro,relatime - proc proc rw\n";
        assert_eq!(covered_proc(&parse(read_only)), ["/proc"]);
    }

    #[test]
    fn the_own_cgroup_is_found_below_its_mount() {
        let mounts = parse(PLAIN);
        let own = |cgroup| own_cgroup(cgroup, &mounts);
        assert_eq!(own("0::/\n").as_deref(), Some(Path::new("/sys/fs/cgroup/")));
        let slice = "9:name=systemd:/x\n0::/user.slice/a.scope\n";
        assert_eq!(own(slice).as_deref(), Some(Path::new("/sys/fs/cgroup/user.slice/a.scope")));
        assert_eq!(own("0::/../elsewhere\n"), None);
        assert_eq!(own("9:name=systemd:/x\n"), None);
        assert_eq!(own_cgroup("0::/\n", &[]), None);
    }

    #[test]
    fn a_mount_of_a_part_is_counted_from_that_part() {
        let mounts = parse("30 27 0:26 /docker/abc /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n");
        let own = own_cgroup("0::/docker/abc/leaf\n", &mounts);
        assert_eq!(own.as_deref(), Some(Path::new("/sys/fs/cgroup/leaf")));
        assert_eq!(own_cgroup("0::/elsewhere\n", &mounts), None);
    }
}
