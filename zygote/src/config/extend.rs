//! `extends`: each profile filled in from those that it extends, directly and indirectly.
//!
//! A built-in profile that a file names extends the built-in one of its name. What is left unsaid by
//! all of them is as in the built-in default.

use super::draft::{Draft, Slot};
use super::nearest::nearest;
use super::read::{self, Mistake};
use super::{BUILT_IN, DEFAULT_PROFILE, EXTENDS_MAX, Server, contradictions};
use std::collections::{BTreeMap, BTreeSet};

/// All profiles, those that are built in among them, each without gaps if there is no mistake in what
/// it extends. Complains about that, and about what is contradictory in the result.
pub(super) fn whole(
    file: BTreeMap<String, Draft>,
    server: &Server,
    mistakes: &mut Vec<Mistake>,
) -> BTreeMap<String, Draft> {
    let (_, built_in, wrong) = read::text(BUILT_IN, true);
    debug_assert!(wrong.is_empty(), "{wrong:?}");
    let family = Family { file, built_in };
    let mut whole = BTreeMap::new();
    for name in family.names() {
        if let Err(mistake) = family.check(name) {
            mistakes.extend(mistake);
        }
        let draft = match family.layers(name) {
            Some(layers) => layers
                .into_iter()
                .rev()
                .fold(Draft::default(), |base, layer| layer.clone().over(base)),
            // What it says itself can be judged all the same.
            None => family.file.get(name).cloned().unwrap_or_default(),
        };
        contradictions::find(name, &draft, server, mistakes);
        whole.insert(name.to_owned(), draft);
    }
    whole
}

struct Family {
    file: BTreeMap<String, Draft>,
    built_in: BTreeMap<String, Draft>,
}

impl Family {
    fn names(&self) -> BTreeSet<&str> {
        self.file.keys().chain(self.built_in.keys()).map(String::as_str).collect()
    }

    /// Which profile this one extends, and where that is said.
    fn base(&self, name: &str) -> Option<(&str, usize)> {
        let own = self.built_in.get(name).or_else(|| self.file.get(name))?;
        let said = own.extends.get()?;
        Some((&said.value, said.origin.offset.unwrap_or_default()))
    }

    /// What to lay over each other, the uppermost first; `None` if it leads nowhere.
    fn layers(&self, name: &str) -> Option<Vec<&Draft>> {
        let mut layers = Vec::new();
        let mut current = name;
        for _ in 0..=EXTENDS_MAX {
            let (file, built_in) = (self.file.get(current), self.built_in.get(current));
            let own = built_in.or(file)?;
            layers.extend(file);
            layers.extend(built_in);
            if matches!(own.extends, Slot::Wrong) {
                return None;
            }
            let Some((base, _)) = self.base(current) else {
                layers.extend(self.built_in.get(DEFAULT_PROFILE));
                return Some(layers);
            };
            current = base;
        }
        None
    }

    /// Complains about `extends` in the file's profile of this name.
    fn check(&self, name: &str) -> Result<(), Option<Mistake>> {
        let said = self.file.get(name).and_then(|draft| draft.extends.get()).ok_or(None)?;
        let base = said.value.as_str();
        let offset = said.origin.offset.unwrap_or_default();
        let wrong = |message| Err(Some(Mistake { offset, message }));
        if self.built_in.contains_key(name) {
            return wrong(format!(
                "`{name}` extends the built-in `{name}` already: a profile that extends another \
                 one needs a name of its own"
            ));
        }
        if base == name {
            return wrong(format!("`{name}` cannot extend itself"));
        }
        if !self.file.contains_key(base) && !self.built_in.contains_key(base) {
            let names: Vec<&str> = self.names().into_iter().collect();
            let hint = match nearest(base, &names) {
                Some(near) => format!("did you mean `{near}`?"),
                None => format!("there are `{}`", names.join("`, `")),
            };
            return wrong(format!("there is no profile `{}`; {hint}", base.escape_debug()));
        }
        self.check_end(name, offset)
    }

    /// A circle is told once, where its first `extends` is in the text.
    fn check_end(&self, name: &str, offset: usize) -> Result<(), Option<Mistake>> {
        let wrong = |message| Err(Some(Mistake { offset, message }));
        let mut way = vec![name];
        let mut first = offset;
        let mut current = name;
        while let Some((base, said)) = self.base(current) {
            first = first.min(said);
            way.push(base);
            if base == name {
                let told = first == offset;
                let message = format!("`extends` leads in a circle: {}", way.join(" → "));
                return if told { wrong(message) } else { Err(None) };
            }
            if way.len() > EXTENDS_MAX + 1 {
                let circle = way[1..way.len() - 1].contains(&base);
                let message = format!("`extends` leads through more than {EXTENDS_MAX} profiles");
                return if circle { Err(None) } else { wrong(message) };
            }
            current = base;
        }
        Ok(())
    }
}
