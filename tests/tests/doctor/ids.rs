//! Ranges of ids: granted or not, mapped or not.

use crate::said::{Place, Said, user_name};
use serde_json::Value;
use std::os::unix::process::CommandExt;
use std::process::Command;
use zyg_tests::is_root;

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
