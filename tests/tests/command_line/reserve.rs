//! `zyg reserve`: what is kept warm, for how long, and what is said about it.

use serde_json::Value;
use std::process::{Output, Stdio};
use std::time::{Duration, Instant};
use zyg_tests::{Server, Setup, eventually};

/// Of its own accord the pool keeps one, and never more than a few: what is beyond was reserved.
const POOL: &str = "[profile.default.pool]\nmin = 1\nmax = 6\n";

fn reserve(server: &Server, arguments: &[&str]) -> Output {
    server.zyg("reserve").args(arguments).output().unwrap()
}

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).unwrap()
}

#[test]
fn what_is_reserved_is_warm_when_the_wait_returns() {
    let server = Setup::default().config(POOL).start_warm();
    let output = reserve(&server, &["5", "--wait"]);
    assert_eq!((output.status.code(), text(&output.stderr)), (Some(0), ""));
    let expected = "5 environments of profile default are kept warm for 10m\n";
    assert_eq!(text(&output.stdout), expected);
    let pool = server.pool();
    assert!(pool.warm >= 5, "{pool:?}");
    assert_eq!(pool.reserved, 5);
    // Whoever comes then waits for nothing.
    let leases = server.client().acquire_many(&zygote_client::LeaseOptions::new(), 5).unwrap();
    assert!(leases.iter().all(|lease| lease.start() == zygote_client::Start::Warm));
}

#[test]
fn it_is_kept_warm_again_after_it_was_used() {
    let server = Setup::default().config(POOL).start_warm();
    assert!(reserve(&server, &["4", "--wait"]).status.success());
    drop(server.client().acquire_many(&zygote_client::LeaseOptions::new(), 4).unwrap());
    eventually("a warm pool again", || (server.pool().warm >= 4).then_some(()));
}

#[test]
fn more_than_the_profile_allows_is_cut_and_told() {
    let server = Setup::default().config(POOL).start_warm();
    let output = reserve(&server, &["9", "--wait", "--for", "1h"]);
    assert_eq!(output.status.code(), Some(1), "not as many as were asked for: {output:?}");
    let expected = "6 environments of profile default are kept warm for 1h\n";
    assert_eq!(text(&output.stdout), expected);
    let said = text(&output.stderr);
    assert!(said.lines().count() == 1 && said.contains("`max`") && said.contains('6'), "{said}");
    assert_eq!(server.pool().warm, 6);
}

#[test]
fn a_reservation_ends_with_its_time_or_when_it_is_told_to() {
    let server = Setup::default().config(POOL).start_warm();
    let start = Instant::now();
    assert!(reserve(&server, &["5", "--for", "300ms"]).status.success());
    eventually("the end of the reservation", || (server.pool().reserved == 0).then_some(()));
    assert!(start.elapsed() >= Duration::from_millis(300));

    assert!(reserve(&server, &["5", "--wait"]).status.success());
    let output = reserve(&server, &["0"]);
    assert_eq!(text(&output.stdout), "nothing is reserved in profile default any more\n");
    assert_eq!((server.pool().reserved, output.status.code()), (0, Some(0)));
}

#[test]
fn a_wait_in_vain_is_a_failure_with_its_reason() {
    let server = Setup::default().config(POOL).start_warm();
    let client = server.client();
    let _held: Vec<_> = (0..2).map(|_| client.lease().unwrap()).collect();
    // As many as there may be, of which two are in use.
    let output = reserve(&server, &["6", "--wait=200ms"]);
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    let said = text(&output.stderr);
    assert!(said.contains("of 6 environments") && said.contains("2 in use"), "{said}");
}

#[test]
fn the_json_is_one_object_that_says_what_is_kept() {
    let server = Setup::default().config(POOL).start_warm();
    let whole = |arguments: &[&str]| -> Value {
        let output = reserve(&server, arguments);
        assert!(output.status.success(), "{output:?}");
        assert_eq!(text(&output.stdout).lines().count(), 1);
        serde_json::from_slice(&output.stdout).unwrap()
    };
    let told = whole(&["8", "--json"]);
    assert_eq!(
        (&told["version"], &told["asked"], &told["kept"]),
        (&1.into(), &8.into(), &6.into())
    );
    assert_eq!((&told["profile"], &told["for_ms"]), (&"default".into(), &600_000.into()));
    assert!(told["warm"].is_u64() && told["failing"].is_null(), "{told}");
    let told = whole(&["3", "--wait", "--json"]);
    assert!(told["warm"].as_u64().unwrap() >= 3, "{told}");
}

#[test]
fn what_cannot_be_built_is_not_promised() {
    let rooted = "[profile.rooted]\nroot = \"/no/such/root\"\n";
    let server = Setup::default().config(&format!("{POOL}{rooted}")).start_warm();
    let output = eventually("a failure that is known", || {
        let output = reserve(&server, &["-p", "rooted", "2"]);
        (output.status.code() == Some(1)).then_some(output)
    });
    let said = text(&output.stderr);
    assert!(said.contains("cannot be built") && said.contains("/no/such/root"), "{said}");
}

#[test]
fn a_profile_that_goes_is_not_waited_for() {
    let extra = "[profile.extra]\npool = { min = 0, max = 4 }\n";
    let server = Setup::default().config(&format!("{POOL}{extra}")).start_warm();
    let client = server.client();
    let mut options = zygote_client::LeaseOptions::new();
    let lease = client.acquire(options.profile("extra")).unwrap();
    let waiting = server
        .zyg("reserve")
        .args(["-p", "extra", "4", "--wait=1h", "--for=2h"])
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // Three of them, and not the one that is in use.
    eventually("the reservation", || {
        let pools = client.status().unwrap().profiles.into_iter();
        let mut extra = pools.filter(|pool| pool.name == "extra");
        extra.any(|pool| pool.reserved == 4).then_some(())
    });
    std::fs::write(server.directory().join("zyg.toml"), POOL).unwrap();
    server.signal(nix::sys::signal::Signal::SIGHUP);
    let output = waiting.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    assert!(text(&output.stderr).contains("no pool of profile extra for uid"), "{output:?}");
    drop(lease);
}

#[test]
fn a_profile_that_is_not_there_is_refused_by_name() {
    let server = Setup::default().config(POOL).start();
    let output = reserve(&server, &["-p", "defalt", "2"]);
    assert_eq!((output.status.code(), output.stdout.len()), (Some(125), 0), "{output:?}");
    assert!(text(&output.stderr).contains("no such profile"), "{output:?}");
}
