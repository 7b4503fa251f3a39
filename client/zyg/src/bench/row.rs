//! The rows that there are: what each one is called, counted in, and put in relation to.

use super::goals::GOALS;
use std::fmt;

/// What a row's numbers count.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unit {
    /// Microseconds on the clock.
    Micros,
    /// Microseconds of CPU time.
    CpuMicros,
    /// How many in a second.
    PerSecond,
    /// Kibibytes of memory.
    Kib,
}

impl fmt::Display for Unit {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.pad(match self {
            Self::Micros => "µs",
            Self::CpuMicros => "µs CPU",
            Self::PerSecond => "1/s",
            Self::Kib => "KiB",
        })
    }
}

/// Whose numbers they are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    /// The kernel's, without zyg: nothing that does as much can be cheaper.
    Floor,
    /// Those of zyg.
    Zyg,
    /// Those of another program.
    Peer,
}

/// What is known of a row before it is measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Kind {
    pub name: &'static str,
    pub side: Side,
    pub unit: Unit,
    /// The row that this one is put in relation to.
    pub floor: Option<&'static str>,
    pub about: &'static str,
}

/// A row and its samples, in the order in which they were taken.
#[derive(Debug, Clone)]
pub struct Row {
    pub kind: Kind,
    pub samples: Vec<f64>,
}

macro_rules! kinds {
    ($($name:literal $side:ident $unit:ident $floor:expr, $about:literal;)+) => {
        &[$(Kind { name: $name, side: Side::$side, unit: Unit::$unit, floor: $floor, about: $about }),+]
    };
}

/// Every row, in the order in which they are shown.
pub const KINDS: &[Kind] = kinds![
    "seqpacket_rtt" Floor Micros None, "a message each way, of as many bytes and descriptors as an acquire and its grant";
    "acquire" Zyg Micros Some("seqpacket_rtt"), "request to lease in hand, on an open connection, from a warm pool";
    "acquire_release" Zyg Micros Some("seqpacket_rtt"), "the same and the message that gives it back";
    "spawn_true" Floor Micros None, "posix_spawn of /bin/true until its exit is known, no isolation";
    "bare_true" Floor Micros Some("spawn_true"), "the same again, as a control: two equal rows";
    "exec_in_lease" Zyg Micros Some("spawn_true"), "/bin/true in a lease that is held, through the library";
    "exec_true" Zyg Micros Some("spawn_true"), "acquire, and /bin/true in it until its exit is known, through the library";
    "zyg_run_true" Zyg Micros Some("bare_true"), "the whole of `zyg run -- /bin/true`, in /";
    "clone_exit_no_net" Floor Micros None, "clone into a zygote's namespaces but net, exit, reap";
    "clone_exit" Floor Micros None, "the same with a net namespace";
    "cold_acquire" Zyg Micros Some("clone_exit"), "acquire from a pool that keeps nothing warm: built on demand";
    "unshare" Peer Micros Some("bare_true"), "/bin/true by unshare (util-linux)";
    "bwrap" Peer Micros Some("bare_true"), "/bin/true by bubblewrap";
    "nsjail" Peer Micros Some("bare_true"), "/bin/true by nsjail";
    "firejail" Peer Micros Some("bare_true"), "/bin/true by firejail";
    "crun" Peer Micros Some("bare_true"), "/bin/true by crun";
    "runc" Peer Micros Some("bare_true"), "/bin/true by runc";
    "podman" Peer Micros Some("bare_true"), "/bin/true by podman";
    "systemd-run" Peer Micros Some("bare_true"), "/bin/true by systemd-run";
    "churn_bare" Floor PerSecond None, "/bin/true by posix_spawn, on all CPUs at once";
    "churn" Zyg PerSecond Some("churn_bare"), "/bin/true in a fresh environment each, through the library, on all CPUs at once";
    "churn_unshare" Peer PerSecond Some("churn_bare"), "/bin/true by unshare, on all CPUs at once";
    "churn_bwrap" Peer PerSecond Some("churn_bare"), "/bin/true by bwrap, on all CPUs at once";
    "churn_nsjail" Peer PerSecond Some("churn_bare"), "/bin/true by nsjail, on all CPUs at once";
    "churn_firejail" Peer PerSecond Some("churn_bare"), "/bin/true by firejail, on all CPUs at once";
    "churn_crun" Peer PerSecond Some("churn_bare"), "/bin/true by crun, on all CPUs at once";
    "churn_runc" Peer PerSecond Some("churn_bare"), "/bin/true by runc, on all CPUs at once";
    "churn_podman" Peer PerSecond Some("churn_bare"), "/bin/true by podman, on all CPUs at once";
    "churn_systemd-run" Peer PerSecond Some("churn_bare"), "/bin/true by systemd-run, on all CPUs at once";
    "clone_exit_cpu" Floor CpuMicros None, "CPU time of clone_exit_no_net";
    "cycle" Zyg CpuMicros Some("clone_exit_cpu"), "CPU time of template and zygote from create to destroyed, without a command";
    "server_cpu" Zyg CpuMicros Some("clone_exit_cpu"), "CPU time of the server for acquire, release and the order for the next";
    "memory" Zyg Kib None, "memory for one more parked zygote, the kernel's included";
];

/// The row of this name.
pub fn kind(name: &str) -> Option<Kind> {
    KINDS.iter().find(|kind| kind.name == name).copied()
}

/// Of a server of the bench's own: its pools are as the row needs them, and it tells what it uses.
const OF_OWN_SERVER: [&str; 4] = ["cold_acquire", "cycle", "server_cpu", "memory"];

/// Which rows to take: those named and what they are put in relation to; all where none is.
#[derive(Debug, Clone)]
pub struct Chosen(Vec<&'static str>);

impl Chosen {
    /// `foreign` says that the server is not the bench's own.
    ///
    /// # Errors
    /// Names the first that is no row, and those that there are.
    pub fn new(only: &[String], foreign: bool) -> anyhow::Result<Self> {
        let can = |name: &&str| !(foreign && OF_OWN_SERVER.contains(name));
        let all = || KINDS.iter().map(|kind| kind.name).filter(can);
        if only.is_empty() {
            return Ok(Self(all().collect()));
        }
        let mut chosen = Vec::new();
        for name in only.iter().map(|name| name.trim()) {
            let Some(kind) = kind(name).filter(|kind| can(&kind.name)) else {
                let known: Vec<_> = all().collect();
                let reason = match self::kind(name) {
                    Some(_) => "takes a server of the bench's own",
                    None => "is no row",
                };
                anyhow::bail!("{name:?} {reason}; there are {}", known.join(", "));
            };
            let floor = kind.floor.and_then(self::kind);
            chosen.extend([Some(kind), floor, floor.and_then(|floor| self::kind(floor.floor?))]);
            let goals = GOALS.iter().filter(|goal| goal.of == name);
            chosen.extend(goals.map(|goal| goal.to.and_then(self::kind)));
        }
        Ok(Self(chosen.into_iter().flatten().map(|kind: Kind| kind.name).collect()))
    }

    /// Whether this row is to be taken.
    pub fn has(&self, name: &str) -> bool {
        self.0.contains(&name)
    }

    /// Whether any of these is.
    pub fn has_any(&self, names: &[&str]) -> bool {
        names.iter().any(|name| self.has(name))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_floor_is_a_row_of_the_same_unit() {
        for kind in KINDS {
            let Some(floor) = kind.floor else { continue };
            let floor = super::kind(floor).unwrap();
            assert_eq!((floor.side, floor.unit), (Side::Floor, kind.unit), "{}", kind.name);
        }
    }

    #[test]
    fn a_chosen_row_brings_what_it_is_put_in_relation_to() {
        let chosen = Chosen::new(&["zyg_run_true".to_owned()], false).unwrap();
        for name in ["zyg_run_true", "bare_true", "spawn_true"] {
            assert!(chosen.has(name), "{name}");
        }
        assert!(chosen.has("bwrap"), "a goal is in relation to it");
        assert!(!chosen.has_any(&["unshare", "churn"]));
        assert!(Chosen::new(&[], false).unwrap().has_any(&["bwrap", "nothing"]));
    }

    #[test]
    fn a_row_that_does_not_exist_is_refused_with_those_that_do() {
        let error = Chosen::new(&["aquire".to_owned()], false).unwrap_err().to_string();
        assert!(error.contains("\"aquire\"") && error.contains("acquire, "), "{error}");
    }

    #[test]
    fn what_takes_a_server_of_the_benchs_own_is_not_asked_of_another() {
        let all = Chosen::new(&[], true).unwrap();
        assert!(all.has_any(&["acquire"]) && !all.has_any(&OF_OWN_SERVER));
        assert!(Chosen::new(&["memory".to_owned()], true).is_err());
    }
}
