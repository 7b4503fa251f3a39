//! One budget over all pools: never exceeded, and never a reason to leave a waiter unserved.

use crate::shared::{paid_for, pool, sum};
use nix::sched::{CpuSet, sched_getaffinity};
use nix::unistd::Pid;
use std::os::unix::net::UnixDatagram;
use std::sync::atomic::{AtomicUsize, Ordering};
use zyg_protocol::message::{Acquire, Reply, Request};
use zyg_tests::{Raw, Server, Setup, eventually};
use zygote_client::{AcquireError, Client, Denial, Lease, LeaseOptions};

fn ask(client: &Client, profile: &str) -> Result<Lease, AcquireError> {
    client.acquire(LeaseOptions::new().profile(profile))
}

fn cpus() -> u32 {
    let allowed = sched_getaffinity(Pid::from_raw(0)).unwrap();
    (0..CpuSet::count()).filter(|cpu| allowed.is_set(*cpu) == Ok(true)).count() as u32
}

/// A server with room for so many, and a second profile, `other`.
fn within(zygotes_max: u32, default: &str, other: &str) -> Server {
    let config = format!(
        "[server]\nzygotes_max = {zygotes_max}\n{default}\
         [profile.other.pool]\nlearn = false\n{other}\n"
    );
    Setup::default().config(&config).start()
}

/// A unit that waits for more than there may be would never have started (systemd.service(5), `Type=notify`).
#[test]
fn a_server_is_ready_when_all_is_warm_that_there_may_be() {
    let place = tempfile::tempdir().unwrap();
    let path = place.path().join("notify");
    let notified = UnixDatagram::bind(&path).unwrap();
    notified.set_read_timeout(Some(zyg_tests::PATIENCE)).unwrap();
    let user = zygote::users::with_uid(nix::unistd::getuid().as_raw()).unwrap().name;
    let config = format!("[server]\nprefork_for = [{user:?}]\n{}", pool(100, 100));
    let notify = format!("export NOTIFY_SOCKET={}", path.display());
    // Too few descriptors for so many.
    let server = Setup::default().config(&config).descriptors(128).shell(&notify).start();
    let mut message = [0; 64];
    let bytes = notified.recv(&mut message).unwrap();
    assert_eq!(String::from_utf8_lossy(&message[..bytes]), "READY=1\n");
    let pool = server.pool();
    assert!(pool.warm > 0 && pool.warm < pool.target, "{pool:?}");
}

#[test]
fn the_budget_holds_while_clients_flood_two_profiles() {
    const BUDGET: u32 = 6;
    const THREADS: usize = 8;
    const LEASES: usize = 60;
    let server = within(BUDGET, &pool(2, 8), "min = 2\nmax = 8");
    let client = server.client();
    let running = AtomicUsize::new(THREADS);
    let (mut paid_max, mut spawning_max, mut samples) = (0, 0, 0);
    std::thread::scope(|threads| {
        for thread in 0..THREADS {
            let (client, running) = (&client, &running);
            threads.spawn(move || {
                for round in 0..LEASES {
                    let profile = if (thread + round) % 2 == 0 { "default" } else { "other" };
                    drop(ask(client, profile).unwrap());
                }
                running.fetch_sub(1, Ordering::Relaxed);
            });
        }
        let observer = server.client();
        while running.load(Ordering::Relaxed) > 0 {
            let status = observer.status().unwrap();
            let paid = sum(&status, paid_for);
            paid_max = paid_max.max(paid);
            spawning_max = spawning_max.max(sum(&status, |pool| pool.spawning));
            samples += 1;
            assert!(paid <= BUDGET, "{status:?}");
        }
    });
    println!("{samples} samples: at most {paid_max} at once, {spawning_max} spawning");
    // The controls: it was used up, and builds were seen.
    assert_eq!(paid_max, BUDGET);
    assert!((1..=cpus()).contains(&spawning_max), "{spawning_max} builds on {} CPUs", cpus());
}

#[test]
fn no_more_are_built_at_once_than_there_are_cpus() {
    let server = Setup::default().config(&pool(0, 100)).start();
    // Its template included: nothing of this is built yet.
    let client = Raw::connect(server.socket());
    client.say(&Request::AcquireMany { acquire: Acquire::default(), count: 100 });
    client.say(&Request::Status { request: 1_000 });
    let spawning = loop {
        match client.reply() {
            Some(Reply::Status { status, .. }) => break sum(&status, |pool| pool.spawning),
            Some(Reply::Granted(_)) => {}
            other => panic!("{other:?}"),
        }
    };
    assert!((1..=cpus()).contains(&spawning), "{spawning} builds on {} CPUs", cpus());
}

#[test]
fn a_waiter_is_served_though_what_another_pool_keeps_warm_is_all_there_may_be() {
    let server = within(4, &pool(4, 8), "min = 0\nmax = 8");
    let client = server.client();
    drop(client.lease().unwrap());
    eventually("all that there may be", || {
        (sum(&client.status().unwrap(), |pool| pool.warm) == 4).then_some(())
    });
    let mut leases: Vec<_> = (0..3).map(|_| ask(&client, "other").unwrap()).collect();
    // What is left goes the other way as well, and a lease is never taken from anybody.
    leases.push(client.lease().unwrap());
    assert_eq!(sum(&client.status().unwrap(), |pool| pool.leased), 4);
    for lease in &leases {
        assert!(lease.command("true").status().unwrap().success());
    }
    // Full of leases: now one has to wait for the end of another.
    let mut options = LeaseOptions::new();
    options.profile("other").wait(std::time::Duration::from_millis(50));
    match client.acquire(&options) {
        Err(AcquireError::Denied(Denial::DeadlineExpired { wait_ms: 50 })) => {}
        other => panic!("{other:?}"),
    }
    leases.pop().unwrap().release().unwrap();
    ask(&client, "other").unwrap();
}

#[test]
fn a_budget_that_is_lowered_ends_no_lease_and_then_holds() {
    let server = within(8, &pool(4, 8), "min = 0\nmax = 8");
    let client = server.client();
    let leases: Vec<_> = (0..6).map(|_| client.lease().unwrap()).collect();
    let toml = std::fs::read_to_string(server.directory().join("zyg.toml")).unwrap();
    let lowered = toml.replace("zygotes_max = 8", "zygotes_max = 3").replace("min = 4", "min = 3");
    crate::shared::reload(&server, &lowered);
    for lease in &leases {
        assert!(lease.command("true").status().unwrap().success());
    }
    drop(leases);
    eventually("the lower budget", || {
        let status = client.status().unwrap();
        let (paid, warm) = (sum(&status, paid_for), sum(&status, |pool| pool.warm));
        (paid == 3 && warm == 3).then_some(())
    });
}

#[test]
fn a_users_quota_is_for_all_profiles_together() {
    let server = within(20, "[server.quota]\nleases = 2\n", "min = 0");
    let client = server.client();
    let (first, _second) = (client.lease().unwrap(), ask(&client, "other").unwrap());
    for profile in ["default", "other"] {
        match ask(&client, profile) {
            Err(AcquireError::Denied(Denial::QuotaExceeded { what, limit })) => {
                assert_eq!((what.as_str(), limit), ("leases", 2));
            }
            other => panic!("{other:?}"),
        }
    }
    // The control: whoever gives one back may have another, of whichever profile.
    first.release().unwrap();
    ask(&client, "other").unwrap();
}

#[test]
fn a_profiles_quota_is_for_that_profile_alone() {
    let server = Setup::default()
        .config("[profile.few]\nquota = { leases = 1 }\n[profile.many]\nquota = { leases = 3 }\n")
        .start();
    let client = server.client();
    let few = ask(&client, "few").unwrap();
    match ask(&client, "few") {
        Err(AcquireError::Denied(Denial::QuotaExceeded { what, limit })) => {
            assert_eq!((what.as_str(), limit), ("leases", 1));
        }
        other => panic!("{other:?}"),
    }
    let _many: Vec<_> = (0..3).map(|_| ask(&client, "many").unwrap()).collect();
    assert!(ask(&client, "many").is_err());
    few.release().unwrap();
    ask(&client, "few").unwrap();
}

#[test]
fn what_a_client_had_who_has_hung_up_counts_against_nobody() {
    let config = "[profile.default]\nquota = { leases = 1 }\npool = { min = 4, max = 8 }\n";
    let server = Setup::default().config(config).start_warm();
    for _ in 0..50 {
        let holder = Raw::connect(server.socket());
        let lease = holder.lease();
        assert!(server.client().lease().is_err(), "the control: it counts while he is there");
        drop(holder);
        // By a session that comes after that: its turn is later.
        server.client().lease().unwrap().release().unwrap();
        drop(lease);
    }
}

#[test]
fn a_users_quota_of_waiters_is_for_all_profiles_together() {
    let server = within(1, "[server.quota]\nwaiters = 2\n", "min = 0");
    let holder = Raw::connect(server.socket());
    let lease = holder.lease();
    let waiting = Raw::connect(server.socket());
    for (request, profile) in [(1, "default"), (2, "other"), (3, "other"), (4, "default")] {
        let profile = Some(profile.to_owned());
        waiting.say(&Request::Acquire(Acquire { request, profile, ..Acquire::default() }));
    }
    for request in [3, 4] {
        let limit = Denial::QuotaExceeded { what: "waiters".to_owned(), limit: 2 };
        assert_eq!(waiting.reply(), Some(Reply::Denied { request, denial: limit }));
    }
    holder.say(&Request::Release { lease: lease.granted.lease });
    let first = waiting.take_lease();
    waiting.say(&Request::Release { lease: first.granted.lease });
    drop(waiting.take_lease());
}
