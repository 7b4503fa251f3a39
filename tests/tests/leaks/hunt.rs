//! One hunt: every residue is planted in an environment of one setting, and looked for from the
//! leases beside and after it.

use crate::residue::Residue;
use crate::residues::{KINDS, PROCESSES};
use crate::setting::{AT_ONCE, SHARED, Setting};
use nix::libc;
use serde_json::{Map, Value};
use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use tempfile::TempDir;
use zyg_tests::{Probe, Server, Setup, eventually, is_root, skip};
use zygote_client::{Client, Fate, Lease, LeaseOptions};

const HELPERS: &str = include_str!("helpers.py");
const PORTRAIT: &str = include_str!("portrait.py");

/// What a look says that has found nothing, and one that has found it.
const CLEAN: &str = "clean";
const FOUND: &str = "found";

/// The name under which a lease's portrait is among the findings.
const PORTRAYED: &str = "portrait";

/// The key by which zygotes are used again.
pub const WHOLE: &str = "recycle = \"whole\"\n";

/// The kinds of which planting or looking leaves something in the network, so that the zygote is not used
/// again.
const IN_THE_NETWORK: [&str; 3] = ["tcp", "sockets", "network"];

/// Leases that look while one with residues of a kind lives.
const BESIDE: usize = 1;

/// Leases that look when the last residue was planted.
pub const AFTER: usize = 100;

/// A server with one profile, and what its leases are shown.
pub struct Hunt {
    setting: Setting,
    /// Whether zygotes are used again, each of them if nothing is in the way.
    again: bool,
    server: Server,
    client: Client,
    probe: Probe,
    fixture: TempDir,
    /// What the first lease found around itself, before anything was planted.
    portrait: Map<String, Value>,
    /// The leases that have looked so far.
    looked: usize,
    shared: TempDir,
}

/// What became of planting, by number.
#[derive(Debug, Default)]
pub struct Tally {
    pub planted: usize,
    pub refused: usize,
    pub hosts: usize,
    pub lacking: usize,
}

impl Hunt {
    /// Starts the server, with further keys of the profile, and takes the portrait of an environment
    /// in which nothing was planted.
    pub fn start(setting: Setting, keys: &str) -> Self {
        let shared = shared_files();
        let again = keys.contains(WHOLE);
        let min = if again { AT_ONCE } else { AT_ONCE / 2 };
        let config = setting.config(shared.path().to_str().unwrap(), min, keys);
        let server = Setup::default().config(&config).start();
        let fixture = fixture();
        let probe = probe(setting, &fixture);
        let client = server.client();
        let hunt = Self {
            setting,
            again,
            server,
            client,
            probe,
            fixture,
            portrait: Map::new(),
            looked: 0,
            shared,
        };
        hunt.with_portrait()
    }

    fn with_portrait(self) -> Self {
        let lease = self.lease();
        let portrait = self.portraying();
        let take =
            format!("result = json.dumps([{portrait}, os.getpid(), status('Seccomp_filters')])");
        let taken = self.probe.at_once_inside(&lease, &[(PORTRAYED, &take)]);
        let taken: (Map<String, Value>, u32, String) =
            serde_json::from_str(&taken[PORTRAYED]).expect(&taken[PORTRAYED]);
        let (portrait, first, filters) = taken;
        let filters: u32 = filters.parse().unwrap();
        let probe = self.probe.with("first", first).with("filters", filters);
        Self { portrait, probe, ..self }
    }

    fn lease(&self) -> Lease {
        self.client.acquire(&self.options()).unwrap()
    }

    /// The lease to plant in: with something of its own that was asked for.
    fn lease_to_plant_in(&self) -> Lease {
        let mut options = self.options();
        self.client.acquire(options.hostname("zyg-leak").tmpfs("/tmp/asked")).unwrap()
    }

    fn options(&self) -> LeaseOptions {
        let mut options = LeaseOptions::new();
        options.profile(self.setting.profile());
        if self.setting.takes_binds() {
            options.ro_bind(self.shared.path(), SHARED);
        }
        options
    }

    /// Looks for every residue from leases of their own, all held at the same time.
    fn look(&mut self, leases: usize, when: &str, sought: impl Fn(&Residue) -> bool) {
        let leases: Vec<_> = (0..leases).map(|_| self.lease()).collect();
        let residues = KINDS.iter().flat_map(|(_, residues)| *residues);
        let residues: Vec<_> = residues
            .filter(|residue| residue.planted_in(self.setting) && sought(residue))
            .collect();
        let found: Vec<_> = std::thread::scope(|scope| {
            let looks = leases.iter().map(|lease| scope.spawn(|| self.found(lease, &residues)));
            let looks: Vec<_> = looks.collect();
            looks.into_iter().flat_map(|look| look.join().unwrap()).collect()
        });
        let (number, name) = (self.looked, self.setting.profile());
        assert!(found.is_empty(), "{name}, {when}, lease {number}:\n{}", found.join("\n"));
        self.looked += leases.len();
        for lease in leases {
            self.end(lease);
        }
    }

    /// Ends a lease. What may be used again is, if there is time for that.
    fn end(&self, lease: Lease) {
        lease.release().unwrap();
        if self.again {
            eventually("what becomes of the zygote", || {
                let pools = self.client.status().unwrap().profiles;
                pools.iter().all(|pool| pool.spawning + pool.dying == 0).then_some(())
            });
        }
    }

    fn portraying(&self) -> &'static str {
        let own = self.setting.has_network();
        if own { "portrait() | portrait_of_network()" } else { "portrait()" }
    }

    /// What a lease finds that it should not.
    fn found(&self, lease: &Lease, residues: &[&Residue]) -> Vec<String> {
        let take = format!("result = json.dumps({})", self.portraying());
        let mut acts = vec![(PORTRAYED, take.as_str())];
        acts.extend(residues.iter().map(|residue| (residue.name, residue.look)));
        let mut findings = self.probe.at_once_inside(lease, &acts);
        let taken = findings.remove(PORTRAYED).unwrap();
        let taken: Map<String, Value> = serde_json::from_str(&taken).expect(&taken);
        let mut wrong = Vec::new();
        for (part, value) in &self.portrait {
            differences(part, value, taken.get(part).unwrap_or(&Value::Null), &mut wrong);
        }
        assert_eq!(findings.len(), residues.len(), "each look has said something");
        let found = findings.iter().filter(|(_, found)| *found != CLEAN);
        wrong.extend(found.map(|(name, found)| format!("{name}: {found}")));
        wrong
    }

    /// Plants every residue, kind by kind, and looks for them from beside and after each.
    pub fn run(&mut self) -> Tally {
        self.look(1, "before anything was planted", |_| true);
        let mut tally = Tally::default();
        let mut wrong = Vec::new();
        let setting = self.setting;
        for (kind, residues) in KINDS {
            let lease = self.lease_to_plant_in();
            wrong.extend(self.plant(&lease, residues, &mut tally));
            let separate = |residue: &Residue| !residue.is_seen_beside(setting);
            self.look(BESIDE, &format!("beside the {kind}"), separate);
            self.end(lease);
            self.look(1, &format!("after the {kind}"), |_| true);
        }
        assert!(wrong.is_empty(), "{}:\n{}", setting.profile(), wrong.join("\n"));
        for _ in 0..AFTER / AT_ONCE {
            self.look(AT_ONCE, "after all", |_| true);
        }
        if self.again {
            wrong.extend(self.run_again());
            assert!(wrong.is_empty(), "{}:\n{}", setting.profile(), wrong.join("\n"));
        }
        let file = fs::read_to_string(self.fixture.path().join("file")).unwrap();
        assert_eq!(file, "original", "the host's own file");
        tally
    }

    /// Plants what leaves nothing in the network, kind by kind, in zygotes that are used again, each of
    /// which then looks for it.
    fn run_again(&mut self) -> Vec<String> {
        let mut wrong = Vec::new();
        let quiet: Vec<_> =
            KINDS.into_iter().filter(|(kind, _)| !IN_THE_NETWORK.contains(kind)).collect();
        for (kind, residues) in &quiet {
            for _ in 0..AT_ONCE {
                let lease = self.lease_to_plant_in();
                wrong.extend(self.plant(&lease, residues, &mut Tally::default()));
                self.end(lease);
            }
            let sought = |residue: &Residue| {
                quiet.iter().any(|(_, of)| of.iter().any(|it| it.name == residue.name))
            };
            self.look(AT_ONCE, &format!("again after the {kind}"), sought);
        }
        wrong
    }

    /// Plants, and returns what the controls say that they should not: the same looks by whoever has
    /// just planted.
    fn plant(&self, lease: &Lease, residues: &[Residue], tally: &mut Tally) -> Vec<String> {
        let (planted, hosts): (Vec<&Residue>, Vec<_>) =
            residues.iter().partition(|residue| residue.planted_in(self.setting));
        tally.hosts += hosts.len();
        let acts: Vec<_> = planted
            .iter()
            .map(|residue| (residue.name, format!("{}\n{}", residue.plant, residue.look)))
            .collect();
        let acts: Vec<_> = acts.iter().map(|(name, code)| (*name, code.as_str())).collect();
        let findings = self.probe.inside(lease, &acts);
        let mut wrong = Vec::new();
        for residue in planted {
            let (found, right) = (findings[residue.name].as_str(), residue.control(self.setting));
            match found {
                // What this kernel cannot keep it cannot leak.
                "EOPNOTSUPP" | "ENOSYS" if right == FOUND => {
                    skip(&format!("this kernel has no {}", residue.name));
                    tally.lacking += 1;
                }
                _ if found != right => {
                    wrong.push(format!("the control of {:?}: {found}, not {right}", residue.name));
                }
                FOUND => tally.planted += 1,
                _ => tally.refused += 1,
            }
        }
        wrong
    }

    /// Fills a lease with processes, and ends it, so often.
    pub fn end_at_once(&self, times: usize) {
        for _ in 0..times {
            let lease = self.lease_to_plant_in();
            let wrong = self.plant(&lease, PROCESSES, &mut Tally::default());
            assert!(wrong.is_empty(), "{}", wrong.join("\n"));
            let before = self.server.census().len();
            lease.release().unwrap();
            self.server.wait_warm();
            assert!(before > self.server.census().len(), "the control: there was more before");
        }
    }

    /// How many leases have looked.
    pub fn looked(&self) -> usize {
        self.looked
    }

    /// How often a zygote was used again.
    pub fn used_again(&self) -> u64 {
        self.server.pool().fates.of(Fate::ZygoteRecycled)
    }

    /// How often each slot was filled, by what the server has logged.
    pub fn slots(&self) -> BTreeMap<u32, usize> {
        let mut slots = BTreeMap::new();
        for line in self.server.log().lines() {
            let Some((_, rest)) = line.split_once("slot 0x") else { continue };
            let Some((key, _)) = rest.split_once(" is warm") else { continue };
            let key = u64::from_str_radix(key, 16).unwrap();
            *slots.entry((key & u64::from(u32::MAX)) as u32).or_default() += 1;
        }
        slots
    }
}

/// Says where two portraits differ.
fn differences(part: &str, before: &Value, now: &Value, wrong: &mut Vec<String>) {
    match (before, now) {
        (Value::Array(before), Value::Array(now)) if before.len() == now.len() => {
            for (number, (before, now)) in before.iter().zip(now).enumerate() {
                differences(&format!("{part}, {number}"), before, now, wrong);
            }
        }
        (Value::Object(before), Value::Object(now)) if before.len() == now.len() => {
            for (key, before) in before {
                let now = now.get(key).unwrap_or(&Value::Null);
                differences(&format!("{part}, {key}"), before, now, wrong);
            }
        }
        _ if before == now => {}
        _ => wrong.push(format!("{part}: {now}, not {before}")),
    }
}

/// What every lease is shown of the host, for locks to hang on.
fn shared_files() -> TempDir {
    // Not below /tmp, where environments have something of their own, and where strangers get by.
    let place = if is_root() { PathBuf::from("/srv") } else { zyg_tests::home() };
    let shared = temporary(&place);
    fs::set_permissions(shared.path(), fs::Permissions::from_mode(0o755)).unwrap();
    for name in ["file", "other", "leased"] {
        fs::write(shared.path().join(name), "").unwrap();
    }
    shared
}

/// Files in the user's home to be changed.
fn fixture() -> TempDir {
    let fixture = temporary(&zyg_tests::home());
    fs::create_dir(fixture.path().join("full")).unwrap();
    for name in ["file", "other", "third", "fifth", "sixth", "seventh", "full/file"] {
        fs::write(fixture.path().join(name), "original").unwrap();
    }
    fixture
}

fn temporary(place: &Path) -> TempDir {
    tempfile::Builder::new().prefix(".zyg-test-").tempdir_in(place).unwrap()
}

fn probe(setting: Setting, fixture: &TempDir) -> Probe {
    let home = setting.own_home().map_or_else(zyg_tests::home, Into::into);
    // Of this hunt alone, among those that run at the same time.
    let key = std::process::id() * 8 + setting as u32;
    Probe::new()
        .with_path("home", &home)
        .with_path("fixture", fixture.path())
        .with("key", key)
        // Below the ports that connections get by themselves.
        .with("base", 10_000 + key % 650 * 32)
        .with("ADD_KEY", libc::SYS_add_key)
        .with("KEYCTL", libc::SYS_keyctl)
        .with("IOPRIO_GET", libc::SYS_ioprio_get)
        .with("IOPRIO_SET", libc::SYS_ioprio_set)
        .with("USERFAULTFD", libc::SYS_userfaultfd)
        .with_definitions(HELPERS)
        .with_definitions(PORTRAIT)
}
