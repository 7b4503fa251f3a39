//! The lists of paths in `[profile.NAME]`.

use super::{Reader, Section, Value};
use crate::config::draft::{List, Slot};
use crate::config::{Bind, HostPath, Location, PATHS_BYTES_MAX, PATHS_MAX, Place, paths};

impl Reader {
    pub(super) fn writable(&mut self, section: &mut Section<'_>) -> List<Place> {
        let places = self.list(section, "writable", paths::writable);
        self.bounded("writable", places, place_bytes)
    }

    pub(super) fn read_only(&mut self, section: &mut Section<'_>) -> List<HostPath> {
        let shown = self.list(section, "read_only", paths::read_only);
        self.bounded("read_only", shown, host_path_bytes)
    }

    pub(super) fn hide(&mut self, section: &mut Section<'_>) -> List<Location> {
        let hidden = self.list(section, "hide", paths::hidden);
        self.bounded("hide", hidden, location_bytes)
    }

    pub(super) fn bind(&mut self, section: &mut Section<'_>) -> List<Bind> {
        // Two of the same target are found once it is known where `~` is.
        let binds = self.items(section, "bind", "an array", Self::one_bind, |_, _| false);
        self.bounded("bind", binds, bind_bytes)
    }

    fn one_bind(&mut self, value: &Value<'_>) -> Option<Bind> {
        if value.get_ref().is_str() {
            let (source, target) = self.checked("bind[]", value, paths::bind)?;
            return Some(Bind { source, target, read_only: false });
        }
        let Some(table) = value.get_ref().as_table() else {
            self.wrong_type("bind[]", "\"SRC[:DST]\" or { source, target, read_only }", value);
            return None;
        };
        let mut section = Section::new(table.clone());
        let (source, target) = (section.take("source"), section.take("target"));
        let read_only = section.take("read_only");
        self.leave(section);
        let Some(source) = source else {
            self.wrong(value.span().start, "a bind needs a `source`".into());
            return None;
        };
        let seen_at = target.as_ref().unwrap_or(&source);
        let target = self.checked("target", seen_at, |text| paths::bound(text, "bind target"));
        let source = self.checked("source", &source, |text| paths::bound(text, "bind source"));
        let read_only = match read_only {
            Some(value) => self.boolean("read_only", &value)?,
            None => false,
        };
        Some(Bind { source: source?, target: target?, read_only })
    }

    fn bounded<T>(&mut self, key: &str, list: List<T>, bytes: fn(&T) -> usize) -> List<T> {
        let Slot::Set(paths) = &list else { return list };
        let total: usize = paths.value.iter().map(|path| bytes(&path.value)).sum();
        let message = if paths.value.len() > PATHS_MAX {
            format!("`{key}` has at most {PATHS_MAX} paths")
        } else if total > PATHS_BYTES_MAX {
            format!("`{key}` has at most {PATHS_BYTES_MAX} bytes of paths")
        } else {
            return list;
        };
        self.wrong(paths.origin.offset.unwrap_or_default(), message);
        Slot::Wrong
    }
}

/// Bytes that a place takes in a message, about.
pub(in crate::config) fn place_bytes(place: &Place) -> usize {
    match place {
        Place::Path(path) => path.as_os_str().len(),
        Place::Home | Place::WorkingDirectory => 1,
    }
}

pub(in crate::config) fn host_path_bytes(path: &HostPath) -> usize {
    match path {
        HostPath::Exact(path) => path.as_os_str().len(),
        HostPath::Matching { directory, prefix } => directory.as_os_str().len() + prefix.len(),
    }
}

pub(in crate::config) fn location_bytes(location: &Location) -> usize {
    match location {
        Location::Path(path) | Location::InHome(path) => path.as_os_str().len() + 1,
    }
}

pub(in crate::config) fn bind_bytes(bind: &Bind) -> usize {
    location_bytes(&bind.source) + location_bytes(&bind.target)
}
