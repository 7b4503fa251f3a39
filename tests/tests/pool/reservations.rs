//! Who knows what is coming has it kept warm: at once, for as long as it was said, and no more than
//! there may be.

use crate::shared::{denial, held, pool, with_pool};
use nix::unistd::Pid;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};
use zyg_protocol::limits::RESERVE_MS_MAX;
use zyg_protocol::message::{Denial, Reply, Request, Start};
use zyg_tests::{Baseline, Raw, Server, Setup, eventually, wait_readable, zyg_binary};
use zygote_client::{Client, LeaseOptions, ReserveError};

const HOUR: Duration = Duration::from_secs(3600);

fn wait_warm(server: &Server, warm: u32) {
    eventually("another size", || {
        let pool = server.pool();
        (pool.warm == warm && pool.spawning + pool.dying == 0).then_some(())
    });
}

/// Whether so many asked for at once are all warm.
fn all_warm(client: &Client, count: u32) -> bool {
    let leases = client.acquire_many(&LeaseOptions::new(), count).unwrap();
    leases.iter().all(|lease| lease.start() == Start::Warm)
}

#[test]
fn what_is_reserved_is_warm_and_after_its_time_is_not() {
    let server = with_pool(2, 16).config("idle = \"50ms\"\n").start_warm();
    let baseline = Baseline::of(&server);
    let client = baseline.observer();
    assert!(!all_warm(client, 9), "the control: so many are not warm by themselves");
    wait_warm(&server, 2);
    assert_eq!(client.reserve(None, 9, HOUR).unwrap(), 9);
    wait_warm(&server, 9);
    assert!(all_warm(client, 9));
    // Kept: what was taken is made anew.
    wait_warm(&server, 9);
    let row = server.pool();
    assert_eq!((row.reserved, row.target), (9, 9));
    assert_eq!(client.reserve(None, 0, HOUR).unwrap(), 0);
    assert_eq!(client.reserve(None, 5, Duration::from_secs(2)).unwrap(), 5);
    wait_warm(&server, 5);
    // By itself.
    wait_warm(&server, 2);
    assert_eq!(server.pool().reserved, 0);
    baseline.assert_restored();
}

#[test]
fn reservations_add_up_to_the_profiles_max_and_end_together() {
    let server = with_pool(1, 10).start_warm();
    let client = server.client();
    assert_eq!(client.reserve(None, 3, HOUR).unwrap(), 3);
    assert_eq!(client.reserve(None, 4, HOUR).unwrap(), 7);
    wait_warm(&server, 7);
    // Somebody else of the same user.
    assert_eq!(server.client().reserve(None, 50, HOUR).unwrap(), 10, "no more than max, and said");
    wait_warm(&server, 10);
    assert_eq!(client.reserve(None, 0, Duration::ZERO).unwrap(), 0);
    wait_warm(&server, 1);
}

#[test]
fn a_reservation_outlives_who_made_it_and_the_configuration() {
    let server = with_pool(1, 16).start_warm();
    assert_eq!(server.client().reserve(None, 6, HOUR).unwrap(), 6);
    wait_warm(&server, 6);
    crate::shared::reload(
        &server,
        &format!("{}[profile.default]\nhostname = \"b\"\n", pool(1, 16)),
    );
    eventually("another generation", || {
        let row = server.pool();
        (row.generation == 1 && row.warm == 6 && row.reserved == 6).then_some(())
    });
}

#[test]
fn what_cannot_be_reserved_is_denied_by_name() {
    let server = Setup::default()
        .config(&format!("{}[profile.others]\nallow_uids = [54321]\n", pool(1, 4)))
        .start_warm();
    let client = server.client();
    match client.reserve(Some("others"), 1, HOUR) {
        Err(ReserveError::Denied(Denial::NotAllowed { profile, .. })) => {
            assert_eq!(profile, "others");
        }
        other => panic!("{other:?}"),
    }
    match client.reserve(Some("none"), 1, HOUR) {
        Err(ReserveError::Denied(Denial::NoSuchProfile { asked, .. })) => assert_eq!(asked, "none"),
        other => panic!("{other:?}"),
    }
    let raw = Raw::connect(server.socket());
    let reserve = |ttl_ms| Request::Reserve { request: 1, profile: None, count: 2, ttl_ms };
    raw.say(&reserve(RESERVE_MS_MAX + 1));
    match denial(&raw) {
        Denial::BadRequest { reason } => assert!(reason.contains("a day"), "{reason}"),
        other => panic!("{other:?}"),
    }
    wait_warm(&server, 1);
    // The control, and the very longest.
    raw.say(&reserve(RESERVE_MS_MAX));
    assert_eq!(raw.reply(), Some(Reply::Reserved { request: 1, floor: 2 }));
    wait_warm(&server, 2);
}

#[test]
fn more_reservations_than_are_kept_let_the_earliest_go() {
    let server = with_pool(0, 100).start();
    let client = server.client();
    for _ in 0..64 {
        client.reserve(None, 1, HOUR).unwrap();
    }
    assert_eq!(client.reserve(None, 1, HOUR).unwrap(), 64);
    wait_warm(&server, 64);
}

#[test]
fn an_idle_private_server_stays_for_what_is_reserved() {
    const RESERVED: Duration = Duration::from_secs(2);
    let directory = tempfile::Builder::new().prefix("zyg-test-").tempdir().unwrap();
    let socket = directory.path().join("s.sock");
    let mut serve = Command::new(zyg_binary());
    serve.args(["serve", "--private", "--idle-exit-ms", "500", "--socket"]).arg(&socket);
    serve.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    assert!(serve.status().unwrap().success());
    let client = eventually("listening", || Client::connect(&socket).ok());
    let server = held(Pid::from_raw(client.status().unwrap().pid as i32));
    let asked = Instant::now();
    client.reserve(None, 3, RESERVED).unwrap();
    drop(client);
    // It leaves when nothing is reserved any more, and not before.
    wait_readable(server, "the end of the server");
    assert!(asked.elapsed() >= RESERVED, "it left after {:?}", asked.elapsed());
}
