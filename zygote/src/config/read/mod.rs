//! From a TOML document to drafts of profiles, with a note of every mistake on the way.
//!
//! The document is walked by hand: each section takes the keys that it knows, and what is left over
//! is unknown. So a key is named in one place only, and every message has a position.

mod limits;
mod places;
mod profile;
mod server;

pub(super) use places::{bind_bytes, host_path_bytes, location_bytes, place_bytes};

use super::draft::{Draft, Key, List, Origin, Said, Slot};
use super::nearest::{nearest, none_of};
use super::{LIST_MAX, Server, check};
use std::collections::BTreeMap;
use std::ops::RangeInclusive;
use std::rc::Rc;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

/// Something that is wrong.
#[derive(Debug)]
pub(super) struct Mistake {
    /// Bytes from the text's start.
    pub(super) offset: usize,
    pub(super) message: String,
}

/// Where the lines of a text are.
pub(super) struct Lines<'t> {
    text: &'t str,
    starts: Vec<usize>,
}

impl<'t> Lines<'t> {
    pub(super) fn of(text: &'t str) -> Self {
        let starts = text.match_indices('\n').map(|(newline, _)| newline + 1);
        Self { text, starts: std::iter::once(0).chain(starts).collect() }
    }

    /// Line and column of an offset, both counted from 1, the column in characters.
    pub(super) fn position(&self, offset: usize) -> (usize, usize) {
        let line = self.starts.partition_point(|start| *start <= offset);
        let start = self.starts[line - 1];
        let before = self.text.get(start..offset).unwrap_or_default();
        (line, before.chars().count() + 1)
    }
}

/// What a text says, and what is wrong with it; `built_in` if it is our own.
pub(super) fn text(text: &str, built_in: bool) -> (Server, BTreeMap<String, Draft>, Vec<Mistake>) {
    let mut reader = Reader { mistakes: Vec::new(), profile: "".into(), built_in };
    let (server, drafts) = match DeTable::parse(text) {
        Ok(document) => reader.document(document.into_inner()),
        Err(error) => {
            let offset = error.span().map_or(0, |span| span.start);
            reader.wrong(offset, error.message().replace('\n', "; "));
            Default::default()
        }
    };
    (server, drafts, reader.mistakes)
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
    /// Which one is being read.
    profile: Rc<str>,
    built_in: bool,
}

/// Sections, keys, lists.
impl Reader {
    fn document(&mut self, document: DeTable<'_>) -> (Server, BTreeMap<String, Draft>) {
        let mut section = Section::new(document);
        let server = section.take("server").map(|value| self.server(value)).unwrap_or_default();
        let mut drafts = BTreeMap::new();
        if let Some(profiles) = section.take("profile").and_then(|v| self.table("profile", v)) {
            for (name, value) in profiles {
                if let Err(message) = check::profile_name(name.get_ref()) {
                    self.wrong(name.span().start, message);
                }
                let name = name.into_inner().into_owned();
                self.profile = Rc::from(name.as_str());
                let draft = self.profile(&name, value);
                drafts.insert(name, draft);
            }
        }
        self.leave(section);
        (server, drafts)
    }

    /// Reads a key with one value.
    fn key<T>(
        &mut self,
        section: &mut Section<'_>,
        key: &'static str,
        read: impl FnOnce(&mut Self, Value<'_>) -> Option<T>,
    ) -> Key<T> {
        let Some(value) = section.take(key) else { return Slot::Unset };
        let origin = self.origin(&value);
        match read(self, value) {
            Some(value) => Slot::Set(Said { value, origin }),
            None => Slot::Wrong,
        }
    }

    /// Reads a key with a list: `want` describes it, `read` judges its entries one by one, and no
    /// entry may be `twice` there.
    fn items<T>(
        &mut self,
        section: &mut Section<'_>,
        key: &'static str,
        want: &str,
        read: impl Fn(&mut Self, &Value<'_>) -> Option<T>,
        twice: impl Fn(&T, &T) -> bool,
    ) -> List<T> {
        self.key(section, key, |reader, value| {
            let mistakes = reader.mistakes.len();
            let Some(array) = value.get_ref().as_array() else {
                reader.wrong_type(key, want, &value);
                return None;
            };
            if array.len() > LIST_MAX {
                let message = format!("`{key}` has at most {LIST_MAX} entries");
                reader.wrong(value.span().start, message);
                return None;
            }
            let mut items: Vec<Said<T>> = Vec::new();
            for value in array.iter() {
                let Some(item) = read(reader, value) else { continue };
                if items.iter().any(|other| twice(&other.value, &item)) {
                    let message = format!("`{key}` has {} twice", written(value));
                    reader.wrong(value.span().start, message);
                }
                items.push(Said { value: item, origin: reader.origin(value) });
            }
            (reader.mistakes.len() == mistakes).then_some(items)
        })
    }

    /// Reads a key with a list of strings that pass `check`, no two of which mean the same.
    fn list<T: PartialEq>(
        &mut self,
        section: &mut Section<'_>,
        key: &'static str,
        check: impl Fn(&str) -> Result<T, String>,
    ) -> List<T> {
        let (name, want) = (format!("{key}[]"), "an array of strings");
        self.items(section, key, want, |reader, value| reader.checked(&name, value, &check), T::eq)
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
}

/// Single values.
impl Reader {
    fn origin(&self, value: &Value<'_>) -> Origin {
        let offset = (!self.built_in).then_some(value.span().start);
        Origin { profile: Rc::clone(&self.profile), offset }
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

    /// One of a few words.
    fn choice<T: Copy, const N: usize>(
        &mut self,
        key: &str,
        value: &Value<'_>,
        choices: [(&str, T); N],
    ) -> Option<T> {
        self.checked(key, value, |text| {
            let chosen = choices.iter().find(|(word, _)| *word == text);
            chosen
                .map(|(_, choice)| *choice)
                .ok_or_else(|| none_of(key, text, &choices.map(|(word, _)| word), None))
        })
    }

    pub(super) fn boolean(&mut self, key: &str, value: &Value<'_>) -> Option<bool> {
        let boolean = value.get_ref().as_bool();
        if boolean.is_none() {
            self.wrong_type(key, "true or false", value);
        }
        boolean
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

/// A value as a message quotes it.
fn written(value: &Value<'_>) -> String {
    match value.get_ref() {
        DeValue::String(text) => format!("{text:?}"),
        DeValue::Integer(number) => number.to_string(),
        _ => "the same".into(),
    }
}
