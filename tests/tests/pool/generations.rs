//! The configuration changes while the server serves: nobody is denied or made to wait for it,
//! nobody's lease ends for it, and of the old generation nothing is left.

use crate::shared::{
    Stopped, acquire, held, hostname, pool, reload, template, wait_queued, with_pool,
};
use nix::sys::signal::Signal;
use std::os::unix::ffi::OsStrExt;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::Duration;
use zyg_protocol::message::{Acquire, Bytes, Reply, Request, Start};
use zyg_tests::{Baseline, Echo, Raw, Server, Setup, eventually, wait_readable};
use zygote_client::{AcquireError, Client, Denial, LeaseOptions, PoolStatus};

/// A generation that can be told by the name of its hosts.
fn generation(name: &str, min: u32, max: u32) -> String {
    format!("[profile.default]\nhostname = \"{name}\"\n{}", pool(min, max))
}

fn start(name: &str, min: u32, max: u32) -> Server {
    Setup::default().config(&generation(name, min, max)).start_warm()
}

/// The rows of a profile.
fn rows(client: &Client, profile: &str) -> Vec<PoolStatus> {
    let rows = client.status().unwrap().profiles.into_iter();
    rows.filter(|row| row.name == profile).collect()
}

/// Waits until a profile has one generation only, and that one is warm. Returns its number.
fn wait_one_generation(server: &Server, profile: &str) -> u32 {
    let client = server.client();
    eventually("one generation", || match &rows(&client, profile)[..] {
        [row] if !row.retired && row.warm >= row.target => Some(row.generation),
        _ => None,
    })
}

#[test]
fn acquires_are_warm_before_during_and_after_a_change() {
    const EACH: usize = 30;
    let server = start("old", 16, 64);
    let baseline = Baseline::of(&server);
    let client = server.client();
    let template = held(template(&server));
    let before = baseline.observer().lease().unwrap();
    let mut echo = Echo::start(&before);
    let (mut seen, mut reloaded, mut settled) = (Vec::new(), false, 0);
    while settled < EACH {
        // Not faster than they can be made beside all that goes on here.
        let warm = |row: &PoolStatus| row.warm > 0;
        eventually("a warm one", || rows(&client, "default").iter().any(warm).then_some(()));
        let lease = client.lease().expect("nobody is denied");
        seen.push((lease.start(), hostname(&lease)));
        drop(lease);
        if seen.len() == EACH {
            std::fs::write(server.directory().join("zyg.toml"), generation("new", 16, 64)).unwrap();
            server.signal(Signal::SIGHUP);
            reloaded = true;
        }
        let retired = |row: &PoolStatus| row.retired;
        settled += usize::from(reloaded && rows(&client, "default").iter().any(retired));
    }
    let cold = seen.iter().filter(|(start, _)| *start != Start::Warm).count();
    assert_eq!(cold, 0, "{seen:?}");
    let hosts: Vec<_> = seen.into_iter().map(|(_, host)| host).collect();
    let old = hosts.iter().take_while(|host| *host == "old").count();
    assert!(old >= EACH && hosts.len() > old, "{hosts:?}");
    assert!(hosts[old..].iter().all(|host| host == "new"), "{hosts:?}");
    // What was leased before goes on as it was.
    echo.assert_answers();
    assert_eq!(hostname(&before), "old");
    drop((echo, before, client));
    wait_readable(template, "the end of the old template");
    assert_eq!(wait_one_generation(&server, "default"), 1);
    baseline.assert_restored();
    assert_eq!(server.processes_named("zyg-template").len(), 1);
}

#[test]
fn a_bad_file_changes_nothing_and_is_named_with_its_line() {
    let server = start("old", 2, 8);
    let baseline = Baseline::of(&server);
    let template = template(&server);
    reload(&server, "[profile.default]\n\nhostnam = \"new\"\n");
    let log = server.log();
    let complaint = log.lines().find(|line| line.contains("not reloaded")).unwrap();
    assert!(complaint.contains("zyg.toml:3:1: "), "{complaint}");
    assert!(complaint.contains("the old one stays"), "{complaint}");
    assert_eq!(crate::shared::template(&server), template);
    assert_eq!(hostname(&baseline.observer().lease().unwrap()), "old");
    assert_eq!(wait_one_generation(&server, "default"), 0);
    // The next one that is right is taken.
    reload(&server, &generation("new", 2, 8));
    eventually("the new generation", || {
        (hostname(&baseline.observer().lease().unwrap()) == "new").then_some(())
    });
    assert_eq!(wait_one_generation(&server, "default"), 1);
    baseline.assert_restored();
}

#[test]
fn a_profile_that_is_no_more_is_denied_and_its_leases_go_on() {
    let with = format!("{}[profile.extra]\nhostname = \"extra\"\n", pool(1, 8));
    let server = Setup::default().config(&with).start_warm();
    let baseline = Baseline::of(&server);
    let default = template(&server);
    let extra = |client: &Client| client.acquire(LeaseOptions::new().profile("extra"));
    let client = server.client();
    let lease = extra(&client).unwrap();
    let mut echo = Echo::start(&lease);
    eventually("a warm one", || (rows(&client, "extra")[0].warm > 0).then_some(()));
    let census = server.census();
    reload(&server, &pool(1, 8));
    match extra(&client) {
        Err(AcquireError::Denied(Denial::NoSuchProfile { asked, known })) => {
            assert_eq!(asked, "extra");
            assert!(!known.contains(&asked), "{known:?}");
        }
        other => panic!("{other:?}"),
    }
    eventually("the end of what was warm", || (rows(&client, "extra")[0].warm == 0).then_some(()));
    echo.assert_answers();
    assert_eq!(hostname(&lease), "extra");
    drop((echo, lease));
    eventually("the end of the profile", || rows(&client, "extra").is_empty().then_some(()));
    assert!(census.pids().contains(&default));
    assert_eq!(template(&server), default, "another profile's goes on");
    drop(client);
    baseline.assert_restored();
    // The default pool's own, and nobody else.
    eventually("the end of its processes", || {
        let now = ["zyg-template", "zyg-init", "zyg-stock"];
        let now = now.map(|name| server.processes_named(name).len());
        (now == [1; 3] && server.census().len() == 3).then_some(())
    });
}

#[test]
fn a_profile_that_comes_back_is_served_again() {
    let with = format!("{}[profile.extra]\nhostname = \"extra\"\n", pool(1, 8));
    let server = Setup::default().config(&with).start_warm();
    let baseline = Baseline::of(&server);
    let client = server.client();
    let ask = || client.acquire(LeaseOptions::new().profile("extra"));
    let before = ask().unwrap();
    reload(&server, &pool(1, 8));
    assert!(ask().is_err());
    reload(&server, &with);
    let again = ask().unwrap();
    assert_eq!(hostname(&again), "extra");
    assert_eq!(hostname(&before), "extra");
    drop((before, again));
    reload(&server, &pool(1, 8));
    eventually("the end of the profile", || rows(&client, "extra").is_empty().then_some(()));
    drop(client);
    baseline.assert_restored();
}

/// Also where all zygotes that there may be are warm already.
#[test]
fn nobody_finds_a_gap_where_there_is_no_room_for_both_generations() {
    for (most, max) in [("zygotes_max = 6\n", 64), ("", 6)] {
        let config = |name: &str| format!("[server]\n{most}{}", generation(name, 6, max));
        let server = Setup::default().config(&config("old")).start_warm();
        let client = server.client();
        std::fs::write(server.directory().join("zyg.toml"), config("new")).unwrap();
        server.signal(Signal::SIGHUP);
        let mut least = u32::MAX;
        let last = eventually("the new generation alone", || {
            let rows = rows(&client, "default");
            least = least.min(rows.iter().map(|row| row.warm).sum());
            let [row] = &rows[..] else { return None };
            (row.generation == 1 && row.warm >= row.target).then_some(row.warm)
        });
        assert_eq!(last, 6);
        assert!(least >= 4, "{least} were warm in between ({most:?})");
        assert_eq!(hostname(&client.lease().unwrap()), "new");
    }
}

#[test]
fn a_profile_that_comes_back_shares_its_max_with_all_leases_that_are_left() {
    let extra = |host: &str| {
        format!(
            "{}[profile.extra]\nhostname = \"{host}\"\npool = {{ min = 0, max = 1 }}\n",
            pool(1, 8)
        )
    };
    let server = Setup::default().config(&extra("one")).start_warm();
    let client = server.client();
    let mut options = LeaseOptions::new();
    options.profile("extra").wait(Duration::from_millis(50));
    let before = client.acquire(&options).unwrap();
    // The second generation is gone before the first.
    reload(&server, &extra("two"));
    reload(&server, &pool(1, 8));
    eventually("the second one's end", || (rows(&client, "extra").len() == 1).then_some(()));
    reload(&server, &extra("three"));
    match client.acquire(&options) {
        Err(AcquireError::Denied(Denial::DeadlineExpired { .. })) => {}
        other => panic!("there may be one: {other:?}"),
    }
    before.release().unwrap();
    client.acquire(options.wait(Duration::from_secs(10))).unwrap();
}

#[test]
fn a_profile_that_comes_back_shares_its_max_with_the_leases_that_are_left() {
    let with = format!("{}[profile.extra]\npool = {{ min = 0, max = 1 }}\n", pool(1, 8));
    let server = Setup::default().config(&with).start_warm();
    let client = server.client();
    let mut options = LeaseOptions::new();
    options.profile("extra").wait(Duration::from_millis(50));
    let before = client.acquire(&options).unwrap();
    reload(&server, &pool(1, 8));
    reload(&server, &with);
    match client.acquire(&options) {
        Err(AcquireError::Denied(Denial::DeadlineExpired { .. })) => {}
        other => panic!("there may be one: {other:?}"),
    }
    let row = &rows(&client, "extra")[0];
    assert_eq!((row.generation, row.retired, row.served.cold), (1, false, 1), "{row:?}");
    before.release().unwrap();
    client.acquire(options.wait(Duration::from_secs(10))).unwrap();
}

#[test]
fn a_file_that_says_the_same_changes_nothing() {
    let server = start("same", 4, 8);
    let baseline = Baseline::of(&server);
    let mut before = server.census().pids();
    let comment = format!("# The same in other words.\n{}", generation("same", 4, 8));
    reload(&server, &comment);
    assert_eq!(wait_one_generation(&server, "default"), 0);
    let mut after = server.census().pids();
    before.sort_unstable();
    after.sort_unstable();
    assert_eq!(before, after);
    assert!(server.log().contains("reloaded: 0 pools change"));
    baseline.assert_restored();
}

#[test]
fn where_only_the_size_changes_the_pool_follows() {
    let server = with_pool(2, 16).start_warm();
    let client = server.client();
    let lease = client.lease().unwrap();
    let mut echo = Echo::start(&lease);
    for min in [7, 1, 3] {
        reload(&server, &pool(min, 16));
        eventually("another size", || {
            let rows = rows(&client, "default");
            let (new, old) = rows.split_first().unwrap();
            let empty = old.iter().all(|row| row.retired && row.warm + row.dying == 0);
            (new.warm == min && !new.retired && empty).then_some(())
        });
        echo.assert_answers();
    }
    drop((echo, lease));
    wait_one_generation(&server, "default");
}

#[test]
fn under_load_twenty_changes_deny_nobody_and_leave_nothing() {
    const CHANGES: usize = 20;
    const THREADS: usize = 4;
    let server = start("even", 4, 32);
    let baseline = Baseline::of(&server);
    let stop = AtomicBool::new(false);
    let served = AtomicU32::new(0);
    let client = server.client();
    std::thread::scope(|threads| {
        for thread in 0..THREADS {
            let (server, client, stop, served) = (&server, &client, &stop, &served);
            threads.spawn(move || {
                let mut options = LeaseOptions::new();
                if thread % 2 == 0 {
                    options.cwd(server.directory());
                }
                while !stop.load(Ordering::Relaxed) {
                    let lease = client.acquire(&options).unwrap_or_else(|error| {
                        stop.store(true, Ordering::Relaxed);
                        panic!("denied: {error}")
                    });
                    if served.fetch_add(1, Ordering::Relaxed) % 4 == 0 {
                        let host = hostname(&lease);
                        assert!(host == "even" || host == "odd", "{host}");
                    }
                }
            });
        }
        for change in 0..CHANGES {
            let name = if change % 2 == 0 { "odd" } else { "even" };
            reload(&server, &generation(name, 4, 32));
            // Some while the change goes on, and all the same if it is over.
            let seen = served.load(Ordering::Relaxed);
            eventually("leases meanwhile", || {
                let more = served.load(Ordering::Relaxed) > seen + change as u32;
                (more || stop.load(Ordering::Relaxed)).then_some(())
            });
        }
        stop.store(true, Ordering::Relaxed);
    });
    drop(client);
    assert_eq!(wait_one_generation(&server, "default"), CHANGES as u32);
    baseline.assert_restored();
    eventually("one template", || {
        (server.processes_named("zyg-template").len() == 1).then_some(())
    });
}

#[test]
fn who_waits_when_the_configuration_changes_is_served() {
    let server = start("old", 1, 1);
    let baseline = Baseline::of(&server);
    let holder = Raw::connect(server.socket());
    let mut lease = holder.lease();
    let waiters: Vec<_> = (0..3).map(|_| Raw::connect(server.socket())).collect();
    for waiter in &waiters {
        waiter.say(&acquire(1));
    }
    wait_queued(&server, 3);
    reload(&server, &generation("new", 1, 1));
    let last = Raw::connect(server.socket());
    last.say(&acquire(1));
    wait_queued(&server, 4);
    let mut holder = &holder;
    for waiter in waiters.iter().chain([&last]) {
        holder.say(&Request::Release { lease: lease.granted.lease });
        lease = waiter.take_lease();
        holder = waiter;
    }
    drop((lease, waiters, last));
    eventually("the new generation", || {
        (hostname(&baseline.observer().lease().unwrap()) == "new").then_some(())
    });
    wait_one_generation(&server, "default");
}

#[test]
fn an_acquire_whose_mounts_are_being_opened_is_served_whatever_changes() {
    let extra = "[profile.extra]\nhostname = \"extra\"\npool = { min = 1 }\n";
    for (changed, remaining) in [("hostname = \"other\"\n", 1), ("", 0)] {
        let server = Setup::default().config(&format!("{}{extra}", pool(0, 8))).start();
        let client = server.client();
        drop(client.acquire(LeaseOptions::new().profile("extra")).unwrap());
        assert_eq!(wait_one_generation(&server, "extra"), 0);
        let template = template(&server);
        let stopped = Stopped::stop(template);
        let template = held(template);
        let opening = Raw::connect(server.socket());
        let cwd = Some(Bytes::from(server.directory().as_os_str().as_bytes()));
        let profile = Some("extra".to_owned());
        opening.say(&Request::Acquire(Acquire { request: 1, profile, cwd, ..Acquire::default() }));
        opening.say(&Request::Status { request: 2 });
        assert!(matches!(opening.reply(), Some(Reply::Status { .. })));
        let after = if remaining == 1 { format!("{extra}{changed}") } else { String::new() };
        let after = after.replace("hostname = \"extra\"\n", "");
        reload(&server, &format!("{}{after}", pool(0, 8)));
        drop(stopped);
        let lease = opening.take_lease();
        assert_eq!(lease.trees.len(), 1, "what it had opened rides along");
        drop((opening, lease));
        wait_readable(template, "the end of the old template");
        eventually("the end of the old generation", || {
            (rows(&client, "extra").len() == remaining).then_some(())
        });
    }
}
