//! Requests that can be read and make no sense: each is answered by name, and the session goes on.

use crate::{b, small_server};
use zyg_protocol::limits::{LABEL_BYTES_MAX, MOUNTS_MAX, PATH_BYTES_MAX, WAIT_MS_MAX};
use zyg_protocol::message::{Acquire, Bytes, Denial, LeaseId, Mount, Reply, Request};
use zyg_tests::{Baseline, Raw, Setup};

fn ask(client: &Raw, acquire: Acquire) -> Denial {
    let number = acquire.request;
    client.say(&Request::Acquire(acquire));
    match client.reply() {
        Some(Reply::Denied { request, denial }) if request == number => denial,
        other => panic!("not denied: {other:?}"),
    }
}

fn assert_session_good(client: &Raw) {
    client.say(&Request::Status { request: 99 });
    assert!(matches!(client.reply(), Some(Reply::Status { request: 99, .. })));
}

/// Everything that is asked for here is denied as a bad request, in one session.
fn bad(acquires: impl IntoIterator<Item = Acquire>) {
    let server = small_server();
    let baseline = Baseline::of(&server);
    let client = Raw::connect(server.socket());
    for acquire in acquires {
        let denial = ask(&client, acquire.clone());
        assert!(matches!(denial, Denial::BadRequest { .. }), "{denial} for {acquire:?}");
    }
    assert_session_good(&client);
    drop(client.lease());
    drop(client);
    baseline.assert_restored();
}

#[test]
fn an_unknown_profile_is_denied_with_those_that_there_are() {
    let server = small_server();
    let client = Raw::connect(server.socket());
    for name in ["", "nonesuch", "default ", "../default", "\0"] {
        let denial = ask(&client, Acquire { profile: Some(name.to_owned()), ..Acquire::default() });
        let Denial::NoSuchProfile { asked, known } = denial else { panic!("{denial}") };
        assert_eq!(asked, name);
        assert!(known.contains(&"default".to_owned()), "{known:?}");
    }
    assert_session_good(&client);
}

#[test]
fn what_is_too_long_is_a_bad_request() {
    let label = "l".repeat(LABEL_BYTES_MAX + 1);
    let mounts = vec![Mount::Tmpfs { target: b("/x") }; MOUNTS_MAX + 1];
    bad([
        Acquire { label, ..Acquire::default() },
        Acquire { label: "l".repeat(60_000), ..Acquire::default() },
        Acquire { profile: Some("p".repeat(65)), ..Acquire::default() },
        // Repeated in an answer, it would not fit into a message.
        Acquire { profile: Some("p".repeat(65_000)), ..Acquire::default() },
        Acquire { mounts, ..Acquire::default() },
        Acquire { wait_ms: Some(WAIT_MS_MAX + 1), ..Acquire::default() },
        Acquire { wait_ms: Some(u64::MAX), ..Acquire::default() },
    ]);
}

#[test]
fn a_label_of_the_longest_kind_is_granted() {
    let server = small_server();
    let client = Raw::connect(server.socket());
    let label = "l".repeat(LABEL_BYTES_MAX);
    client.say(&Request::Acquire(Acquire { label, ..Acquire::default() }));
    drop(client.take_lease());
}

#[test]
fn a_path_that_breaks_a_rule_is_a_bad_request() {
    let mut not_text = vec![0xff; PATH_BYTES_MAX - 1];
    not_text.push(0);
    let paths = [
        b(""),
        b("relative"),
        b("/a/../b"),
        b("/.."),
        b("/a\0b"),
        Bytes::from(vec![b'/'; PATH_BYTES_MAX + 1]),
        Bytes::from(vec![0xff; 60_000]),
        Bytes::from(not_text),
    ];
    bad(paths.into_iter().flat_map(|path| {
        let target = path.clone();
        let source = path.clone();
        [
            Acquire { cwd: Some(path.clone()), ..Acquire::default() },
            Acquire { program: Some(path.clone()), ..Acquire::default() },
            Acquire { mounts: vec![Mount::Tmpfs { target: path }], ..Acquire::default() },
            Acquire {
                mounts: vec![Mount::Bind { source: b("/"), target, read_only: false }],
                ..Acquire::default()
            },
            Acquire {
                mounts: vec![Mount::Bind { source, target: b("/x"), read_only: false }],
                ..Acquire::default()
            },
        ]
    }));
}

#[test]
fn a_mount_source_that_is_not_there_is_refused_by_name() {
    let server = small_server();
    let baseline = Baseline::of(&server);
    let client = Raw::connect(server.socket());
    let mount = Mount::Bind { source: b("/nonesuch"), target: b("/tmp/x"), read_only: true };
    let denial = ask(&client, Acquire { mounts: vec![mount], ..Acquire::default() });
    let Denial::MountRefused { path, .. } = denial else { panic!("{denial}") };
    assert_eq!(path, "/nonesuch");
    assert_session_good(&client);
    drop(client);
    baseline.assert_restored();
}

#[test]
fn one_session_may_have_4096_acquires_pending() {
    let setup = Setup::default();
    let setup = setup.config("[profile.default.pool]\nmin = 1\nmax = 1\nwaiters_max = 100000\n");
    let server = setup.start_warm();
    let baseline = Baseline::of(&server);
    let holder = baseline.observer().lease().unwrap();
    let client = Raw::connect(server.socket());
    for request in 0..4096 {
        client.say(&Request::Acquire(Acquire { request, ..Acquire::default() }));
    }
    let denial = ask(&client, Acquire { request: 4096, ..Acquire::default() });
    assert!(matches!(denial, Denial::BadRequest { .. }), "{denial}");
    assert_eq!(server.pool().waiters, 4096);
    // One fewer, and there is room for one more.
    client.say(&Request::Cancel { request: 7 });
    let cancelled = Reply::Denied { request: 7, denial: Denial::Cancelled };
    assert_eq!(client.reply(), Some(cancelled));
    client.say(&Request::Acquire(Acquire { request: 4096, ..Acquire::default() }));
    assert_session_good(&client);
    drop((holder, client));
    baseline.assert_restored();
}

#[test]
fn a_number_that_is_pending_cannot_be_used_again() {
    let setup = Setup::default().config("[profile.default.pool]\nmin = 1\nmax = 1\n");
    let server = setup.start_warm();
    let baseline = Baseline::of(&server);
    let holder = baseline.observer().lease().unwrap();
    let client = Raw::connect(server.socket());
    client.say(&Request::Acquire(Acquire { request: 5, ..Acquire::default() }));
    for _ in 0..3 {
        let denial = ask(&client, Acquire { request: 5, ..Acquire::default() });
        assert!(matches!(denial, Denial::BadRequest { .. }), "{denial}");
    }
    drop(holder);
    // The first one is granted, once.
    let lease = client.take_lease();
    assert_eq!(lease.granted.request, 5);
    assert_session_good(&client);
    assert_eq!(server.pool().waiters, 0);
    drop((lease, client));
    baseline.assert_restored();
}

#[test]
fn nobody_releases_a_lease_of_somebody_else() {
    let server = small_server();
    let baseline = Baseline::of(&server);
    let lease = baseline.observer().lease().unwrap();
    let mut bystander = crate::Bystander::start(&lease);
    let client = Raw::connect(server.socket());
    let own = client.lease();
    for id in (0..=own.granted.lease.0 + 10).chain([u64::MAX]) {
        if id != own.granted.lease.0 {
            client.say(&Request::Release { lease: LeaseId(id) });
        }
    }
    assert_session_good(&client);
    bystander.assert_unharmed();
    crate::assert_still_good(&own);
    assert_eq!(server.pool().leased, 2);
    // The control: one's own can be released, and twice is once.
    client.say(&Request::Release { lease: own.granted.lease });
    client.say(&Request::Release { lease: own.granted.lease });
    zyg_tests::wait_readable(&own.pidfd, "the end of the lease");
    bystander.assert_unharmed();
    drop((bystander, lease, client));
    baseline.assert_restored();
}

#[test]
fn nobody_cancels_an_acquire_of_somebody_else() {
    let setup = Setup::default().config("[profile.default.pool]\nmin = 1\nmax = 1\n");
    let server = setup.start_warm();
    let baseline = Baseline::of(&server);
    let holder = baseline.observer().lease().unwrap();
    let waiter = Raw::connect(server.socket());
    waiter.say(&Request::Acquire(Acquire { request: 5, ..Acquire::default() }));
    assert_session_good(&waiter);
    let client = Raw::connect(server.socket());
    for request in [0, 1, 5, u64::MAX] {
        client.say(&Request::Cancel { request });
    }
    assert_session_good(&client);
    assert_eq!(server.pool().waiters, 1);
    drop(holder);
    drop(waiter.take_lease());
    drop((waiter, client));
    baseline.assert_restored();
}
