//! Who may ask, and for how much.

use crate::server;
use zyg_protocol::message::{Acquire, Reply, Request};
use zyg_tests::Raw;
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
