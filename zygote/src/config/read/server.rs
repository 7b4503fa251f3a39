//! `[server]`

use super::{Reader, Section, Value};
use crate::config::draft::{Key, List};
use crate::config::{IDLE_EXIT_MS_MAX, Server, check, paths};
use std::time::Duration;

/// The bit by which a socket's group may connect.
const GROUP_WRITES: u32 = 0o020;

/// What a socket's mode is when only its group is said.
const GROUP_MODE: u32 = 0o660;

impl Reader {
    pub(super) fn server(&mut self, value: Value<'_>) -> Server {
        let Some(table) = self.table("server", value) else { return Server::default() };
        let mut section = Section::new(table);
        let socket = self.key(&mut section, "socket", |reader, value| {
            reader.checked("socket", &value, paths::socket)
        });
        let mode = self.key(&mut section, "socket_mode", |reader, value| reader.mode(&value));
        let group = self.key(&mut section, "socket_group", |reader, value| {
            reader.checked("socket_group", &value, |name| check::account(name, "group"))
        });
        let idle_ms = self.key(&mut section, "idle_exit_ms", |reader, value| {
            reader.integer("idle_exit_ms", &value, 1..=IDLE_EXIT_MS_MAX)
        });
        let users = self.list(&mut section, "prefork_for", |name| check::account(name, "user"));
        self.leave(section);
        if let (Some(mode), Some(group)) = (mode.get(), group.get())
            && mode.value & GROUP_WRITES == 0
        {
            let message = format!(
                "`socket_mode` {:?} keeps out `socket_group` {:?}: a mode such as \"0660\" lets it in",
                format!("{:04o}", mode.value),
                group.value
            );
            self.wrong(mode.origin.offset.unwrap_or_default(), message);
        }
        Server {
            socket: plain(socket),
            socket_mode: plain(mode).or(group.get().map(|_| GROUP_MODE)),
            socket_group: plain(group),
            idle_exit: plain(idle_ms).map(Duration::from_millis),
            prefork_for: plain_list(users),
        }
    }

    fn mode(&mut self, value: &Value<'_>) -> Option<u32> {
        if value.get_ref().is_integer() {
            // Most write 660 and mean 0o660: in quotes there is no doubt.
            self.wrong_type("socket_mode", "a string such as \"0660\"", value);
            return None;
        }
        self.checked("socket_mode", value, check::socket_mode)
    }
}

fn plain<T: Clone>(key: Key<T>) -> Option<T> {
    key.get().map(|said| said.value.clone())
}

fn plain_list<T: Clone>(list: List<T>) -> Vec<T> {
    let items = plain(list).unwrap_or_default();
    items.into_iter().map(|said| said.value).collect()
}
