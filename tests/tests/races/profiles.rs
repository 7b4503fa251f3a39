//! What a profile names in a place that its user can write: `bind` and `hide`.

use crate::place::{ALLOWED, FORBIDDEN, Place, run, user};
use crate::swapper::Swapper;
use std::fs;
use std::os::unix::fs::symlink;
use zyg_protocol::message::{Acquire, Denial};
use zyg_tests::{Setup, eventually, home};
use zygote_client::LeaseOptions;

/// Profiles, each of whose templates resolves the path once.
const PROFILES: usize = 24;

fn of(profile: &str) -> Acquire {
    Acquire { profile: Some(profile.to_owned()), ..Acquire::default() }
}

/// A profile without anything warm, that binds this of the place at `/mnt`.
fn binding(name: &str, source: &str) -> String {
    format!(
        "[profile.{name}]\npool = {{ min = 0, max = 2 }}\n         bind = [{{ source = \"PLACE/{source}\", target = \"/mnt\" }}]\n"
    )
}

#[test]
fn a_bind_of_a_profile_has_no_rights_that_its_user_lacks() {
    let config = [
        binding("open", "allowed"),
        binding("closed", "closed/secret"),
        binding("roots", "roots/secret"),
    ];
    let place = Place::with(&config.concat());
    let lease = place.acquire(of("open")).unwrap();
    assert_eq!(run(&lease, "/", "cat /mnt/file").0, ALLOWED, "the control");
    for profile in if zyg_tests::is_root() { &["closed", "roots"][..] } else { &["closed"] } {
        match place.acquire(of(profile)) {
            Err(Denial::BuildFailing { reason }) => {
                assert!(reason.contains("ermission denied"), "{reason}");
            }
            other => panic!("{profile}: {other:?}"),
        }
    }
}

#[test]
fn a_bind_of_a_profile_that_becomes_a_link_to_a_closed_place() {
    let config: String =
        (0..PROFILES).map(|number| binding(&format!("p{number}"), "allowed")).collect();
    let place = Place::with(&config);
    let closed = if zyg_tests::is_root() { "roots" } else { "closed" };
    let link = place.link("link", place.at(closed).join("secret"));
    let _swapper = Swapper::start(&place.at("allowed"), &link);
    let (mut granted, mut denied) = (0, 0);
    for number in 0..PROFILES {
        match place.acquire(of(&format!("p{number}"))) {
            Ok(lease) => {
                granted += 1;
                assert_eq!(run(&lease, "/", "cat /mnt/file").0, ALLOWED);
            }
            Err(Denial::BuildFailing { .. }) => denied += 1,
            Err(other) => panic!("{other:?}"),
        }
    }
    eprintln!("{granted} granted, {denied} denied of uid {}", user());
    assert_eq!(granted + denied, PROFILES);
}

/// A hidden path leads for commands where it leads for them, through whatever links its user has
/// made, and what is there looks empty by every name.
#[test]
fn what_is_hidden_is_hidden_behind_a_link_too() {
    let directory = tempfile::tempdir_in(home()).unwrap();
    let real = directory.path().join("real");
    fs::create_dir(&real).unwrap();
    fs::write(real.join("file"), FORBIDDEN).unwrap();
    let link = directory.path().join("link");
    let show = |path: &str| format!("cat {}/{path}/file 2>/dev/null", directory.path().display());
    for to in [real.as_path(), "real".as_ref()] {
        symlink(to, &link).unwrap();
        for (writable, hide) in [("", true), ("\"~\"", true), ("", false), ("\"~\"", false)] {
            let hidden = if hide { format!("\"{}\"", link.display()) } else { String::new() };
            let config = format!(
                "[profile.hiding]\npool = {{ min = 0, max = 2 }}\n                 writable = [{writable}]\nhide = [{hidden}]\n"
            );
            let server = Setup::default().config(&config).start();
            let mut options = LeaseOptions::new();
            options.profile("hiding");
            let client = server.client();
            let lease = eventually("a lease", || client.acquire(&options).ok());
            for name in ["real", "link"] {
                let mut shell = lease.command("sh");
                shell.args(["-c", &show(name)]).current_dir("/");
                let printed = String::from_utf8(shell.output().unwrap().stdout).unwrap();
                let expected = if hide { "" } else { FORBIDDEN };
                assert_eq!(printed, expected, "{name} -> {to:?}, writable: {writable:?}");
            }
        }
        fs::remove_file(&link).unwrap();
    }
}
