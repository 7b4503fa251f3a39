//! Where nothing is missing: what it says, how it says it, and that nothing is left of it.

use crate::said::{Place, Said};
use std::collections::BTreeSet;
use std::process::Command;
use zyg_tests::{Server, zyg_binary};
use zygote::doctor::Step;

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
    assert!(!nobody.exists());
    said.assert_all_required_ok();
}
