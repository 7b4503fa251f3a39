//! `[profile.NAME.limits]`, `quota` and `pool`, and the server's `quota`.

use super::{Reader, Section, Value};
use crate::config::draft::{Draft, Key};
use crate::config::nearest::nearest;
use crate::config::{COUNT_MAX, LIMIT_MAX, Limits, TIME_MAX, units};
use std::time::Duration;

/// The most that io.weight and cpu.weight may be (cgroup v2, "Weights").
const WEIGHT_MAX: u64 = 10_000;

/// The most CPUs that a machine may have (`CONFIG_NR_CPUS`).
const CPUS_MAX: f64 = 8192.0;

impl Reader {
    pub(super) fn limits(&mut self, value: Value<'_>) -> Limits {
        let Some(table) = self.table("limits", value) else { return Limits::default() };
        let mut section = Section::new(table);
        let limits = Limits {
            nofile: self.count_limit(&mut section, "nofile"),
            nproc: self.count_limit(&mut section, "nproc"),
            core: self.size_limit(&mut section, "core"),
            cpu: self.cpu(&mut section),
            fsize: self.size_limit(&mut section, "fsize"),
            memlock: self.size_limit(&mut section, "memlock"),
            msgqueue: self.size_limit(&mut section, "msgqueue"),
            sigpending: self.count_limit(&mut section, "sigpending"),
            stack: self.size_limit(&mut section, "stack"),
            address_space: self.size_limit(&mut section, "as"),
            data: self.size_limit(&mut section, "data"),
            time: section.take("time").and_then(|value| self.time("time", &value)),
            tmp_size: section.take("tmp_size").and_then(|value| self.size("tmp_size", &value, 1)),
            tmp_inodes: section
                .take("tmp_inodes")
                .and_then(|value| self.integer("tmp_inodes", &value, 1..=LIMIT_MAX)),
        };
        self.cgroup_limits(&mut section);
        self.leave(section);
        limits
    }

    /// What needs cgroups is checked as if it were in force, and then refused: a limit that is not
    /// enforced is worse than none.
    fn cgroup_limits(&mut self, section: &mut Section<'_>) {
        let near = |key: &str| match key {
            "memory" => ", or use `limits.as`, for each process",
            "pids" => ", or use `limits.nproc`, for each kernel uid but 0",
            "cpus" => ", or use `limits.cpu`, for each process",
            _ => "",
        };
        for key in ["memory", "pids", "cpus", "swap", "io"] {
            let Some(value) = section.take(key) else { continue };
            let valid = match key {
                "memory" => self.size(key, &value, 1).is_some(),
                "pids" => self.integer(key, &value, 1..=LIMIT_MAX).is_some(),
                "cpus" => self.cpus(&value),
                "swap" => self.size(key, &value, 0).is_some(),
                _ => self.integer(key, &value, 1..=WEIGHT_MAX).is_some(),
            };
            if valid {
                let message = format!(
                    "`limits.{key}` needs cgroup delegation, which this release does not use: \
                     remove it{}",
                    near(key)
                );
                self.wrong(value.span().start, message);
            }
        }
    }

    fn cpus(&mut self, value: &Value<'_>) -> bool {
        let integer = value.get_ref().as_integer().map(toml::de::DeInteger::to_string);
        let float = value.get_ref().as_float().map(|float| float.as_str().to_owned());
        let Some(written) = integer.or(float) else {
            self.wrong_type("cpus", "a number", value);
            return false;
        };
        let valid = written.parse().is_ok_and(|cpus: f64| cpus > 0.0 && cpus <= CPUS_MAX);
        if !valid {
            let message = format!("`cpus` must be above 0 and at most {CPUS_MAX}, not {written}");
            self.wrong(value.span().start, message);
        }
        valid
    }

    fn count_limit(&mut self, section: &mut Section<'_>, key: &'static str) -> Option<u64> {
        let value = section.take(key)?;
        let words = [("unlimited", Limits::UNLIMITED)];
        match value.get_ref().as_str() {
            Some(text) if nearest(text, &words.map(|(word, _)| word)).is_some() => {
                self.choice(key, &value, words)
            }
            Some(text) => {
                let message = format!("`{key}` must be a number or \"unlimited\", not {text:?}");
                self.wrong(value.span().start, message);
                None
            }
            None => self.integer(key, &value, 1..=LIMIT_MAX),
        }
    }

    fn size_limit(&mut self, section: &mut Section<'_>, key: &'static str) -> Option<u64> {
        let value = section.take(key)?;
        if value.get_ref().as_str() == Some("unlimited") {
            return Some(Limits::UNLIMITED);
        }
        self.size(key, &value, 0)
    }

    fn cpu(&mut self, section: &mut Section<'_>) -> Option<u64> {
        let value = section.take("cpu")?;
        if value.get_ref().as_str() == Some("unlimited") {
            return Some(Limits::UNLIMITED);
        }
        let time = self.time("cpu", &value)?;
        if time.subsec_nanos() != 0 {
            let message = "`cpu` is counted in whole seconds (setrlimit(2))".into();
            self.wrong(value.span().start, message);
            return None;
        }
        Some(time.as_secs())
    }

    fn time(&mut self, key: &str, value: &Value<'_>) -> Option<Duration> {
        let least = (Duration::from_millis(1), "1ms");
        self.time_from(key, value, least, (TIME_MAX, "365d"))
    }

    /// A time between two, each beside the words for it.
    pub(super) fn time_from(
        &mut self,
        key: &str,
        value: &Value<'_>,
        (least, least_told): (Duration, &str),
        (most, most_told): (Duration, &str),
    ) -> Option<Duration> {
        if !value.get_ref().is_str() {
            self.wrong_type(key, "a time such as \"10m\"", value);
            return None;
        }
        let time = self.checked(key, value, units::time)?;
        if !(least..=most).contains(&time) {
            let message = format!("`{key}` must be from {least_told:?} to {most_told:?}");
            self.wrong(value.span().start, message);
            return None;
        }
        Some(time)
    }

    fn size(&mut self, key: &str, value: &Value<'_>, least: u64) -> Option<u64> {
        if value.get_ref().is_integer() {
            return self.integer(key, value, least..=LIMIT_MAX);
        }
        if !value.get_ref().is_str() {
            self.wrong_type(key, "a size such as \"512M\"", value);
            return None;
        }
        let bytes = self.checked(key, value, units::size)?;
        if !(least..=LIMIT_MAX).contains(&bytes) {
            let message = format!("`{key}` must be from {least} to {LIMIT_MAX}, not {bytes}");
            self.wrong(value.span().start, message);
            return None;
        }
        Some(bytes)
    }

    /// `leases` and `waiters` of a quota.
    pub(super) fn quota(&mut self, value: Value<'_>) -> (Key<u32>, Key<u32>) {
        let Some(table) = self.table("quota", value) else { return Default::default() };
        let mut section = Section::new(table);
        let leases =
            self.key(&mut section, "leases", |reader, value| reader.count("leases", &value, 1));
        let waiters =
            self.key(&mut section, "waiters", |reader, value| reader.count("waiters", &value, 1));
        self.leave(section);
        (leases, waiters)
    }

    pub(super) fn pool(&mut self, value: Value<'_>, draft: &mut Draft) {
        let Some(table) = self.table("pool", value) else { return };
        let mut section = Section::new(table);
        draft.pool_min =
            self.key(&mut section, "min", |reader, value| reader.count("min", &value, 0));
        draft.pool_max =
            self.key(&mut section, "max", |reader, value| reader.count("max", &value, 1));
        draft.pool_waiters_max = self.key(&mut section, "waiters_max", |reader, value| {
            reader.count("waiters_max", &value, 1)
        });
        draft.pool_idle =
            self.key(&mut section, "idle", |reader, value| reader.time("idle", &value));
        draft.pool_quiet = self.key(&mut section, "quiet", |reader, value| {
            let most = (Duration::from_secs(60), "60s");
            reader.time_from("quiet", &value, (Duration::ZERO, "0s"), most)
        });
        draft.pool_sleep =
            self.key(&mut section, "sleep", |reader, value| reader.time("sleep", &value));
        draft.pool_learn =
            self.key(&mut section, "learn", |reader, value| reader.boolean("learn", &value));
        self.leave(section);
    }

    pub(super) fn count(&mut self, key: &str, value: &Value<'_>, least: u64) -> Option<u32> {
        let count = self.integer(key, value, least..=u64::from(COUNT_MAX))?;
        u32::try_from(count).ok()
    }
}
