//! `zyg doctor`: it finds nothing missing where nothing is, and where something is, made so by the
//! test, it names the step, the layer and what to change.

use nix::libc;
use nix::unistd::{User, getuid};
use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter,
    SeccompRule, apply_filter,
};
use serde_json::Value;
use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use tempfile::TempDir;
use zyg_tests::{Server, is_root, zyg_binary};
use zygote::doctor::Step;

/// A directory in which everybody may run `zyg`.
struct Place(TempDir);

impl Place {
    fn make() -> Self {
        let directory = tempfile::Builder::new().prefix("zyg-test-").tempdir().unwrap();
        let everybody = fs::Permissions::from_mode(0o755);
        fs::set_permissions(directory.path(), everybody.clone()).unwrap();
        // By another process: a program that this one has open for writing, if only in a child that
        // another thread is starting, cannot be executed (`ETXTBSY`, execve(2)).
        let mut copy = Command::new("cp");
        assert!(copy.arg(zyg_binary()).arg(directory.path()).status().unwrap().success());
        let place = Self(directory);
        fs::set_permissions(place.zyg(), everybody).unwrap();
        place
    }

    fn zyg(&self) -> PathBuf {
        self.0.path().join(zyg_binary().file_name().unwrap())
    }

    /// `zyg doctor --json`, started by `program` with these arguments before it.
    fn through(&self, program: &str, arguments: &[&str]) -> Command {
        let mut command = Command::new(program);
        command.args(arguments).arg(self.zyg()).args(["doctor", "--json"]);
        command.env_remove("ZYG_SOCKET").stdin(Stdio::null()).current_dir(self.0.path());
        command
    }

    /// The same as the root of a user and mount namespace of its own, after `script`.
    fn below(&self, script: &str) -> Command {
        let script = format!("{script}\nexec \"$@\"");
        let unshare = ["--user", "--map-root-user", "--mount", "sh", "-euc", &script, "sh"];
        self.through("unshare", &unshare)
    }
}

/// What it said.
struct Said {
    steps: Vec<Value>,
    code: Option<i32>,
}

impl Said {
    fn by(command: &mut Command) -> Self {
        Self::of(&command.output().unwrap())
    }

    fn of(output: &Output) -> Self {
        let text = String::from_utf8_lossy(&output.stdout);
        let errors = String::from_utf8_lossy(&output.stderr);
        let whole: Value =
            serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text}\n{errors}"));
        assert_eq!(whole["version"], 1);
        assert_eq!(errors, "");
        Self { steps: whole["steps"].as_array().unwrap().clone(), code: output.status.code() }
    }

    fn step(&self, name: &str) -> &Value {
        self.steps.iter().find(|step| step["name"] == name).unwrap()
    }

    #[track_caller]
    fn assert_ok(&self, names: &[&str]) {
        for name in names {
            assert_eq!(self.step(name)["ok"], true, "{:#}", self.step(name));
        }
    }

    #[track_caller]
    fn assert_all_required_ok(&self) {
        let failing = |step: &&Value| step["required"] == true && step["ok"] != true;
        let failing: Vec<_> = self.steps.iter().filter(failing).collect();
        assert!(failing.is_empty() && self.code == Some(0), "{:?}: {failing:#?}", self.code);
    }

    #[track_caller]
    fn assert_missing(&self, name: &str, layer: &str, fix: &str) {
        let step = self.step(name);
        assert_eq!(
            (&step["ok"], &step["layer"]),
            (&Value::from(false), &Value::from(layer)),
            "{step:#}"
        );
        assert_eq!(step["fix"], fix);
    }

    /// That a step that is required is missing, so that zyg cannot run.
    #[track_caller]
    fn assert_fatal(&self, name: &str, layer: &str, fix: &str) {
        self.assert_missing(name, layer, fix);
        assert_eq!(self.step(name)["required"], true);
        assert_eq!(self.code, Some(1));
        let whole = self.step("zygote");
        assert_eq!((&whole["ok"], &whole["layer"]), (&Value::from(false), &Value::Null));
        assert!(whole["detail"].as_str().unwrap().starts_with("not tried: "), "{whole:#}");
    }
}

fn user_name() -> String {
    User::from_uid(getuid()).unwrap().unwrap().name
}

#[test]
fn here_everything_required_works() {
    let place = Place::make();
    let said = Said::by(&mut place.through("env", &[]));
    said.assert_all_required_ok();
    said.assert_ok(&["overlay-home", "overlay-cwd", "sysfs", "other-users"]);
    let zygote = said.step("zygote")["detail"].as_str().unwrap();
    assert!(zygote.starts_with("`true` ran; template "), "{zygote}");
}

#[test]
fn the_json_is_stable() {
    let said = Said::by(&mut Place::make().through("env", &[]));
    let names: Vec<_> = said.steps.iter().map(|step| step["name"].as_str().unwrap()).collect();
    let known: Vec<_> = Step::all().map(Step::name).collect();
    assert_eq!(names, known);
    for step in &said.steps {
        let keys: BTreeSet<_> = step.as_object().unwrap().keys().map(String::as_str).collect();
        let expected = ["detail", "fix", "layer", "name", "ok", "required"];
        assert_eq!(keys, BTreeSet::from(expected));
        assert!(step["required"].is_boolean() && step["ok"].is_boolean(), "{step}");
        assert!(step["detail"].as_str().is_some_and(|detail| !detail.is_empty()), "{step}");
        assert_eq!(step["layer"].is_string(), step["fix"].is_string(), "{step}");
        assert!(step["ok"] == false || step["fix"].is_null(), "{step}");
    }
}

#[test]
fn the_table_ends_with_the_verdict() {
    let zyg = zyg_binary();
    let output = Command::new(&zyg).arg("doctor").env_remove("ZYG_SOCKET").output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(text.lines().last().unwrap().starts_with("zyg can run here"), "{text}");
    assert_eq!(output.status.code(), Some(0));

    let mut limited = Command::new("sh");
    limited.args(["-c", "ulimit -n 16; exec \"$@\"", "sh"]).arg(&zyg).arg("doctor");
    let output = limited.output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    assert_eq!(text.lines().last().unwrap(), "zyg cannot run here: descriptors (limit)", "{text}");
    assert_eq!(output.status.code(), Some(1));
}

#[test]
fn no_process_is_left() {
    // The shell is pid 1, so whatever is left shows beside it.
    let place = Place::make();
    let script = "\"$@\" >&2; echo $? /proc/[0-9]*";
    let arguments = ["-Urpf", "--mount-proc", "sh", "-c", script, "sh"];
    let output = place.through("unshare", &arguments).output().unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert_eq!(String::from_utf8_lossy(&output.stdout), "0 /proc/1\n", "{errors}");
}

#[test]
fn a_step_that_is_not_known_is_an_error() {
    let output = Command::new(zyg_binary()).args(["doctor", "--step", "no"]).output().unwrap();
    assert_eq!(output.status.code(), Some(125));
    assert_eq!(String::from_utf8_lossy(&output.stderr), "zyg: there is no step \"no\"\n");
}

#[test]
fn one_layer_below_nothing_is_missing() {
    // The control of all tests below that spoil such a place.
    Said::by(&mut Place::make().below("true")).assert_all_required_ok();
}

#[test]
fn a_namespace_limit_of_zero_is_named() {
    let place = Place::make();
    for (kind, step, before) in [
        ("user", "user-namespace", "kernel"),
        ("mnt", "mount-namespace", "pid-namespace"),
        ("pid", "pid-namespace", "mount-namespace"),
        ("net", "network-namespace", "mount-namespace"),
        ("ipc", "ipc-namespace", "mount-namespace"),
        ("uts", "uts-namespace", "mount-namespace"),
        ("cgroup", "cgroup-namespace", "mount-namespace"),
    ] {
        let script = format!("echo 0 > /proc/sys/user/max_{kind}_namespaces");
        let said = Said::by(&mut place.below(&script));
        let fix = format!(
            "raise it: `sysctl -w user.max_{kind}_namespaces=65536`, and the same in \
             /etc/sysctl.d/99-zyg.conf to keep it (in this user namespace or one around it: each has \
             its own)"
        );
        said.assert_fatal(step, "sysctl", &fix);
        said.assert_missing("namespace-limits", "sysctl", &fix);
        said.assert_ok(&[before]);
    }
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
    let script = "
        here=$PWD
        mkdir tmp
        mount -t tmpfs tmpfs tmp
        mkdir tmp/root
        cd tmp/root
        for name in usr bin lib lib64 etc proc dev sys; do
            if [ -h /$name ]; then
                cp -P /$name $name
            elif [ -d /$name ]; then
                mkdir $name
                mount --rbind /$name $name
            fi
        done
        mkdir -p .$here
        mount --rbind $here .$here
        set -- chroot . \"$@\"";
    let said = Said::by(&mut Place::make().below(script));
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

/// Runs it under a filter that answers in this way to who wants a user namespace. It is inherited
/// from a thread of its own, so that nobody else gets it.
fn filtered(action: SeccompAction) -> Said {
    let place = Place::make();
    let run = move || {
        let flag = libc::CLONE_NEWUSER as u64;
        let operator = SeccompCmpOp::MaskedEq(flag);
        let wanted = SeccompCondition::new(0, SeccompCmpArgLen::Qword, operator, flag).unwrap();
        let rules = vec![SeccompRule::new(vec![wanted]).unwrap()];
        install(&[(libc::SYS_unshare, rules.clone()), (libc::SYS_clone, rules)], action);
        // As in Docker: what cannot be looked into does not exist.
        install(&[(libc::SYS_clone3, Vec::new())], SeccompAction::Errno(libc::ENOSYS as u32));
        Said::by(&mut place.through("env", &[]))
    };
    std::thread::spawn(run).join().unwrap()
}

fn install(rules: &[(i64, Vec<SeccompRule>)], action: SeccompAction) {
    let architecture = std::env::consts::ARCH.try_into().unwrap();
    let rules = rules.iter().cloned().collect();
    let filter = SeccompFilter::new(rules, SeccompAction::Allow, action, architecture).unwrap();
    let program: BpfProgram = filter.try_into().unwrap();
    apply_filter(&program).unwrap();
}

/// What is said of a filter: of the container's, where pid 1 has one too, in other words.
fn filter_fix() -> Option<&'static str> {
    let init = fs::read_to_string("/proc/1/status").unwrap();
    init.contains("\nSeccomp:\t0\n").then_some(
        "start zyg without that filter: a systemd unit must not set RestrictNamespaces= or \
         SystemCallFilter=",
    )
}

#[test]
fn a_filter_is_named() {
    let said = filtered(SeccompAction::Errno(libc::EPERM as u32));
    let fix = said.step("user-namespace")["fix"].as_str().unwrap().to_owned();
    said.assert_fatal("user-namespace", "seccomp", filter_fix().unwrap_or(&fix));
    assert!(said.step("user-namespace")["detail"].as_str().unwrap().contains("seccomp"));
    said.assert_ok(&["kernel", "seccomp", "no-new-privs", "descriptors"]);
}

#[test]
fn a_filter_that_kills_is_named_too() {
    let said = filtered(SeccompAction::KillProcess);
    let fix = said.step("user-namespace")["fix"].as_str().unwrap().to_owned();
    said.assert_fatal("user-namespace", "seccomp", filter_fix().unwrap_or(&fix));
    let detail = said.step("user-namespace")["detail"].as_str().unwrap();
    assert!(detail.contains("SIGSYS"), "{detail}");
    said.assert_ok(&["kernel", "seccomp", "no-new-privs", "descriptors"]);
}

/// A command that runs as somebody who is not root: the caller, or one without a name.
fn as_ordinary_user(command: &mut Command) -> &mut Command {
    if is_root() { command.uid(NAMELESS).gid(NAMELESS) } else { command }
}

const NAMELESS: u32 = 64_999;

#[test]
fn newuidmap_is_looked_for() {
    let place = Place::make();
    let zyg = place.zyg();
    let mut command = place.through("env", &[]);
    let said = Said::by(as_ordinary_user(command.env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")));
    said.assert_ok(&["newuidmap"]);

    let mut command = Command::new(zyg);
    command.args(["doctor", "--json"]).env("PATH", "/nonexistent").current_dir("/");
    let said = Said::by(as_ordinary_user(&mut command));
    let fix =
        "install them: `apt install uidmap` (Debian, Ubuntu), `dnf install shadow-utils` (Fedora)";
    said.assert_missing("newuidmap", "missing", fix);
    said.assert_all_required_ok();
}

#[test]
fn ids_that_are_not_granted_are_named() {
    let place = Place::make();
    let (said, name) = if is_root() {
        (Said::by(place.through("env", &[]).uid(NAMELESS).gid(NAMELESS)), NAMELESS.to_string())
    } else {
        let script = "mount --bind /dev/null /etc/subuid; exec \"$@\"";
        let arguments = ["-Umc", "--keep-caps", "sh", "-euc", script, "sh"];
        (Said::by(&mut place.through("unshare", &arguments)), user_name())
    };
    let fix = format!(
        "`usermod --add-subuids 100000-165535 --add-subgids 100000-165535 {name}`, with ranges that \
         nobody has yet"
    );
    said.assert_missing("subordinate-ids", "missing", &fix);
    assert_eq!(said.step("id-map-range")["layer"], Value::Null);
    said.assert_all_required_ok();
}

#[test]
fn no_new_privs_keeps_ids_from_being_mapped() {
    if is_root() {
        // Root needs no privilege from a program's file, and whoever it becomes has no ids granted.
        let said = Said::by(&mut Place::make().through("setpriv", &["--no-new-privs"]));
        said.assert_ok(&["id-map-range"]);
        return;
    }
    let said = Said::by(&mut Place::make().through("env", &[]));
    said.assert_ok(&["subordinate-ids", "newuidmap", "id-map-range"]);
    let said = Said::by(&mut Place::make().through("setpriv", &["--no-new-privs"]));
    let fix = "start zyg without it: a systemd unit must not set NoNewPrivileges=yes";
    said.assert_missing("id-map-range", "no-new-privs", fix);
    said.assert_all_required_ok();
}

#[test]
fn a_server_is_asked() {
    let server = Server::start();
    let output = server.zyg("doctor").arg("--json").output().unwrap();
    let said = Said::of(&output);
    said.assert_ok(&["server"]);
    let detail = said.step("server")["detail"].as_str().unwrap();
    let expected = format!("{}: process {} answers", server.socket().display(), server.pid());
    assert_eq!(detail, expected);

    let nobody = server.directory().join("nobody.sock");
    let said = Said::by(server.zyg("doctor").arg("--json").arg("--socket").arg(&nobody));
    let fix = "`systemctl enable --now zyg.socket`; without it `zyg run` starts a private server";
    said.assert_missing("server", "service", fix);
    assert!(!Path::new(&nobody).exists());
    said.assert_all_required_ok();
}
