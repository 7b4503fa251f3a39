//! Paths that are in each other's way.

use super::{Judge, Side, items};
use crate::config::PATHS_BYTES_MAX;
use crate::config::draft::{Draft, List, Origin, Said};
use crate::config::profile::{Etc, Home, HostPath, Location, Place};
use crate::config::read::{Mistake, bind_bytes, host_path_bytes, location_bytes, place_bytes};
use std::path::Path;

/// What [`Etc::Minimal`] makes.
const ETC: &str = "/etc";

/// A path that some key puts into the environment.
struct Spot<'a> {
    key: &'static str,
    /// As a message quotes it.
    text: String,
    at: Location,
    origin: &'a Origin,
}

impl Spot<'_> {
    fn side(&self) -> Side<'_> {
        Side { key: self.key, origin: self.origin }
    }
}

impl Judge<'_> {
    pub(super) fn places(&mut self) {
        let (shown, hidden) = (shown(self.draft), hidden(self.draft));
        for (index, spot) in shown.iter().enumerate() {
            shown[..index].iter().for_each(|other| self.same(spot, other));
            hidden.iter().for_each(|hidden| self.under(hidden, spot));
        }
        self.patterns(&shown, &hidden);
        self.made_by_etc(shown.iter().chain(&hidden));
        self.bytes();
    }

    fn same(&mut self, spot: &Spot<'_>, other: &Spot<'_>) {
        // A home that is writable anyway may be listed as such.
        let harmless = (spot.key, other.key) == ("home", "writable");
        if spot.at != other.at || harmless {
            return;
        }
        if spot.key == other.key {
            let message = format!("`{}` has {} twice", spot.key, spot.text);
            self.clash(spot.side(), other.side(), &message);
        } else {
            self.both(spot, other);
        }
    }

    fn both(&mut self, spot: &Spot<'_>, other: &Spot<'_>) {
        let message = format!(
            "`{}` has {} and `{}` has {}: remove one",
            spot.key, spot.text, other.key, other.text
        );
        self.clash(spot.side(), other.side(), &message);
    }

    fn under(&mut self, hidden: &Spot<'_>, spot: &Spot<'_>) {
        if hidden.at == spot.at {
            self.both(hidden, spot);
        } else if contains(&hidden.at, &spot.at) {
            let message = format!(
                "`hide` has {}, in which `{}` has {}: hide what is beside it",
                hidden.text, spot.key, spot.text
            );
            self.clash(hidden.side(), spot.side(), &message);
        }
    }

    /// `*` in `read_only`.
    fn patterns(&mut self, shown: &[Spot<'_>], hidden: &[Spot<'_>]) {
        let draft = self.draft;
        for said in items(&draft.read_only) {
            let HostPath::Matching { directory, .. } = &said.value else { continue };
            let at = Location::Path(directory.clone());
            let text = pattern_text(&said.value);
            let pattern = Spot { key: "read_only", text, at, origin: &said.origin };
            for spot in shown.iter().filter(|spot| spot.key != "read_only") {
                if matches!(&spot.at, Location::Path(path) if said.value.names(path)) {
                    self.both(&pattern, spot);
                }
            }
            hidden
                .iter()
                .filter(|hidden| contains(&hidden.at, &pattern.at))
                .for_each(|hidden| self.under_pattern(hidden, &pattern));
            if said.value.names(Path::new(ETC)) {
                self.etc_has(&pattern);
            }
        }
    }

    fn under_pattern(&mut self, hidden: &Spot<'_>, pattern: &Spot<'_>) {
        let message = format!(
            "`hide` has {}, in which `read_only` has {}: hide what is beside it",
            hidden.text, pattern.text
        );
        self.clash(hidden.side(), pattern.side(), &message);
    }

    fn made_by_etc<'a>(&mut self, spots: impl Iterator<Item = &'a Spot<'a>>) {
        for spot in spots.filter(|spot| spot.at == Location::Path(ETC.into())) {
            self.etc_has(spot);
        }
    }

    fn etc_has(&mut self, spot: &Spot<'_>) {
        let Some(etc) = self.draft.etc.get().filter(|etc| etc.value == Etc::Minimal) else {
            return;
        };
        let message = format!(
            "`{}` has {}, which `etc = \"minimal\"` makes anew: remove one",
            spot.key, spot.text
        );
        self.clash(spot.side(), Side::new("etc", etc), &message);
    }

    /// All lists of paths travel together.
    fn bytes(&mut self) {
        let draft = self.draft;
        let lists = [
            measured(&draft.writable, place_bytes),
            measured(&draft.read_only, host_path_bytes),
            measured(&draft.hide, location_bytes),
            measured(&draft.bind, bind_bytes),
        ];
        let bytes: usize = lists.iter().flatten().map(|(bytes, _)| bytes).sum();
        let own = lists.iter().flatten().filter_map(|(_, origin)| self.own(origin)).max();
        if let Some(offset) = own.filter(|_| bytes > PATHS_BYTES_MAX) {
            let message = format!(
                "`writable`, `read_only`, `hide` and `bind` have at most {PATHS_BYTES_MAX} bytes \
                 of paths together"
            );
            self.mistakes.push(Mistake { offset, message });
        }
    }
}

/// Bytes of a list, and where it was said.
fn measured<T>(list: &List<T>, bytes: fn(&T) -> usize) -> Option<(usize, &Origin)> {
    let said = list.get()?;
    Some((said.value.iter().map(|item| bytes(&item.value)).sum(), &said.origin))
}

fn pattern_text(path: &HostPath) -> String {
    match path {
        HostPath::Exact(path) => format!("{path:?}"),
        HostPath::Matching { directory, prefix } => {
            format!("{:?}", directory.join(format!("{prefix}*")))
        }
    }
}

/// What is seen at one path: of `writable`, `home`, `read_only` and `bind`.
fn shown(draft: &Draft) -> Vec<Spot<'_>> {
    let spot = |key, at: Location, origin| Spot { key, text: quoted(&at), at, origin };
    let mut shown = Vec::new();
    for said in items(&draft.writable) {
        let at = match &said.value {
            Place::Path(path) => Location::Path(path.clone()),
            Place::Home => Location::InHome("".into()),
            Place::WorkingDirectory => continue,
        };
        shown.push(spot("writable", at, &said.origin));
    }
    if let Some(Said { value: Home::Private(path), origin }) = draft.home.get() {
        shown.push(spot("home", Location::Path(path.clone()), origin));
    }
    for said in items(&draft.read_only) {
        if let HostPath::Exact(path) = &said.value {
            shown.push(spot("read_only", Location::Path(path.clone()), &said.origin));
        }
    }
    for said in items(&draft.bind) {
        shown.push(spot("bind", said.value.target.clone(), &said.origin));
    }
    settle(draft, shown)
}

fn hidden(draft: &Draft) -> Vec<Spot<'_>> {
    let spots = items(&draft.hide).iter().map(|said| {
        let at = said.value.clone();
        Spot { key: "hide", text: quoted(&at), at, origin: &said.origin }
    });
    settle(draft, spots.collect())
}

/// Where the home directory is known, what is in it has a path like any other.
fn settle<'a>(draft: &Draft, mut spots: Vec<Spot<'a>>) -> Vec<Spot<'a>> {
    if let Some(Said { value: Home::Private(home), .. }) = draft.home.get() {
        // The home itself as `~` in `writable` adds nothing to the private one.
        spots.retain(|spot| !(spot.key == "writable" && spot.at == Location::InHome("".into())));
        for spot in &mut spots {
            spot.at = Location::Path(spot.at.with_home(home));
        }
    }
    spots
}

fn quoted(location: &Location) -> String {
    match location {
        Location::Path(path) => format!("{path:?}"),
        Location::InHome(path) if path.as_os_str().is_empty() => "\"~\"".into(),
        Location::InHome(path) => format!("{:?}", Path::new("~").join(path)),
    }
}

/// Whether one location is another or lies below it; not known of different kinds.
fn contains(outer: &Location, inner: &Location) -> bool {
    match (outer, inner) {
        (Location::Path(outer), Location::Path(inner))
        | (Location::InHome(outer), Location::InHome(inner)) => inner.starts_with(outer),
        _ => false,
    }
}
