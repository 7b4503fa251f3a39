//! The words: for each cause its layer, its reason and what to change. Pure.

use super::{Cause, Container, Facts, Layer};

/// The system calls that container filters forbid and zyg makes.
const CALLS: &str = "clone, clone3, unshare, setns, mount, umount2, pivot_root, open_tree, \
                     move_mount and mount_setattr";

pub(super) fn old_kernel(facts: &Facts, (major, minor): (u32, u32)) -> Cause {
    let why = format!("this kernel is {}", facts.release);
    Cause::new(Layer::KernelVersion, why, format!("boot Linux {major}.{minor} or later"))
}

pub(super) fn config(option: &str) -> Cause {
    let why = "the kernel was built without it";
    Cause::new(Layer::KernelConfig, why, format!("boot a kernel that is built with {option}"))
}

/// A sysctl that says no: `mend` is what to do with it, `value` what to write.
pub(super) fn sysctl(name: &str, now: &str, mend: &str, value: &str) -> Cause {
    let fix = format!(
        "{mend}: `sysctl -w {name}={value}`, and the same in /etc/sysctl.d/99-zyg.conf to keep it"
    );
    Cause::new(Layer::Sysctl, format!("sysctl {name} is {now}"), fix)
}

/// What a machine's own default is, roughly: a quarter of its threads; this is plenty.
const ENOUGH: u64 = 65_536;

pub(super) fn no_namespaces(kind: &str, facts: &Facts) -> Cause {
    let name = format!("user.max_{kind}_namespaces");
    let mut cause = sysctl(&name, "0", "raise it", &ENOUGH.to_string());
    if !facts.outermost {
        cause.fix.push_str(INSIDE);
    }
    cause
}

/// A limit counts in the namespace that has it and in all around it.
const INSIDE: &str = " (in this user namespace or one around it: each has its own)";

pub(super) fn few_namespaces(kinds: &[&str], facts: &Facts) -> Cause {
    let name = |kind: &&str| format!("user.max_{kind}_namespaces");
    let shown = |kind: &&str| match facts.namespaces_max.get(*kind) {
        Some(max) => format!("{} is {max}", name(kind)),
        None => format!("{} cannot be read", name(kind)),
    };
    // What is enough already is not to be set, unless it is one around it that is not.
    let few = |kind: &&&str| facts.namespaces_max.get(**kind).is_none_or(|max| *max < ENOUGH);
    let found: Vec<&str> = kinds.iter().filter(few).copied().collect();
    let kinds = if found.is_empty() { kinds } else { &found };
    let now: Vec<String> = kinds.iter().map(shown).collect();
    let set: Vec<String> = kinds.iter().map(|kind| format!("{}={ENOUGH}", name(kind))).collect();
    let mut fix = format!("raise sysctl: `sysctl -w {}`", set.join(" "));
    if !facts.outermost {
        fix.push_str(INSIDE);
    }
    let why = format!("a namespace limit is reached ({})", now.join(", "));
    Cause::new(Layer::Limit, why, fix)
}

pub(super) fn nested_too_deeply() -> Cause {
    let why = "user namespaces may be nested 32 deep";
    Cause::new(Layer::Limit, why, "start zyg further out")
}

pub(super) fn mounts_max() -> Cause {
    let why = "a mount namespace may hold no more mounts";
    Cause::new(Layer::Limit, why, "raise it: `sysctl -w fs.mount-max=100000`")
}

pub(super) fn chroot() -> Cause {
    let why =
        "the root directory was changed (chroot), and the kernel allows no user namespace then";
    Cause::new(
        Layer::Chroot,
        why,
        "start zyg outside of the chroot, or enter the new root with pivot_root",
    )
}

pub(super) fn apparmor_restricts(facts: &Facts) -> Cause {
    let mut fix =
        "install zyg's AppArmor profile: `cp systemd/apparmor.zyg /etc/apparmor.d/zyg && \
                   apparmor_parser -r /etc/apparmor.d/zyg`"
            .to_owned();
    if !["/usr/bin/zyg", "/usr/local/bin/zyg"].contains(&facts.program.as_str()) {
        fix.push_str(&format!(", with {} as the path in it", facts.program));
    }
    fix.push_str("; or `sysctl -w kernel.apparmor_restrict_unprivileged_userns=0`");
    Cause::new(Layer::Apparmor, "AppArmor forbids unprivileged user namespaces", fix)
}

pub(super) fn apparmor_profile(label: &str, facts: &Facts) -> Cause {
    let fix = match &facts.container {
        Some(Container::Docker | Container::Podman) => {
            "start the container with --security-opt apparmor=unconfined".to_owned()
        }
        Some(Container::Kubernetes) => {
            "set securityContext.appArmorProfile.type to Unconfined in the pod".to_owned()
        }
        Some(Container::Zyg | Container::Other(_)) | None => {
            let profile = label.split(' ').next().unwrap_or(label);
            format!(
                "let the profile {profile} allow `userns,` and `mount,`, or start zyg outside of it"
            )
        }
    };
    Cause::new(Layer::Apparmor, format!("the AppArmor profile {label} forbids it"), fix)
}

pub(super) fn selinux() -> Cause {
    let fix = "look for what was denied with `ausearch -m avc -ts recent`, and allow it with a module \
               made by `audit2allow -M zyg`";
    Cause::new(Layer::Lsm, "SELinux forbids it", fix)
}

pub(super) fn seccomp(facts: &Facts) -> Cause {
    let container = facts.container.as_ref().filter(|_| facts.filtered_from_outside);
    let (why, fix) = match container {
        Some(Container::Docker | Container::Podman) => (
            "the container's seccomp filter forbids it",
            format!(
                "start the container with --security-opt seccomp=unconfined, or with a profile that \
                 allows {CALLS}"
            ),
        ),
        Some(Container::Kubernetes) => (
            "the container's seccomp filter forbids it",
            "set securityContext.seccompProfile.type to Unconfined in the pod, or to a Localhost \
             profile that allows the calls of `zyg doctor`"
                .to_owned(),
        ),
        Some(Container::Zyg) => (
            "zyg is run in an environment of its own, and its filter forbids it",
            "run it outside: environments do not nest".to_owned(),
        ),
        Some(Container::Other(name)) => (
            "the container's seccomp filter forbids it",
            format!("let the seccomp filter of {name} allow {CALLS}"),
        ),
        None => (
            "a seccomp filter forbids it",
            "start zyg without that filter: a systemd unit must not set RestrictNamespaces= or \
             SystemCallFilter="
                .to_owned(),
        ),
    };
    Cause::new(Layer::Seccomp, why, fix)
}

/// What runc, crun and their like make read-only unless they are told otherwise, and nobody else does.
const MASKED_BY_RUNTIMES: &str = "/proc/sysrq-trigger";

pub(super) fn masked_proc(facts: &Facts) -> Cause {
    let covered = &facts.covered_proc;
    let by_runtime = covered.iter().any(|path| path == MASKED_BY_RUNTIMES);
    let fix = match &facts.container {
        Some(Container::Docker) if by_runtime => {
            "start the container with --security-opt systempaths=unconfined".to_owned()
        }
        Some(Container::Podman) if by_runtime => {
            "start the container with --security-opt unmask=ALL".to_owned()
        }
        Some(Container::Kubernetes) if by_runtime => {
            "set securityContext.procMount to Unmasked, and hostUsers to false, in the pod"
                .to_owned()
        }
        Some(Container::Other(name)) => format!("let {name} leave /proc whole and writable"),
        _ if covered.is_empty() => "leave /proc whole and writable".to_owned(),
        _ => format!(
            "uncover it: `umount {}`; a systemd unit must not set ProtectKernelTunables= or \
             ProtectProc=",
            covered.join(" ")
        ),
    };
    let why = match covered.as_slice() {
        [] => "parts of /proc are not to be seen".to_owned(),
        covered => format!(
            "the kernel allows a new /proc only where one is whole; covered or read-only: {}",
            covered.join(", ")
        ),
    };
    Cause::new(Layer::MaskedProc, why, fix)
}

pub(super) fn masked_sys(facts: &Facts) -> Cause {
    let fix = match &facts.container {
        Some(Container::Docker) => "start the container with --security-opt systempaths=unconfined",
        Some(Container::Podman) => "start the container with --security-opt unmask=ALL",
        _ => {
            "let a whole /sys be mounted where zyg runs; without it, /sys stays empty in environments"
        }
    };
    let why = "the kernel allows a new /sys only where one is whole";
    Cause::new(Layer::MaskedSys, why, fix)
}

pub(super) fn no_overlay() -> Cause {
    let why = "the kernel has no overlayfs";
    let fix = "`modprobe overlay`, and `overlay` in /etc/modules-load.d/zyg.conf to keep it; or boot a \
               kernel that is built with CONFIG_OVERLAY_FS=y";
    Cause::new(Layer::KernelConfig, why, fix)
}

pub(super) fn locked_mounts() -> Cause {
    let why = "the kernel refuses a layer over this directory: mounts below it are locked, or its file \
               system cannot be a lower layer";
    let fix = "unmount what lies below it, or show it with --bind; else it stays read-only in \
               environments";
    Cause::new(Layer::Mounts, why, fix)
}

pub(super) fn old_tmpfs(facts: &Facts) -> Cause {
    let why = format!("tmpfs has user xattrs since Linux 6.6, and this is {}", facts.release);
    let fix = "boot Linux 6.6 or later; until then a directory that a command deletes cannot be made \
               again by the same name";
    Cause::new(Layer::KernelVersion, why, fix)
}

pub(super) fn cgroup_not_mounted() -> Cause {
    let fix = "boot with systemd.unified_cgroup_hierarchy=1, or `mount -t cgroup2 none /sys/fs/cgroup`; \
               in a container, start it with --cgroupns=private";
    Cause::new(Layer::Cgroup, "no cgroup v2 hierarchy shows our own cgroup", fix)
}

pub(super) fn not_delegated(facts: &Facts) -> Cause {
    let fix = match &facts.container {
        Some(_) => {
            "give the container a writable cgroup of its own: --cgroupns=private and a /sys/fs/cgroup \
             that is mounted read-write (`docker run --privileged` does both)"
        }
        None => {
            "have it delegated: systemd/zyg.service says Delegate=yes; as a user, `systemd-run --user \
             --scope -p Delegate=yes zyg serve`"
        }
    };
    Cause::new(Layer::Cgroup, "our own cgroup is not ours to divide", fix)
}

pub(super) fn controllers(facts: &Facts) -> Cause {
    if !facts.cgroup_v1.is_empty() {
        let why = format!("bound to cgroup v1: {}", facts.cgroup_v1.join(" "));
        let fix = "boot the machine with systemd.unified_cgroup_hierarchy=1 cgroup_no_v1=all";
        return Cause::new(Layer::Cgroup, why, fix);
    }
    not_delegated(facts)
}

pub(super) fn cgroup_full() -> Cause {
    let why = "a cgroup above allows no more below it";
    Cause::new(Layer::Limit, why, "raise cgroup.max.descendants and cgroup.max.depth there")
}

pub(super) fn descriptors(facts: &Facts) -> Cause {
    let fix = format!(
        "raise ulimit -n or LimitNOFILE=: in the unit LimitNOFILE=524288, for a login `{} hard nofile \
         524288` in /etc/security/limits.d/zyg.conf",
        facts.user
    );
    Cause::new(Layer::Limit, "the descriptor limit is reached", fix)
}

pub(super) fn descriptors_in_flight() -> Cause {
    let why =
        "more descriptors of this user are on their way through sockets than it may have open";
    Cause::new(Layer::Limit, why, "raise ulimit -n or LimitNOFILE=")
}

pub(super) fn processes(facts: &Facts) -> Cause {
    let fix = format!(
        "raise ulimit -u, TasksMax= or the pids cgroup's limit: in the unit TasksMax=infinity, for a \
         login `{} hard nproc 65536` in /etc/security/limits.d/zyg.conf",
        facts.user
    );
    Cause::new(Layer::Limit, "the process limit is reached", fix)
}

pub(super) fn subordinate_ids(facts: &Facts) -> Cause {
    let fix = format!(
        "`usermod --add-subuids 100000-165535 --add-subgids 100000-165535 {}`, with ranges that \
         nobody has yet",
        facts.user
    );
    let why = format!("/etc/subuid and /etc/subgid grant {} no range", facts.user);
    Cause::new(Layer::Missing, why, fix)
}

pub(super) fn newuidmap(errno: i32) -> Cause {
    if errno == libc::EPERM {
        let why = "they are there without the privilege to write id maps";
        let fix = "`chmod u+s /usr/bin/newuidmap /usr/bin/newgidmap`";
        return Cause::new(Layer::Missing, why, fix);
    }
    let fix =
        "install them: `apt install uidmap` (Debian, Ubuntu), `dnf install shadow-utils` (Fedora)";
    Cause::new(Layer::Missing, "they are not in PATH", fix)
}

pub(super) fn no_new_privs() -> Cause {
    let why = "no_new_privs keeps newuidmap from being privileged";
    let fix = "start zyg without it: a systemd unit must not set NoNewPrivileges=yes";
    Cause::new(Layer::NoNewPrivs, why, fix)
}

pub(super) fn not_all_ids(facts: &Facts) -> Cause {
    if facts.outermost {
        let fix = "start the system service as root, with CAP_SETUID and CAP_SETGID";
        return Cause::new(
            Layer::OuterNamespace,
            "privilege over other users' ids is missing",
            fix,
        );
    }
    let why = "the user namespace around us does not map these ids";
    let fix = "start zyg outside of it, or have more ids mapped in it";
    Cause::new(Layer::OuterNamespace, why, fix)
}

pub(super) fn server(errno: i32) -> Cause {
    let fix = match errno {
        libc::EACCES => {
            "join the socket's group, or let it be opened to everybody: SocketMode=0666"
        }
        libc::ENOENT | libc::ECONNREFUSED => {
            "`systemctl enable --now zyg.socket`; without it `zyg run` starts a private server"
        }
        _ => "look at its log: `journalctl -u zyg`",
    };
    Cause::new(Layer::Service, "", fix)
}

pub(super) fn unknown_refusal() -> Cause {
    let why =
        "a chroot, a security module or a seccomp filter forbids it, and which cannot be told";
    let fix = "see whether `unshare -Urm true` works here, and outside of whatever started zyg; look \
               for a denial in the kernel's log";
    Cause::new(Layer::Unknown, why, fix)
}

pub(super) fn unknown() -> Cause {
    let fix = "look for the reason in the kernel's log (`dmesg`), and report it with the output of \
               `zyg doctor --json`";
    Cause::new(Layer::Unknown, "", fix)
}
