//! A long and busy life of a server, with everything in it that clients do and that befalls them;
//! afterwards the server holds what it held before.
//!
//! ```text
//! cargo build --release
//! ZYG_TEST_BIN=target/release/zyg ZYG_SOAK_LEASES=200000 \
//!     cargo test --release -p zyg-tests --test pool soak -- --nocapture
//! ```
//!
//! Without `ZYG_SOAK_LEASES` there are a few thousand. The seed is printed, and `ZYG_SOAK_SEED` sets
//! it: the same clients then do the same things, though not at the same moments.

use crate::shared::pool;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};
use zyg_protocol::message::{Acquire, Request};
use zyg_tests::{Census, Echo, Raw, Server, Setup, eventually};
use zygote_client::{AcquireError, Client, Denial, LeaseOptions};

/// Leases where nothing else is said: a few seconds.
const LEASES: u64 = 3_000;

/// Leases after which a crowd becomes a single client, and the other way round: in a crowd nearly all
/// have to wait, and one alone finds the pool warm.
const SPELL: u64 = 100;

/// Clients at once.
const CLIENTS: u64 = 6;

/// What happens to the server and its processes comes once in so many leases.
const CALAMITY_EVERY: u64 = 60;

/// What its anonymous memory may differ by.
const MEMORY_KIB: u64 = 1024;

/// One part in so many acquires may be denied because what would have served it was killed.
const DENIED_SHARE: u64 = 10;

/// Numbers that are the same each time (splitmix64, Steele, Lea and Flood 2014).
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }

    fn below(&mut self, end: u64) -> u64 {
        self.next() % end
    }

    /// Once in so many times.
    fn once_in(&mut self, times: u64) -> bool {
        self.below(times) == 0
    }
}

fn setting(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|text| text.parse().expect("it is a number"))
}

fn seed() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    setting("ZYG_SOAK_SEED").unwrap_or(now.as_nanos() as u64 & 0xFFFF_FFFF)
}

/// The configuration with this number. The even ones are the same; both profiles shrink to their
/// `min` at once when nobody asks. In one of the profiles zygotes are used again.
fn config(number: u64) -> String {
    let (name, min, max) = if number.is_multiple_of(2) { ("even", 4, 48) } else { ("odd", 6, 32) };
    format!(
        "[server]\nzygotes_max = 64\n[profile.default]\nhostname = \"{name}\"\n{}idle = \"20ms\"\n\
         [profile.other]\nhostname = \"other\"\nrecycle = \"whole\"\n\
         pool = {{ min = 2, max = 16, idle = \"20ms\" }}\n",
        pool(min, max)
    )
}

/// What a server holds at a quiet moment.
#[derive(Debug, PartialEq, Eq)]
struct Holdings {
    /// Those below it, by name and state: a zombie is one as well.
    processes: BTreeMap<String, usize>,
    /// By kind (proc_pid_fd(5)); sockets are one.
    descriptors: BTreeMap<String, usize>,
    /// Of the host, as this process sees it, and as the server does.
    mounts: [String; 2],
}

/// The kinds of a process's descriptors.
fn descriptors(pid: Pid) -> impl Iterator<Item = String> {
    let entries = fs::read_dir(format!("/proc/{pid}/fd")).into_iter().flatten();
    entries.filter_map(|entry| {
        let link = fs::read_link(entry.ok()?.path()).ok()?;
        Some(link.to_string_lossy().into_owned())
    })
}

fn counted(kinds: impl Iterator<Item = String>) -> BTreeMap<String, usize> {
    let mut counts = BTreeMap::new();
    for kind in kinds {
        *counts.entry(kind).or_default() += 1;
    }
    counts
}

/// Name and state (proc_pid_stat(5)).
fn named(pid: &Pid) -> Option<String> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let (name, rest) = stat.split_once('(')?.1.rsplit_once(") ")?;
    let state = if rest.starts_with('Z') { " (zombie)" } else { "" };
    Some(format!("{name}{state}"))
}

impl Holdings {
    fn of(server: &Server) -> Self {
        let below = Census::numbers_below(server.pid());
        let kind = |link: String| link.split([':', '[']).next().unwrap().to_owned();
        let mountinfo = |pid: &str| fs::read_to_string(format!("/proc/{pid}/mountinfo")).unwrap();
        Self {
            processes: counted(below.iter().filter_map(named)),
            descriptors: counted(descriptors(server.pid()).map(kind)),
            mounts: [mountinfo("self"), mountinfo(&server.pid().to_string())],
        }
    }
}

/// Network namespaces in stock of one template at most (`STOCK_MAX` of the crate `zygote`).
const STOCK_MAX: usize = 32;

/// Waits until there are no more network namespaces than there may be while nothing goes on, and says how
/// many: one for each process at most, and those that are made ahead.
fn wait_few_networks(server: &Server) -> usize {
    eventually("an end of the networks that nobody uses", || {
        let mut all = Census::numbers_below(server.pid());
        all.push(server.pid());
        let network = |pid: &Pid| fs::read_link(format!("/proc/{pid}/ns/net")).ok();
        let are_in = all.iter().filter_map(network).map(|link| link.to_string_lossy().into_owned());
        let held =
            all.iter().flat_map(|pid| descriptors(*pid)).filter(|link| link.starts_with("net:"));
        let networks = are_in.chain(held).collect::<BTreeSet<_>>().len();
        let stocks = server.processes_named("zyg-stock").len();
        (networks <= all.len() + stocks * STOCK_MAX).then_some(networks)
    })
}

/// The server's anonymous memory (proc_pid_status(5)).
fn memory_kib(server: &Server) -> u64 {
    let status = fs::read_to_string(format!("/proc/{}/status", server.pid())).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:")).unwrap();
    line.trim().trim_end_matches(" kB").parse().unwrap()
}

/// Has a server read a configuration; never half of one.
fn configure(server: &Server, number: u64) {
    let (file, new) = (server.directory().join("zyg.toml"), server.directory().join("new.toml"));
    fs::write(&new, config(number)).unwrap();
    fs::rename(new, file).unwrap();
    server.signal(Signal::SIGHUP);
}

/// Waits until nothing goes on: one session, one generation of each profile, as many warm as are
/// wanted and no more.
fn wait_quiet(server: &Server, observer: &Client) -> Holdings {
    let rows = eventually("a quiet server", || {
        let status = observer.status().unwrap();
        let quiet = status.profiles.iter().all(|row| {
            let moving = row.leased + row.spawning + row.dying + row.quarantined + row.waiters;
            !row.retired && moving == 0 && row.warm == row.target && row.reserved == 0
        });
        (quiet && status.sessions == 1 && status.profiles.len() == 2).then_some(status.profiles)
    });
    // A template is left behind for a moment when its generation is over.
    let templates = || server.processes_named("zyg-template").len();
    eventually("one template for each", || (templates() == rows.len()).then_some(()));
    Holdings::of(server)
}

/// What the clients and calamities of one soak share.
struct Soak<'a> {
    server: &'a Server,
    bound: PathBuf,
    leases: AtomicU64,
    until: u64,
    denied: Mutex<BTreeMap<String, u64>>,
    cgroups: Mutex<BTreeSet<String>>,
}

impl Soak<'_> {
    fn goes_on(&self) -> bool {
        self.leases.load(Ordering::Relaxed) < self.until
    }

    fn granted(&self, count: u64) {
        self.leases.fetch_add(count, Ordering::Relaxed);
    }

    /// What may be denied: that what would have served it was killed.
    fn note(&self, error: &AcquireError) {
        let reason = match error {
            // Without the numbers of processes.
            AcquireError::Denied(Denial::BuildFailing { reason }) => {
                reason.replace(|letter: char| letter.is_ascii_digit(), "")
            }
            AcquireError::Lease(_) => "the lease has ended".to_owned(),
            other => panic!("{other}"),
        };
        *self.denied.lock().unwrap().entry(reason).or_default() += 1;
    }

    fn options(&self, random: &mut Random) -> LeaseOptions {
        let mut options = LeaseOptions::new();
        if random.once_in(3) {
            options.profile("other");
        }
        if random.once_in(6) {
            options.bind(&self.bound, "/tmp/bound");
        }
        if random.once_in(6) {
            options.cwd(self.server.directory());
        }
        if random.once_in(12) {
            options.time_limit(Duration::from_millis(random.below(20)));
        }
        options
    }

    /// Whether one client alone is to be busy now.
    fn is_lull(&self) -> bool {
        self.leases.load(Ordering::Relaxed) / SPELL % 2 == 1
    }

    fn client(&self, number: u64, mut random: Random) {
        let mut client = self.server.client();
        while self.goes_on() {
            if number > 1 {
                eventually("a crowd", || (!self.is_lull() || !self.goes_on()).then_some(()));
            }
            match random.below(32) {
                0..20 => self.one(&client, &mut random),
                20..26 => self.many(&client, &mut random),
                26..28 => self.hang_up(&mut random),
                28 => client = self.server.client(),
                29 => self.run_and_kill(&mut random),
                30 => self.reserve(&client, &mut random),
                _ => self.look(&client),
            }
        }
    }

    fn one(&self, client: &Client, random: &mut Random) {
        let lease = match client.acquire(&self.options(random)) {
            Ok(lease) => lease,
            Err(error) => return self.note(&error),
        };
        self.granted(1);
        if random.once_in(8) {
            // It may be killed, or over, before or after.
            let _ = lease.command("true").status();
        }
        if random.once_in(16) {
            let mut cat = lease.command("cat");
            cat.stdin(zygote_client::Stdio::piped()).stdout(zygote_client::Stdio::piped());
            let _left_running = cat.spawn();
        }
        if random.once_in(2) {
            lease.release().unwrap();
        }
    }

    fn many(&self, client: &Client, random: &mut Random) {
        let count = 1 + random.below(6) as u32;
        match client.acquire_many(&self.options(random), count) {
            Ok(leases) => {
                assert_eq!(leases.len(), count as usize);
                self.granted(count.into());
                if random.once_in(4) {
                    let _ = leases[0].command("true").status();
                }
            }
            Err(error) => self.note(&error),
        }
    }

    /// Goes before, in the middle of, or after the answers.
    fn hang_up(&self, random: &mut Random) {
        let client = Raw::connect(self.server.socket());
        let count = 1 + random.below(6) as u32;
        let acquire = Acquire { request: 1, ..Acquire::default() };
        client.say(&Request::AcquireMany { acquire, count });
        for _ in 0..random.below(u64::from(count) + 1) {
            drop(client.reply());
            self.granted(1);
        }
    }

    fn run_and_kill(&self, random: &mut Random) {
        let mut run = self.server.zyg("run");
        run.args(["--", "sh", "-c", "setsid sleep infinity & echo up; sleep infinity"]);
        run.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut run = run.spawn().unwrap();
        if random.once_in(2) {
            // None where it has ended instead.
            let _ = run.stdout.as_mut().unwrap().read(&mut [0; 3]);
            self.granted(1);
        }
        run.kill().unwrap();
        run.wait().unwrap();
    }

    fn reserve(&self, client: &Client, random: &mut Random) {
        let profile = if random.once_in(2) { "default" } else { "other" };
        let ttl = Duration::from_millis(random.below(200));
        client.reserve(Some(profile), random.below(12) as u32, ttl).unwrap();
    }

    fn look(&self, client: &Client) {
        let status = client.status().unwrap();
        let paid = status.profiles.iter().map(crate::shared::paid_for).sum::<u32>();
        assert!(paid <= 64, "{status:?}");
    }

    /// What befalls the server and its processes, in the measure in which there are leases.
    fn calamities(&self, mut random: Random) {
        let mut due = self.leases.load(Ordering::Relaxed);
        let mut number = 0;
        while self.goes_on() {
            due += CALAMITY_EVERY;
            eventually("some leases", || {
                (self.leases.load(Ordering::Relaxed) >= due || !self.goes_on()).then_some(())
            });
            match random.below(8) {
                0 => self.kill_one("zyg-template", &mut random),
                1 | 2 => {
                    number += 1;
                    configure(self.server, number);
                }
                _ => self.kill_one("zyg-init", &mut random),
            }
            if random.once_in(8) {
                let census = self.server.census();
                self.cgroups.lock().unwrap().extend(foreign_cgroups(&census));
            }
        }
    }

    fn kill_one(&self, name: &str, random: &mut Random) {
        let processes = self.server.processes_named(name);
        if !processes.is_empty() {
            // The server itself is their reaper: one that has ended meanwhile is nobody else yet.
            let _ = kill(processes[random.below(processes.len() as u64) as usize], Signal::SIGKILL);
        }
    }

    fn run(&mut self, leases: u64, seed: u64) {
        self.until += leases;
        let soak = &*self;
        std::thread::scope(|threads| {
            threads.spawn(move || soak.calamities(Random(seed)));
            for client in 1..=CLIENTS {
                threads.spawn(move || soak.client(client, Random(seed ^ (client << 32))));
            }
        });
        // More are served than were asked for: some at the very end.
        *self.leases.get_mut() = self.until;
    }
}

/// The cgroups of these that this process is not in (proc_pid_cgroup(5)).
fn foreign_cgroups(census: &Census) -> BTreeSet<String> {
    let of = |pid: &str| -> BTreeSet<String> {
        let text = fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap_or_default();
        text.lines().filter_map(|line| Some(line.splitn(3, ':').nth(2)?.to_owned())).collect()
    };
    let own = of("self");
    let theirs = census.pids().into_iter().flat_map(|pid| of(&pid.to_string()));
    theirs.filter(|cgroup| !own.contains(cgroup)).collect()
}

fn assert_cgroups_gone(cgroups: &BTreeSet<String>) {
    for cgroup in cgroups {
        for hierarchy in fs::read_dir("/sys/fs/cgroup").into_iter().flatten() {
            let left = format!("{}{cgroup}", hierarchy.unwrap().path().display());
            assert!(!Path::new(&left).exists(), "the cgroup {left} is left behind");
        }
    }
}

#[test]
fn after_a_long_and_busy_life_a_server_holds_what_it_held_before() {
    let (leases, seed) = (setting("ZYG_SOAK_LEASES").unwrap_or(LEASES), seed());
    println!("ZYG_SOAK_SEED={seed} ZYG_SOAK_LEASES={leases}");
    let mut server = Setup::default().config(&config(0)).start_warm();
    let bound = server.directory().join("bound");
    fs::create_dir(&bound).unwrap();
    let mut soak = Soak {
        server: &server,
        bound,
        leases: AtomicU64::new(0),
        until: 0,
        denied: Mutex::default(),
        cgroups: Mutex::default(),
    };
    let observer = server.client();
    let quiet = || {
        configure(&server, 0);
        wait_quiet(&server, &observer)
    };
    // What a first use of everything takes is taken before it is measured.
    soak.run((leases / 10).clamp(500, 10_000), seed ^ 1);
    let (before, memory) = (quiet(), memory_kib(&server));
    let start = Instant::now();
    soak.run(leases, seed);
    let took = start.elapsed();
    let (after, memory_after) = (quiet(), memory_kib(&server));
    let denied = std::mem::take(&mut *soak.denied.lock().unwrap());
    let rows = observer.status().unwrap().profiles;
    let served: Vec<_> = rows.iter().map(|row| (&row.name, row.served, row.generation)).collect();
    println!(
        "{leases} leases in {took:.1?}; denied: {denied:?}; served: {served:?}; \
         memory {memory} KiB, then {memory_after} KiB; {:?}, {:?}, {} networks",
        after.processes,
        after.descriptors,
        wait_few_networks(&server)
    );
    assert_eq!(after, before);
    assert!(memory_after.abs_diff(memory) <= MEMORY_KIB, "{memory} KiB, then {memory_after} KiB");
    assert!(denied.values().sum::<u64>() * DENIED_SHARE <= leases, "{denied:?}");
    // It works as ever, and ends as ever.
    let lease = observer.lease().unwrap();
    Echo::start(&lease).assert_answers();
    let census = server.census();
    let cgroups = std::mem::take(&mut *soak.cgroups.lock().unwrap());
    drop((lease, observer, soak));
    eventually("the end of the last lease", || (server.pool().leased == 0).then_some(()));
    server.signal(Signal::SIGTERM);
    assert_eq!(server.wait().code(), Some(0), "it ends well");
    census.assert_gone();
    assert_cgroups_gone(&cgroups);
    let sockets = fs::read_to_string("/proc/net/unix").unwrap();
    let path = server.socket().to_str().unwrap();
    assert!(!sockets.lines().any(|line| line.ends_with(path)), "somebody listens at {path}");
}
