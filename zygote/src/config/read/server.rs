//! `[server]`

use super::{Reader, Section, Value};
use crate::config::draft::{Key, List};
use crate::config::{DRAIN_TIMEOUT, IDLE_EXIT_MS_MAX, Quota, Server, check, paths};
use std::time::Duration;
use zyg_protocol::limits::DRAIN_MS_MAX;

/// The bit by which a socket's group may connect.
const GROUP_WRITES: u32 = 0o020;

/// The longest that a drain may leave to leases, as the wire has it.
const DRAIN_MAX: Duration = Duration::from_millis(DRAIN_MS_MAX);

/// What a socket's mode is when only its group is said.
const GROUP_MODE: u32 = 0o660;

impl Reader {
    pub(super) fn server(&mut self, value: Value<'_>) -> Server {
        let Some(table) = self.table("server", value) else { return Server::default() };
        let mut section = Section::new(table);
        let mut server = self.door(&mut section);
        self.bounds(&mut section, &mut server);
        let users = self.list(&mut section, "prefork_for", |name| check::account(name, "user"));
        self.leave(section);
        server.prefork_for = plain_list(users);
        server
    }

    /// Where it listens, and to whom.
    fn door(&mut self, section: &mut Section<'_>) -> Server {
        let socket = self.key(section, "socket", |reader, value| {
            reader.checked("socket", &value, paths::socket)
        });
        let mode = self.key(section, "socket_mode", |reader, value| reader.mode(&value));
        let group = self.key(section, "socket_group", |reader, value| {
            reader.checked("socket_group", &value, |name| check::account(name, "group"))
        });
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
            ..Server::default()
        }
    }

    /// How long it stays, and how much there may be.
    fn bounds(&mut self, section: &mut Section<'_>, server: &mut Server) {
        let idle_ms = self.key(section, "idle_exit_ms", |reader, value| {
            reader.integer("idle_exit_ms", &value, 1..=IDLE_EXIT_MS_MAX)
        });
        let drain = self.key(section, "drain_timeout", |reader, value| {
            let (least, most) = ((Duration::ZERO, "0s"), (DRAIN_MAX, "1d"));
            reader.time_from("drain_timeout", &value, least, most)
        });
        let zygotes_max = self
            .key(section, "zygotes_max", |reader, value| reader.count("zygotes_max", &value, 1));
        let (leases, waiters) =
            section.take("quota").map(|value| self.quota(value)).unwrap_or_default();
        if let (Some(leases), Some(most)) = (leases.get(), zygotes_max.get())
            && leases.value > most.value
        {
            let message =
                format!("`leases` ({}) exceeds `zygotes_max` ({})", leases.value, most.value);
            self.wrong(leases.origin.offset.unwrap_or_default(), message);
        }
        server.idle_exit = plain(idle_ms).map(Duration::from_millis);
        server.drain_timeout = plain(drain).unwrap_or(DRAIN_TIMEOUT);
        server.zygotes_max = plain(zygotes_max);
        server.quota = Quota { leases: plain(leases), waiters: plain(waiters) };
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
