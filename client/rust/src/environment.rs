//! The environment variables of a command: the caller's own, with changes, as
//! `std::process::Command` has them.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use zyg_protocol::message::Strings;

/// Changes to be made to what the caller has.
#[derive(Debug, Clone, Default)]
pub(crate) struct Environment {
    cleared: bool,
    /// `None` removes what is inherited.
    changes: BTreeMap<OsString, Option<OsString>>,
}

impl Environment {
    pub(crate) fn set(&mut self, key: &OsStr, value: &OsStr) {
        self.changes.insert(key.to_owned(), Some(value.to_owned()));
    }

    pub(crate) fn remove(&mut self, key: &OsStr) {
        if self.cleared {
            self.changes.remove(key);
        } else {
            self.changes.insert(key.to_owned(), None);
        }
    }

    pub(crate) fn clear(&mut self) {
        self.cleared = true;
        self.changes.clear();
    }

    /// Whether a change has a zero byte, which no variable can have.
    pub(crate) fn has_zero_byte(&self) -> bool {
        let has = |text: &OsStr| text.as_bytes().contains(&0);
        self.changes.iter().any(|(key, value)| has(key) || value.as_deref().is_some_and(has))
    }

    /// What comes of `inherited`, `KEY=value` each; with changes in the order of the keys, as with
    /// `std::process::Command`.
    pub(crate) fn resolve(
        &self,
        inherited: impl IntoIterator<Item = (OsString, OsString)>,
    ) -> Strings {
        if self.changes.is_empty() && !self.cleared {
            return strings(inherited);
        }
        let mut variables = BTreeMap::new();
        if !self.cleared {
            variables.extend(inherited);
        }
        for (key, change) in &self.changes {
            match change {
                Some(value) => variables.insert(key.clone(), value.clone()),
                None => variables.remove(key),
            };
        }
        strings(variables)
    }
}

fn strings(variables: impl IntoIterator<Item = (OsString, OsString)>) -> Strings {
    /// Most environments are smaller.
    const USUAL_BYTES: usize = 4096;
    let mut strings = Strings::with_capacity(USUAL_BYTES);
    for (key, value) in variables {
        strings.push(&[key.as_bytes(), b"=", value.as_bytes()]);
    }
    strings
}

#[cfg(test)]
mod tests {
    use super::*;

    fn resolved(change: impl FnOnce(&mut Environment)) -> Vec<String> {
        let mut environment = Environment::default();
        change(&mut environment);
        let inherited = [("HOME", "/root"), ("LANG", "C")];
        environment
            .resolve(inherited.map(|(key, value)| (key.into(), value.into())))
            .iter()
            .map(|pair| pair.to_str().unwrap().to_owned())
            .collect()
    }

    #[test]
    fn without_changes_all_is_inherited() {
        assert_eq!(resolved(|_| {}), ["HOME=/root", "LANG=C"]);
    }

    #[test]
    fn a_change_wins_over_what_is_inherited() {
        let change = |environment: &mut Environment| {
            environment.set("LANG".as_ref(), "de".as_ref());
            environment.set("A".as_ref(), "=".as_ref());
            environment.remove("HOME".as_ref());
        };
        assert_eq!(resolved(change), ["A==", "LANG=de"]);
    }

    #[test]
    fn the_last_of_set_and_remove_wins() {
        let change = |environment: &mut Environment| {
            environment.set("A".as_ref(), "1".as_ref());
            environment.remove("A".as_ref());
            environment.remove("B".as_ref());
            environment.set("B".as_ref(), "2".as_ref());
        };
        assert_eq!(resolved(change), ["B=2", "HOME=/root", "LANG=C"]);
    }

    #[test]
    fn clearing_forgets_what_is_inherited_and_what_was_set_before() {
        let change = |environment: &mut Environment| {
            environment.set("A".as_ref(), "1".as_ref());
            environment.clear();
            environment.set("B".as_ref(), "2".as_ref());
            environment.set("C".as_ref(), "3".as_ref());
            environment.remove("C".as_ref());
        };
        assert_eq!(resolved(change), ["B=2"]);
    }
}
