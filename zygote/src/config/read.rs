//! From a TOML document to a [`Config`], with a note of every mistake on the way.
//!
//! The document is walked by hand: each section takes the keys that it knows, and what is left over
//! is unknown. So a key is named in one place only, and every message has a position.

use super::{
    COUNT_MAX, Config, DEFAULT_PROFILE, IDLE_EXIT_MS_MAX, Place, PoolSize, Profile, Server,
    WRITABLE_BYTES_MAX, WRITABLE_MAX, check,
};
use std::ops::RangeInclusive;
use std::time::Duration;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

/// Something that is wrong.
#[derive(Debug)]
pub(super) struct Mistake {
    /// Bytes from the text's start.
    pub(super) offset: usize,
    pub(super) message: String,
}

/// The configuration in `text`, or all that is wrong with it in the text's order.
pub(super) fn config(text: &str) -> Result<Config, Vec<Mistake>> {
    let document = DeTable::parse(text).map_err(|error| {
        let offset = error.span().map_or(0, |span| span.start);
        vec![Mistake { offset, message: error.message().replace('\n', "; ") }]
    })?;
    let mut reader = Reader { mistakes: Vec::new() };
    let config = reader.config(document.into_inner());
    if reader.mistakes.is_empty() {
        return Ok(config);
    }
    reader.mistakes.sort_by_key(|mistake| mistake.offset);
    Err(reader.mistakes)
}

/// Line and column of an offset, both counted from 1, the column in characters.
pub(super) fn position(text: &str, offset: usize) -> (usize, usize) {
    let before = text.get(..offset).unwrap_or(text);
    let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
    (before.matches('\n').count() + 1, before[line_start..].chars().count() + 1)
}

type Value<'t> = Spanned<DeValue<'t>>;

/// A table whose known keys are taken one by one.
struct Section<'t> {
    table: DeTable<'t>,
    known: Vec<&'static str>,
}

impl<'t> Section<'t> {
    fn new(table: DeTable<'t>) -> Self {
        Self { table, known: Vec::new() }
    }

    fn take(&mut self, key: &'static str) -> Option<Value<'t>> {
        self.known.push(key);
        self.table.remove(key)
    }
}

struct Reader {
    mistakes: Vec<Mistake>,
}

impl Reader {
    fn config(&mut self, document: DeTable<'_>) -> Config {
        let mut config = Config::default();
        let mut section = Section::new(document);
        if let Some(value) = section.take("server") {
            config.server = self.server(value);
        }
        if let Some(profiles) = section.take("profile").and_then(|v| self.table("profile", v)) {
            for (name, value) in profiles {
                if let Err(message) = check::profile_name(name.get_ref()) {
                    self.wrong(name.span().start, message);
                }
                let name = name.into_inner().into_owned();
                let profile = self.profile(&name, value);
                config.profiles.insert(name, profile);
            }
        }
        self.leave(section);
        debug_assert!(config.profiles.contains_key(DEFAULT_PROFILE));
        config
    }

    fn server(&mut self, value: Value<'_>) -> Server {
        let mut server = Server::default();
        let Some(table) = self.table("server", value) else { return server };
        let mut section = Section::new(table);
        if let Some(value) = section.take("socket") {
            server.socket = self.checked("socket", &value, check::socket);
        }
        if let Some(value) = section.take("idle_exit_ms") {
            let idle_ms = self.integer("idle_exit_ms", &value, 1..=IDLE_EXIT_MS_MAX);
            server.idle_exit = idle_ms.map(Duration::from_millis);
        }
        if let Some(value) = section.take("prefork_for") {
            let user = |name: &str| check::user(name).map(|()| name.to_owned());
            server.prefork_for = self.list("prefork_for", value, user);
        }
        self.leave(section);
        server
    }

    fn profile(&mut self, name: &str, value: Value<'_>) -> Profile {
        let mut profile = Profile::default();
        let Some(table) = self.table(&format!("profile.{name}"), value) else { return profile };
        let mut section = Section::new(table);
        if let Some(value) = section.take("writable") {
            profile.writable = self.writable(value);
        }
        if let Some(value) = section.take("hostname") {
            let hostname = |name: &str| check::hostname(name).map(|()| name.to_owned());
            profile.hostname = self.checked("hostname", &value, hostname);
        }
        if let Some(value) = section.take("pool") {
            profile.pool = self.pool(value);
        }
        self.leave(section);
        profile
    }

    fn writable(&mut self, value: Value<'_>) -> Vec<Place> {
        let offset = value.span().start;
        let places = self.list("writable", value, check::writable);
        let bytes: usize = places
            .iter()
            .map(|place| match place {
                Place::Path(path) => path.as_os_str().len(),
                Place::Home | Place::WorkingDirectory => 1,
            })
            .sum();
        if places.len() > WRITABLE_MAX {
            let message = format!("`writable` has at most {WRITABLE_MAX} paths");
            self.wrong(offset, message);
        } else if bytes > WRITABLE_BYTES_MAX {
            let message = format!("`writable` has at most {WRITABLE_BYTES_MAX} bytes of paths");
            self.wrong(offset, message);
        }
        places
    }

    /// A `max` below the default `min` lowers that: whoever sets one need not set the other.
    fn pool(&mut self, value: Value<'_>) -> PoolSize {
        let mut pool = PoolSize::default();
        let Some(table) = self.table("pool", value) else { return pool };
        let mut section = Section::new(table);
        let max = section.take("max");
        if let Some(max) = max.as_ref().and_then(|value| self.count("max", value, 1)) {
            pool.max = max;
            pool.min = pool.min.min(max);
        }
        if let Some(value) = section.take("min")
            && let Some(min) = self.count("min", &value, 0)
        {
            if min > pool.max {
                let unset = if max.is_none() { ", unless it is set" } else { "" };
                let message = format!("`min` ({min}) exceeds `max` ({}{unset})", pool.max);
                self.wrong(value.span().start, message);
            }
            pool.min = min;
        }
        if let Some(value) = section.take("waiters_max")
            && let Some(waiters_max) = self.count("waiters_max", &value, 1)
        {
            pool.waiters_max = waiters_max;
        }
        self.leave(section);
        pool
    }

    fn wrong(&mut self, offset: usize, message: String) {
        self.mistakes.push(Mistake { offset, message });
    }

    fn wrong_type(&mut self, key: &str, want: &str, value: &Value<'_>) {
        let got = match value.get_ref().type_str() {
            vowel @ ("integer" | "array") => format!("an {vowel}"),
            other => format!("a {other}"),
        };
        let message = format!("`{}` must be {want}, not {got}", key.escape_debug());
        self.wrong(value.span().start, message);
    }

    /// Complains about what nobody took.
    fn leave(&mut self, section: Section<'_>) {
        for (key, _) in section.table {
            let mut message = format!("unknown key `{}`; ", key.get_ref().escape_debug());
            match nearest(key.get_ref(), &section.known) {
                Some(known) => message.push_str(&format!("did you mean `{known}`?")),
                None => {
                    let known: Vec<_> =
                        section.known.iter().map(|known| format!("`{known}`")).collect();
                    message.push_str(&format!("known here: {}", known.join(", ")));
                }
            }
            self.wrong(key.span().start, message);
        }
    }

    fn table<'t>(&mut self, key: &str, value: Value<'t>) -> Option<DeTable<'t>> {
        if !value.get_ref().is_table() {
            self.wrong_type(key, "a table", &value);
            return None;
        }
        match value.into_inner() {
            DeValue::Table(table) => Some(table),
            _ => None,
        }
    }

    /// A string that passes `check`.
    fn checked<T>(
        &mut self,
        key: &str,
        value: &Value<'_>,
        check: impl Fn(&str) -> Result<T, String>,
    ) -> Option<T> {
        let Some(text) = value.get_ref().as_str() else {
            self.wrong_type(key, "a string", value);
            return None;
        };
        check(text).map_err(|message| self.wrong(value.span().start, message)).ok()
    }

    /// An array of strings that pass `check`, no two of which mean the same.
    fn list<T: PartialEq>(
        &mut self,
        key: &str,
        value: Value<'_>,
        check: impl Fn(&str) -> Result<T, String>,
    ) -> Vec<T> {
        let mut items = Vec::new();
        let Some(array) = value.get_ref().as_array() else {
            self.wrong_type(key, "an array of strings", &value);
            return items;
        };
        for value in array.iter() {
            let Some(item) = self.checked(&format!("{key}[]"), value, &check) else { continue };
            if items.contains(&item) {
                let text = value.get_ref().as_str().unwrap_or_default();
                self.wrong(value.span().start, format!("`{key}` has {text:?} twice"));
            }
            items.push(item);
        }
        items
    }

    fn count(&mut self, key: &str, value: &Value<'_>, least: u64) -> Option<u32> {
        let count = self.integer(key, value, least..=u64::from(COUNT_MAX))?;
        Some(u32::try_from(count).expect("it is at most COUNT_MAX"))
    }

    fn integer(&mut self, key: &str, value: &Value<'_>, range: RangeInclusive<u64>) -> Option<u64> {
        let Some(written) = value.get_ref().as_integer() else {
            self.wrong_type(key, "an integer", value);
            return None;
        };
        let number = u64::from_str_radix(written.as_str(), written.radix()).ok();
        let number = number.filter(|number| range.contains(number));
        if number.is_none() {
            let (least, most) = range.into_inner();
            let message = format!("`{key}` must be from {least} to {most}, not {written}");
            self.wrong(value.span().start, message);
        }
        number
    }
}

/// The known key that was probably meant: a third of its letters may be wrong, or its end missing.
fn nearest(key: &str, known: &[&'static str]) -> Option<&'static str> {
    let near = |known: &&'static str| {
        let errors = distance(key, known);
        let longer = key.chars().count().max(known.len());
        let cut = key.len() >= 3 && (known.starts_with(key) || key.starts_with(known));
        (errors <= (longer / 3).max(1) || cut).then_some((errors, *known))
    };
    known.iter().filter_map(near).min().map(|(_, known)| known)
}

/// How many letters have to be inserted, deleted or replaced to make one into the other
/// (Levenshtein 1966).
fn distance(one: &str, other: &str) -> usize {
    let other: Vec<char> = other.chars().collect();
    let mut row: Vec<usize> = (0..=other.len()).collect();
    for (index, letter) in one.chars().enumerate() {
        let mut diagonal = std::mem::replace(&mut row[0], index + 1);
        for (column, other) in other.iter().enumerate() {
            let replaced = diagonal + usize::from(letter != *other);
            diagonal = row[column + 1];
            row[column + 1] = replaced.min(diagonal + 1).min(row[column] + 1);
        }
    }
    row[other.len()]
}
