//! Beside each flood somebody honest works, and after it all is as it was before.

use crate::random::Random;
use crate::tally::Tally;
use nix::unistd::Pid;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use zyg_tests::{Baseline, PATIENCE, Server, Setup, eventually};
use zygote_client::{Client, Lease, LeaseOptions};

/// How often the neighbour works during a flood.
const ROUNDS: u64 = 24;

/// KiB by which a process may grow in a flood of any length: what its allocator keeps, its tables at
/// their fullest, and code that was not paged in before.
const GROWTH_KIB_MAX: u64 = 16 * 1024;

/// The neighbour has a pool of its own, since whoever asks as the same user for the same profile
/// waits its turn behind the flood.
const CONFIG: &str = "
[profile.default.pool]
min = 4
max = 16
waiters_max = 24
[profile.quota]
extends = 'default'
quota = { leases = 2, waiters = 1 }
[profile.quota.pool]
min = 1
max = 3
[profile.closed]
extends = 'default'
allow_uids = [4294967294]
[profile.calm]
extends = 'default'
[profile.calm.pool]
min = 2
max = 8
";

const PROFILES: [&str; 3] = ["default", "quota", "calm"];

/// Tells the neighbour when to work: evenly over a flood.
pub struct Pace {
    every: u64,
    next: u64,
    told: u64,
    go: Sender<()>,
}

impl Pace {
    /// So many messages are judged.
    pub fn reached(&mut self, judged: u64) {
        while judged >= self.next && self.told < ROUNDS {
            self.next += self.every;
            self.told += 1;
            self.go.send(()).expect("the neighbour works until the end");
        }
    }
}

/// Somebody honest.
struct Neighbour {
    done: Receiver<Duration>,
    thread: JoinHandle<()>,
}

impl Neighbour {
    fn start(server: &Server, messages: u64) -> (Self, Pace) {
        let (go, told) = channel();
        let (finished, done) = channel();
        let client = server.client();
        let thread = std::thread::spawn(move || {
            // This one lives as long as the flood.
            let kept = calm(&client);
            for () in told {
                let start = Instant::now();
                round(&client, &kept);
                finished.send(start.elapsed()).expect("somebody waits for it");
            }
            kept.release().unwrap();
        });
        let every = (messages / ROUNDS).max(1);
        (Self { done, thread }, Pace { every, next: 0, told: 0, go })
    }

    /// Waits for every round that it was told to make; returns the longest.
    fn finish(self, pace: Pace) -> Duration {
        let Pace { told, go, .. } = pace;
        drop(go);
        let round = |_| self.done.recv_timeout(PATIENCE).expect("the neighbour is served");
        let longest = (0..told).map(round).max();
        self.thread.join().unwrap();
        longest.expect("a flood has a beginning")
    }
}

fn calm(client: &Client) -> Lease {
    client.acquire(LeaseOptions::new().profile("calm")).unwrap()
}

fn round(client: &Client, kept: &Lease) {
    assert!(kept.command("true").status().unwrap().success());
    let lease = calm(client);
    assert!(lease.command("true").status().unwrap().success());
    lease.release().unwrap();
}

/// A number of /proc/PID/status.
fn status(pid: Pid, key: &str) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix(key)).unwrap();
    line.trim_matches([':', '\t', ' ']).trim_end_matches(" kB").parse().unwrap()
}

/// A process that must not grow.
struct Resident {
    pid: Pid,
    kib: u64,
}

impl Resident {
    fn of(pid: Pid) -> Self {
        Self { pid, kib: status(pid, "VmRSS") }
    }

    fn assert_bounded(&self) -> u64 {
        let (now, peak) = (status(self.pid, "VmRSS"), status(self.pid, "VmHWM"));
        assert_eq!(status(self.pid, "Threads"), 1);
        let was = self.kib;
        assert!(now <= was + GROWTH_KIB_MAX, "{} grew from {was} to {now} KiB", self.pid);
        assert!(peak <= was + 2 * GROWTH_KIB_MAX, "{} grew from {was} to {peak} KiB", self.pid);
        now.saturating_sub(was)
    }
}

/// The seed of this run: `ZYG_FUZZ_SEED` if set, else of the moment.
fn seed() -> u64 {
    match std::env::var("ZYG_FUZZ_SEED") {
        Ok(seed) => seed.parse().expect("ZYG_FUZZ_SEED is a number"),
        Err(_) => std::time::UNIX_EPOCH
            .elapsed()
            .map_or(1, |since| since.as_secs() << 20 ^ u64::from(since.subsec_nanos())),
    }
}

/// Floods a server of this test's own while somebody works beside it, and sees to it that nothing is
/// left of the flood.
pub fn beside_a_neighbour(
    area: &str,
    messages: u64,
    flood: impl FnOnce(&Server, &mut Pace, &mut Random) -> Tally,
) -> Tally {
    let seed = seed();
    println!("ZYG_FUZZ_SEED={seed} in {area}: {messages} messages");
    // What each of a million messages came to would fill the disk.
    let server = Setup::default().config(CONFIG).shell("export ZYG_LOG=warn").start();
    let client = server.client();
    for profile in PROFILES {
        client.acquire(LeaseOptions::new().profile(profile)).unwrap().release().unwrap();
    }
    drop(client);
    let baseline = Baseline::of(&server);
    let mut residents = vec![Resident::of(server.pid())];
    for name in ["zyg-template", "zyg-stock"] {
        residents.extend(server.processes_named(name).into_iter().map(Resident::of));
    }
    let (neighbour, mut pace) = Neighbour::start(&server, messages);
    let start = Instant::now();
    let tally = flood(&server, &mut pace, &mut Random::new(seed));
    let took = start.elapsed();
    let longest = neighbour.finish(pace);
    baseline.assert_restored();
    assert_nobody_is_left(&server, &baseline);
    let grown: Vec<_> = residents.iter().map(Resident::assert_bounded).collect();
    println!("{area}, {took:.1?}, longest round of the neighbour {longest:.1?}: {tally}");
    println!("server and templates grew by {grown:?} KiB");
    assert!(tally.judged >= messages, "{tally}");
    tally
}

/// The processes are the templates with what makes network namespaces for them and the zygotes that
/// wait, each with one thread, and nobody's lease or wait is left.
fn assert_nobody_is_left(server: &Server, baseline: &Baseline<'_>) {
    eventually("only templates and warm zygotes", || {
        let status = baseline.observer().status().unwrap();
        let busy = |pool: &zygote_client::PoolStatus| {
            pool.leased + pool.spawning + pool.dying + pool.waiters > 0 || pool.warm < pool.target
        };
        if status.sessions != 1 || status.profiles.iter().any(busy) {
            return None;
        }
        let warm: u32 = status.profiles.iter().map(|pool| pool.warm).sum();
        let census = server.census();
        assert_eq!(status.profiles.len(), PROFILES.len(), "{status:?}");
        let stocks = server.processes_named("zyg-stock").len();
        (census.len() == PROFILES.len() + stocks + warm as usize).then_some(())
    });
    for pid in server.census().pids() {
        assert_eq!(status(pid, "Threads"), 1, "of process {pid}");
    }
}
