//! Places that are spoiled, one layer below where everything is allowed.

use crate::said::{Place, Said, user_name};
use serde_json::Value;
use zyg_tests::PLAIN_ROOT;

#[test]
fn one_layer_below_nothing_is_missing() {
    // The control of all tests below that spoil such a place.
    Said::by(&mut Place::make().below("true")).assert_all_required_ok();
}

/// That a limit of zero on namespaces of this kind is named; the step `other` works all the same.
#[track_caller]
fn assert_limit_named(kind: &str, step: &str, other: &str) {
    let script = format!("echo 0 > /proc/sys/user/max_{kind}_namespaces");
    let said = Said::by(&mut Place::make().below(&script));
    let fix = format!(
        "raise it: `sysctl -w user.max_{kind}_namespaces=65536`, and the same in \
         /etc/sysctl.d/99-zyg.conf to keep it (in this user namespace or one around it: each has its \
         own)"
    );
    said.assert_fatal(step, "sysctl", &fix);
    said.assert_missing("namespace-limits", "sysctl", &fix);
    said.assert_ok(&[other]);
}

#[test]
fn no_user_namespace_is_named() {
    assert_limit_named("user", "user-namespace", "kernel");
}

#[test]
fn no_mount_namespace_is_named() {
    assert_limit_named("mnt", "mount-namespace", "pid-namespace");
}

#[test]
fn no_pid_namespace_is_named() {
    assert_limit_named("pid", "pid-namespace", "mount-namespace");
}

#[test]
fn no_network_namespace_is_named() {
    assert_limit_named("net", "network-namespace", "mount-namespace");
}

#[test]
fn no_ipc_namespace_is_named() {
    assert_limit_named("ipc", "ipc-namespace", "mount-namespace");
}

#[test]
fn no_uts_namespace_is_named() {
    assert_limit_named("uts", "uts-namespace", "mount-namespace");
}

#[test]
fn no_cgroup_namespace_is_named() {
    assert_limit_named("cgroup", "cgroup-namespace", "mount-namespace");
}

#[test]
fn a_namespace_limit_that_is_reached_is_named() {
    // Enough for a step that makes one, too few for a clone in it. Or for the step before that,
    // since the kernel counts a namespace until some time after its last process has ended.
    let said = Said::by(&mut Place::make().below("echo 1 > /proc/sys/user/max_user_namespaces"));
    said.assert_ok(&["user-namespace"]);
    let step = said.steps.iter().find(|step| step["ok"] == false).unwrap();
    assert_eq!((&step["required"], &step["layer"]), (&Value::from(true), &Value::from("limit")));
    let fix = step["fix"].as_str().unwrap();
    assert!(fix.starts_with("raise sysctl: `sysctl -w user.max_user_namespaces=65536"), "{fix}");
    assert!(step["detail"].as_str().unwrap().contains("user.max_user_namespaces is 1"), "{step}");
    assert_eq!(said.code, Some(1));
}

#[test]
fn a_masked_proc_is_named() {
    let said = Said::by(&mut Place::make().below("mount -t tmpfs none /proc/sys"));
    let fix = "uncover it: `umount /proc/sys`; a systemd unit must not set ProtectKernelTunables= or \
               ProtectProc=";
    said.assert_fatal("proc", "masked-proc", fix);
    said.assert_fatal("low-ports", "masked-proc", fix);
    said.assert_missing("namespace-limits", "masked-proc", fix);
    said.assert_ok(&["user-namespace", "zygote-clone", "devpts", "loopback"]);
}

#[test]
fn a_read_only_part_of_proc_is_named() {
    let script = "mount --bind /proc/sys /proc/sys; mount -o remount,bind,ro /proc/sys";
    let said = Said::by(&mut Place::make().below(script));
    let fix = "uncover it: `umount /proc/sys`; a systemd unit must not set ProtectKernelTunables= or \
               ProtectProc=";
    said.assert_fatal("proc", "masked-proc", fix);
    said.assert_fatal("low-ports", "masked-proc", fix);
}

#[test]
fn a_chroot_is_named() {
    let script = format!(
        "{PLAIN_ROOT}
        mkdir -p .$here
        mount --rbind $here .$here
        set -- chroot . \"$@\""
    );
    let said = Said::by(&mut Place::make().below(&script));
    let fix = "start zyg outside of the chroot, or enter the new root with pivot_root";
    said.assert_fatal("user-namespace", "chroot", fix);
}

#[test]
fn a_locked_mount_below_the_working_directory_is_named() {
    let script = "mkdir -p dir/below; mount -t tmpfs none dir/below; cd dir";
    let said = Said::by(&mut Place::make().below(script));
    let fix = "unmount what lies below it, or show it with --bind; else it stays read-only in \
               environments";
    said.assert_missing("overlay-cwd", "mounts", fix);
    // zyg can do without.
    said.assert_all_required_ok();
}

#[test]
fn a_cgroup_that_is_not_there_is_named() {
    let script = "mount -t tmpfs none /sys/fs/cgroup";
    let said = Said::by(&mut Place::make().below(script));
    let fix = "boot with systemd.unified_cgroup_hierarchy=1, or `mount -t cgroup2 none \
               /sys/fs/cgroup`; in a container, start it with --cgroupns=private";
    said.assert_missing("cgroup-v2", "cgroup", fix);
    let child = said.step("cgroup-child");
    assert_eq!(child["detail"], "not tried: cgroup-v2 must work first");
    said.assert_all_required_ok();
}

#[test]
fn a_descriptor_limit_is_named() {
    let place = Place::make();
    let limited = ["-c", "ulimit -n 16; exec \"$@\"", "sh"];
    let said = Said::by(&mut place.through("sh", &limited));
    let fix = format!(
        "raise ulimit -n or LimitNOFILE=: in the unit LimitNOFILE=524288, for a login `{} hard nofile \
         524288` in /etc/security/limits.d/zyg.conf",
        user_name()
    );
    said.assert_fatal("descriptors", "limit", &fix);
    said.assert_ok(&["zygote-clone", "devpts", "loopback"]);
}
