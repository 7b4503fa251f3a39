//! Who may ask, and for how much.

use crate::server;
use nix::sys::signal::Signal;
use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use tempfile::NamedTempFile;
use zyg_protocol::message::{Acquire, Reply, Request};
use zyg_tests::{Raw, Server, Setup, connect_as, eventually, is_root};
use zygote_client::{AcquireError, Denial, LeaseOptions};

#[test]
fn only_those_who_are_listed_may_ask() {
    let own = nix::unistd::getuid().as_raw();
    let group = nix::unistd::getgid().as_raw();
    let server = server(&format!(
        "[profile.others]\nallow_uids = [54321]\n\
         [profile.mine]\nallow_uids = [{own}]\n\
         [profile.group]\nallow_gids = [{group}]\n"
    ));
    let client = server.client();
    let ask = |profile: &str| client.acquire(LeaseOptions::new().profile(profile));
    match ask("others") {
        Err(AcquireError::Denied(Denial::NotAllowed { profile, uid })) => {
            assert_eq!((profile.as_str(), uid), ("others", own));
        }
        other => panic!("{other:?}"),
    }
    ask("mine").unwrap();
    ask("group").unwrap();
}

/// A server in a mount namespace of its own, whose database has one more group: the file of that, the
/// host's lines, and the server.
fn with_group(line: &str) -> (NamedTempFile, String, Server) {
    let file = NamedTempFile::new().unwrap();
    let others = fs::read_to_string("/etc/group").unwrap();
    fs::write(&file, format!("{others}{line}\n")).unwrap();
    let bind = format!("mount --bind {} /etc/group && exec \"$@\"", file.path().display());
    let server =
        Setup::default().shell(&format!("set -- unshare --mount sh -c '{bind}' sh \"$@\"")).start();
    (file, others, server)
}

#[test]
fn a_reload_takes_groups_from_those_who_have_left_them() {
    const DAEMON: u32 = 1;
    const GROUP: &str = "54399";
    if !is_root() {
        eprintln!("NOT SHOWN: it takes root, for an ordinary user's server has his own groups");
        return;
    }
    let (file, without, server) = with_group(&format!("zyg-test:x:{GROUP}:daemon"));
    let client = connect_as(DAEMON, server.socket());
    let is_in = || {
        let lease = client.lease();
        let templates = server.processes_named("zyg-template").into_iter();
        let mut statuses =
            templates.map(|pid| fs::read_to_string(format!("/proc/{pid}/status")).unwrap());
        let of = format!("Uid:\t{DAEMON}\t");
        let of_daemon = statuses.rfind(|status| status.contains(&of)).unwrap();
        drop(lease);
        let groups = of_daemon.lines().find_map(|line| line.strip_prefix("Groups:")).unwrap();
        groups.split_whitespace().any(|group| group == GROUP)
    };
    assert!(is_in(), "the control");
    fs::write(&file, without).unwrap();
    // What getent(1) has said holds for some seconds.
    eventually("a template without the group", || {
        server.signal(Signal::SIGHUP);
        (!is_in()).then_some(())
    });
}

/// Why a user gets no environment, if that is so.
fn denial(server: &Server, uid: u32) -> Option<String> {
    let client = connect_as(uid, server.socket());
    client.say(&Request::Acquire(Acquire { request: 1, ..Acquire::default() }));
    match client.reply() {
        Some(Reply::Granted(_)) => None,
        Some(Reply::Denied { denial, .. }) => Some(denial.to_string()),
        other => panic!("{other:?}"),
    }
}

/// Whom the user database does not know is in the group of the same number, unless that is somebody's.
#[test]
fn nobody_gets_a_group_because_it_has_his_number() {
    if !is_root() {
        eprintln!("NOT SHOWN: it takes root, for only a server of root's serves other users");
        return;
    }
    let (_file, _, server) = with_group("zyg-test:x:61088:");
    let why = denial(&server, 61_088).expect("it is a group's number");
    assert!(why.contains("uid 61088") && why.contains("/etc/passwd"), "{why}");
    assert_eq!(denial(&server, 61_089), None, "the control");
}

/// Who might be in groups that nobody tells of is not served as if he were not.
#[test]
fn nobody_is_served_while_it_is_not_certain_who_he_is() {
    const DAEMON: u32 = 1;
    if !is_root() {
        eprintln!("NOT SHOWN: it takes root, for only a server of root's serves other users");
        return;
    }
    let place = tempfile::tempdir().unwrap();
    let getent = place.path().join("getent");
    fs::write(&getent, "#!/bin/sh\nexec sleep infinity\n").unwrap();
    fs::set_permissions(&getent, Permissions::from_mode(0o755)).unwrap();
    let path = format!("PATH={}:$PATH; export PATH", place.path().display());
    let server = Setup::default().shell(&path).start();
    let why = denial(&server, 61_090).expect("nobody knows");
    assert!(why.contains("uid 61090") && why.contains("getent(1)"), "{why}");
    assert_eq!(denial(&server, DAEMON), None, "whom the file knows");
}

#[test]
fn a_user_has_as_many_leases_as_the_quota_says() {
    let server = server("[profile.few]\nquota = { leases = 2 }\n");
    let client = server.client();
    let ask = || client.acquire(LeaseOptions::new().profile("few"));
    let (first, _second) = (ask().unwrap(), ask().unwrap());
    match ask() {
        Err(AcquireError::Denied(Denial::QuotaExceeded { what, limit })) => {
            assert_eq!((what.as_str(), limit), ("leases", 2));
            let told = Denial::QuotaExceeded { what, limit }.to_string();
            assert!(told.contains("quota.leases of the profile, or of [server]"), "{told}");
        }
        other => panic!("{other:?}"),
    }
    client.lease().expect("the control: another profile has its own quota");
    first.release().unwrap();
    ask().unwrap();
}

#[test]
fn asking_for_many_at_once_is_no_way_around_a_quota() {
    let server = server("[profile.few]\nquota = { leases = 2 }\n");
    let client = Raw::connect(server.socket());
    for request in 1..=6 {
        let profile = Some("few".to_owned());
        client.say(&Request::Acquire(Acquire { request, profile, ..Acquire::default() }));
    }
    let replies: Vec<_> = (1..=6).map(|_| client.reply().unwrap()).collect();
    let granted = replies.iter().filter(|reply| matches!(reply, Reply::Granted(_))).count();
    assert_eq!(granted, 2, "{replies:?}");
}

#[test]
fn a_bad_filter_is_refused_at_the_start() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("c.toml");
    std::fs::write(&file, "[profile.x]\nseccomp = { deny = [\"no_such_call\"] }\n").unwrap();
    let output = std::process::Command::new(zyg_tests::zyg_binary())
        .args(["serve", "--socket"])
        .arg(directory.path().join("s"))
        .arg("--config")
        .arg(&file)
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(125));
    assert!(String::from_utf8_lossy(&output.stderr).contains("no_such_call"));
}
