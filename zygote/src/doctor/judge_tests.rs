//! Situations, as the kernel and the machine show them, and what must be said about each.

use super::judge::{Symptom, diagnose};
use super::*;
use std::collections::BTreeMap;

const INSTALL_PROFILE: &str = "install zyg's AppArmor profile: `cp systemd/apparmor.zyg \
     /etc/apparmor.d/zyg && apparmor_parser -r /etc/apparmor.d/zyg`; or `sysctl -w \
     kernel.apparmor_restrict_unprivileged_userns=0`";

const DOCKER_SECCOMP: &str = "start the container with --security-opt seccomp=unconfined, or with a \
     profile that allows clone, clone3, unshare, setns, mount, umount2, pivot_root, open_tree, \
     move_mount and mount_setattr";

const OVERLAY: &str = "`modprobe overlay`, and `overlay` in /etc/modules-load.d/zyg.conf to keep it; \
     or boot a kernel that is built with CONFIG_OVERLAY_FS=y";

/// An ordinary user on an ordinary machine.
fn plain() -> Facts {
    Facts {
        release: "6.8.0-31-generic".to_owned(),
        user: "me".to_owned(),
        outermost: true,
        program: "/usr/bin/zyg".to_owned(),
        namespaces_max: ["user", "pid", "mnt", "net", "ipc", "uts", "cgroup"]
            .map(|kind| (kind.to_owned(), 15_000))
            .into(),
        ..Facts::default()
    }
}

fn ubuntu_24_04() -> Facts {
    Facts { apparmor: Some("unconfined".to_owned()), apparmor_restricts: true, ..plain() }
}

fn docker() -> Facts {
    Facts {
        container: Some(Container::Docker),
        filtered: true,
        filtered_from_outside: true,
        apparmor: Some("docker-default (enforce)".to_owned()),
        covered_proc: ["/proc/bus", "/proc/sys", "/proc/sysrq-trigger"].map(str::to_owned).into(),
        ..plain()
    }
}

fn none_of(kind: &str) -> BTreeMap<String, u64> {
    let mut limits = plain().namespaces_max;
    limits.insert(kind.to_owned(), 0);
    limits
}

fn cause(step: Step, errno: i32, facts: &Facts) -> (Layer, String) {
    let cause = diagnose(Symptom { step, errno, signal: 0 }, facts);
    (cause.layer, cause.fix)
}

#[track_caller]
fn assert_cause(facts: &Facts, step: Step, errno: i32, layer: Layer, fix: &str) {
    assert_eq!(cause(step, errno, facts), (layer, fix.to_owned()));
}

#[test]
fn ubuntu_restricts_user_namespaces_by_apparmor() {
    let facts = ubuntu_24_04();
    // The namespace is made, and its id maps may not be written; or it is not even made.
    for errno in [libc::EPERM, libc::EACCES] {
        assert_cause(&facts, Step::UserNamespace, errno, Layer::Apparmor, INSTALL_PROFILE);
        assert_cause(&facts, Step::PrivateTree, errno, Layer::Apparmor, INSTALL_PROFILE);
    }
    let stripped =
        Facts { apparmor: Some("unprivileged_userns (enforce)".to_owned()), ..ubuntu_24_04() };
    assert_cause(&stripped, Step::Tmpfs, libc::EACCES, Layer::Apparmor, INSTALL_PROFILE);
}

#[test]
fn the_apparmor_profile_names_the_program_that_it_is_for() {
    let facts = Facts { program: "/opt/zyg/bin/zyg".to_owned(), ..ubuntu_24_04() };
    let fix = "install zyg's AppArmor profile: `cp systemd/apparmor.zyg /etc/apparmor.d/zyg && \
               apparmor_parser -r /etc/apparmor.d/zyg`, with /opt/zyg/bin/zyg as the path in it; or \
               `sysctl -w kernel.apparmor_restrict_unprivileged_userns=0`";
    assert_cause(&facts, Step::UserNamespace, libc::EPERM, Layer::Apparmor, fix);
}

#[test]
fn apparmor_does_not_restrict_who_has_the_profile_or_is_root() {
    let profiled = Facts { apparmor: Some("zyg (unconfined)".to_owned()), ..ubuntu_24_04() };
    assert_eq!(cause(Step::UserNamespace, libc::EPERM, &profiled).0, Layer::Unknown);
    let root = Facts { admin: true, ..ubuntu_24_04() };
    assert_eq!(cause(Step::UserNamespace, libc::EPERM, &root).0, Layer::Unknown);
    // But those whom root's server serves are neither.
    let outcome = Outcome {
        within: Some(Step::UserNamespace),
        ..Outcome::broken(Step::OtherUsers, libc::EPERM, 0, String::new())
    };
    assert_eq!(judge(&outcome, &root).layer, Layer::Apparmor);
}

#[test]
fn debian_forbids_user_namespaces_by_sysctl() {
    let facts = Facts { unprivileged_userns_clone: Some(0), ..plain() };
    let fix = "set it to 1: `sysctl -w kernel.unprivileged_userns_clone=1`, and the same in \
               /etc/sysctl.d/99-zyg.conf to keep it";
    assert_cause(&facts, Step::UserNamespace, libc::EPERM, Layer::Sysctl, fix);
    let root = Facts { admin: true, ..facts };
    assert_eq!(cause(Step::UserNamespace, libc::EPERM, &root).0, Layer::Unknown);
}

#[test]
fn docker_forbids_user_namespaces_by_seccomp() {
    assert_cause(&docker(), Step::UserNamespace, libc::EPERM, Layer::Seccomp, DOCKER_SECCOMP);
    // Before Docker 20.10.10, clone3 seems not to exist.
    assert_cause(&docker(), Step::ZygoteClone, libc::ENOSYS, Layer::Seccomp, DOCKER_SECCOMP);
}

#[test]
fn a_filter_that_kills_is_named_too() {
    let cause =
        diagnose(Symptom { step: Step::Loopback, errno: 0, signal: libc::SIGSYS }, &docker());
    assert_eq!((cause.layer, cause.fix.as_str()), (Layer::Seccomp, DOCKER_SECCOMP));
}

#[test]
fn docker_without_its_filter_forbids_mounts_by_apparmor() {
    let facts = Facts { filtered: false, ..docker() };
    let fix = "start the container with --security-opt apparmor=unconfined";
    assert_cause(&facts, Step::PrivateTree, libc::EACCES, Layer::Apparmor, fix);
}

#[test]
fn docker_masks_proc() {
    let facts = Facts { filtered: false, apparmor: None, ..docker() };
    let fix = "start the container with --security-opt systempaths=unconfined";
    assert_cause(&facts, Step::Proc, libc::EPERM, Layer::MaskedProc, fix);
    assert_cause(&facts, Step::LowPorts, libc::EROFS, Layer::MaskedProc, fix);
    assert_cause(&facts, Step::Sysfs, libc::EPERM, Layer::MaskedSys, fix);
}

#[test]
fn each_container_is_told_in_its_own_words() {
    let of = |container| Facts { container: Some(container), ..docker() };
    let seccomp = |container| cause(Step::UserNamespace, libc::EPERM, &of(container)).1;
    let proc = |container| cause(Step::Proc, libc::EPERM, &of(container)).1;
    assert_eq!(seccomp(Container::Podman), DOCKER_SECCOMP);
    assert_eq!(proc(Container::Podman), "start the container with --security-opt unmask=ALL");
    assert_eq!(
        seccomp(Container::Kubernetes),
        "set securityContext.seccompProfile.type to Unconfined in the pod, or to a Localhost profile \
         that allows the calls of `zyg doctor`"
    );
    assert_eq!(
        proc(Container::Kubernetes),
        "set securityContext.procMount to Unmasked, and hostUsers to false, in the pod"
    );
    assert_eq!(seccomp(Container::Zyg), "run it outside: environments do not nest");
    let lxc = || Container::Other("lxc".to_owned());
    assert!(seccomp(lxc()).starts_with("let the seccomp filter of lxc allow clone, clone3,"));
    assert_eq!(proc(lxc()), "let lxc leave /proc whole and writable");
}

#[test]
fn a_filter_of_a_service_is_the_services() {
    let fix = "start zyg without that filter: a systemd unit must not set RestrictNamespaces= or \
               SystemCallFilter=";
    let service = Facts { filtered: true, ..plain() };
    assert_cause(&service, Step::UserNamespace, libc::EPERM, Layer::Seccomp, fix);
    // In a container whose own pid 1 has none, it cannot be the container's.
    let inside = Facts { filtered_from_outside: false, apparmor: None, ..docker() };
    assert_cause(&inside, Step::UserNamespace, libc::EPERM, Layer::Seccomp, fix);
}

#[test]
fn a_covered_proc_outside_of_containers_is_to_be_uncovered() {
    let facts = Facts { covered_proc: vec!["/proc/sys".to_owned()], ..plain() };
    let fix = "uncover it: `umount /proc/sys`; a systemd unit must not set ProtectKernelTunables= or \
               ProtectProc=";
    assert_cause(&facts, Step::Proc, libc::EPERM, Layer::MaskedProc, fix);
    // Nor in one whose runtime has not masked it.
    let inside = Facts { container: Some(Container::Docker), ..facts };
    assert_cause(&inside, Step::Proc, libc::EPERM, Layer::MaskedProc, fix);
}

#[test]
fn a_namespace_limit_of_zero_is_a_sysctl() {
    for (step, kind) in [
        (Step::UserNamespace, "user"),
        (Step::MountNamespace, "mnt"),
        (Step::NetworkNamespace, "net"),
        (Step::PidNamespace, "pid"),
        (Step::IpcNamespace, "ipc"),
        (Step::UtsNamespace, "uts"),
        (Step::CgroupNamespace, "cgroup"),
        (Step::ZygoteClone, "pid"),
    ] {
        let facts = Facts { namespaces_max: none_of(kind), ..plain() };
        let fix = format!(
            "raise it: `sysctl -w user.max_{kind}_namespaces=65536`, and the same in \
             /etc/sysctl.d/99-zyg.conf to keep it"
        );
        assert_cause(&facts, step, libc::ENOSPC, Layer::Sysctl, &fix);
    }
}

#[test]
fn a_namespace_limit_that_is_reached_is_a_limit() {
    let fix = "raise sysctl: `sysctl -w user.max_net_namespaces=65536`";
    assert_cause(&plain(), Step::NetworkNamespace, libc::ENOSPC, Layer::Limit, fix);
    let inside = Facts { outermost: false, ..plain() };
    let fix = "raise sysctl: `sysctl -w user.max_net_namespaces=65536` (in this user namespace or one \
               around it: each has its own)";
    assert_cause(&inside, Step::NetworkNamespace, libc::ENOSPC, Layer::Limit, fix);
}

#[test]
fn few_namespaces_are_named_by_kind() {
    let mut few = plain();
    few.namespaces_max.insert("net".to_owned(), 10);
    let fix = "raise sysctl: `sysctl -w user.max_net_namespaces=65536`";
    assert_cause(&few, Step::NamespaceLimits, libc::ENOSPC, Layer::Limit, fix);
    let unseen = Facts { namespaces_max: BTreeMap::new(), ..docker() };
    assert_eq!(cause(Step::NamespaceLimits, libc::ENOENT, &unseen).0, Layer::MaskedProc);
}

#[test]
fn a_chroot_allows_no_user_namespace() {
    let facts = Facts { chroot: true, ..ubuntu_24_04() };
    let fix = "start zyg outside of the chroot, or enter the new root with pivot_root";
    assert_cause(&facts, Step::UserNamespace, libc::EPERM, Layer::Chroot, fix);
}

#[test]
fn an_old_kernel_is_too_old_whatever_fails() {
    let old = Facts { release: "4.18.0-553.el8_10.x86_64".to_owned(), ..plain() };
    let fix = "boot Linux 5.15 or later";
    assert_cause(&old, Step::Kernel, 0, Layer::KernelVersion, fix);
    assert_cause(&old, Step::ReadOnlyBind, libc::ENOSYS, Layer::KernelVersion, fix);
    let filtered = Facts { filtered: true, ..old };
    assert_cause(&filtered, Step::ReadOnlyBind, libc::ENOSYS, Layer::KernelVersion, fix);
}

#[test]
fn a_kernel_built_without_it_is_named_by_its_option() {
    let with = |option: &str| format!("boot a kernel that is built with {option}");
    for (step, errno, option) in [
        (Step::UserNamespace, libc::EINVAL, "CONFIG_USER_NS=y"),
        (Step::UserNamespace, libc::ENOSYS, "CONFIG_USER_NS=y"),
        (Step::NetworkNamespace, libc::EINVAL, "CONFIG_NET_NS=y"),
        (Step::IpcNamespace, libc::EINVAL, "CONFIG_IPC_NS=y"),
        (Step::Tmpfs, libc::ENODEV, "CONFIG_TMPFS=y"),
        (Step::Devpts, libc::ENODEV, "CONFIG_UNIX98_PTYS=y"),
        (Step::Seccomp, libc::EINVAL, "CONFIG_SECCOMP_FILTER=y"),
        (Step::OverlayRecreate, libc::EIO, "CONFIG_TMPFS_XATTR=y"),
    ] {
        assert_cause(&plain(), step, errno, Layer::KernelConfig, &with(option));
    }
}

#[test]
fn no_overlay_is_a_module_away() {
    for step in [Step::OverlayHome, Step::OverlayCwd, Step::OverlayRecreate] {
        assert_cause(&plain(), step, libc::ENODEV, Layer::KernelConfig, OVERLAY);
    }
}

#[test]
fn locked_mounts_keep_a_layer_away() {
    let fix = "unmount what lies below it, or show it with --bind; else it stays read-only in \
               environments";
    assert_cause(&plain(), Step::OverlayCwd, libc::EINVAL, Layer::Mounts, fix);
}

#[test]
fn an_old_tmpfs_cannot_hide_what_was_below() {
    let facts = Facts { release: "6.1.0-18-amd64".to_owned(), ..plain() };
    let fix = "boot Linux 6.6 or later; until then a directory that a command deletes cannot be made \
               again by the same name";
    assert_cause(&facts, Step::OverlayRecreate, libc::EIO, Layer::KernelVersion, fix);
}

#[test]
fn selinux_is_named_where_nothing_else_refuses() {
    let facts = Facts { selinux: true, ..plain() };
    let fix = "look for what was denied with `ausearch -m avc -ts recent`, and allow it with a module \
               made by `audit2allow -M zyg`";
    assert_cause(&facts, Step::UserNamespace, libc::EACCES, Layer::Lsm, fix);
    let filtered = Facts { filtered: true, ..facts };
    assert_eq!(cause(Step::UserNamespace, libc::EPERM, &filtered).0, Layer::Seccomp);
}

#[test]
fn limits_are_told_with_the_user() {
    let fix = "raise ulimit -n or LimitNOFILE=: in the unit LimitNOFILE=524288, for a login `me hard \
               nofile 524288` in /etc/security/limits.d/zyg.conf";
    assert_cause(&plain(), Step::Descriptors, libc::EMFILE, Layer::Limit, fix);
    // Whatever step runs into it.
    assert_cause(&plain(), Step::Tmpfs, libc::EMFILE, Layer::Limit, fix);
    let fix = "raise ulimit -u, TasksMax= or the pids cgroup's limit: in the unit TasksMax=infinity, \
               for a login `me hard nproc 65536` in /etc/security/limits.d/zyg.conf";
    assert_cause(&plain(), Step::Processes, libc::EAGAIN, Layer::Limit, fix);
    assert_cause(&plain(), Step::ZygoteClone, libc::EAGAIN, Layer::Limit, fix);
}

#[test]
fn subordinate_ids_are_granted_installed_and_usable() {
    let grant = "`usermod --add-subuids 100000-165535 --add-subgids 100000-165535 me`, with ranges \
                 that nobody has yet";
    assert_cause(&plain(), Step::SubordinateIds, libc::ENOENT, Layer::Missing, grant);
    let install =
        "install them: `apt install uidmap` (Debian, Ubuntu), `dnf install shadow-utils` (Fedora)";
    assert_cause(&plain(), Step::Newuidmap, libc::ENOENT, Layer::Missing, install);
    let set = "`chmod u+s /usr/bin/newuidmap /usr/bin/newgidmap`";
    assert_cause(&plain(), Step::Newuidmap, libc::EPERM, Layer::Missing, set);
    let bound = Facts { no_new_privs: true, ..plain() };
    let fix = "start zyg without it: a systemd unit must not set NoNewPrivileges=yes";
    assert_cause(&bound, Step::IdMapRange, libc::EPERM, Layer::NoNewPrivs, fix);
    let inside = Facts { outermost: false, ..plain() };
    let fix = "start zyg outside of it, or have more ids mapped in it";
    assert_cause(&inside, Step::IdMapRange, libc::EPERM, Layer::OuterNamespace, fix);
}

#[test]
fn cgroups_are_mounted_delegated_and_of_version_2() {
    let fix = "boot with systemd.unified_cgroup_hierarchy=1, or `mount -t cgroup2 none \
               /sys/fs/cgroup`; in a container, start it with --cgroupns=private";
    assert_cause(&plain(), Step::CgroupV2, libc::ENOENT, Layer::Cgroup, fix);
    let delegate = "have it delegated: systemd/zyg.service says Delegate=yes; as a user, `systemd-run \
                    --user --scope -p Delegate=yes zyg serve`";
    assert_cause(&plain(), Step::CgroupChild, libc::EACCES, Layer::Cgroup, delegate);
    assert_cause(&plain(), Step::CgroupControllers, libc::ENOENT, Layer::Cgroup, delegate);
    let hybrid = Facts { cgroup_v1: vec!["pids".to_owned()], ..plain() };
    let fix = "boot the machine with systemd.unified_cgroup_hierarchy=1 cgroup_no_v1=all";
    assert_cause(&hybrid, Step::CgroupControllers, libc::ENOENT, Layer::Cgroup, fix);
}

#[test]
fn what_cannot_be_told_is_not_guessed() {
    assert_eq!(cause(Step::UserNamespace, libc::EPERM, &plain()).0, Layer::Unknown);
    assert_eq!(cause(Step::Tmpfs, libc::EIO, &plain()).0, Layer::Unknown);
    for step in Step::all() {
        let (_, fix) = cause(step, libc::ETIMEDOUT, &plain());
        assert!(!fix.is_empty(), "{step} has no fix");
    }
}
