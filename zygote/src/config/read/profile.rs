//! `[profile.NAME]`

use super::{Reader, Section, Value};
use crate::config::draft::{Draft, Said};
use crate::config::{
    Etc, ID_MAX, Identity, NOBODY, Network, Principal, Recycle, Seccomp, User, capabilities, check,
    paths,
};
use std::collections::BTreeMap;

impl Reader {
    pub(super) fn profile(&mut self, name: &str, value: Value<'_>) -> Draft {
        let Some(table) = self.table(&format!("profile.{name}"), value) else {
            return Draft::default();
        };
        let mut section = Section::new(table);
        let extends = self.key(&mut section, "extends", |reader, value| {
            reader.checked("extends", &value, |name| Ok(name.to_owned()))
        });
        let mut draft = Draft { extends, ..Draft::default() };
        self.tree(&mut section, &mut draft);
        self.surroundings(&mut section, &mut draft);
        self.rights(&mut section, &mut draft);
        if let Some(value) = section.take("limits") {
            draft.limits = self.limits(value);
        }
        if let Some(value) = section.take("quota") {
            (draft.quota_leases, draft.quota_waiters) = self.quota(value);
        }
        if let Some(value) = section.take("pool") {
            self.pool(value, &mut draft);
        }
        self.leave(section);
        draft
    }

    /// What of the file system is seen.
    fn tree(&mut self, section: &mut Section<'_>, draft: &mut Draft) {
        draft.root =
            self.key(section, "root", |reader, value| reader.checked("root", &value, paths::root));
        draft.root_overlay = self
            .key(section, "root_overlay", |reader, value| reader.boolean("root_overlay", &value));
        draft.writable = self.writable(section);
        draft.read_only = self.read_only(section);
        draft.hide = self.hide(section);
        draft.bind = self.bind(section);
        draft.etc = self.key(section, "etc", |reader, value| {
            reader.choice("etc", &value, [("host", Etc::Host), ("minimal", Etc::Minimal)])
        });
        draft.home =
            self.key(section, "home", |reader, value| reader.checked("home", &value, paths::home));
    }

    /// What else a command finds.
    fn surroundings(&mut self, section: &mut Section<'_>, draft: &mut Draft) {
        draft.network = self.key(section, "network", |reader, value| {
            let choices =
                [("loopback", Network::Loopback), ("own", Network::Own), ("host", Network::Host)];
            reader.choice("network", &value, choices)
        });
        draft.recycle = self.key(section, "recycle", |reader, value| {
            let choices =
                [("whole", Recycle::Whole), ("parts", Recycle::Parts), ("none", Recycle::None)];
            reader.choice("recycle", &value, choices)
        });
        if let Some(value) = section.take("env") {
            draft.env = self.env(value);
        }
        draft.hostname = self.key(section, "hostname", |reader, value| {
            reader.checked("hostname", &value, check::hostname)
        });
    }

    /// What a command may do, and who may ask.
    fn rights(&mut self, section: &mut Section<'_>, draft: &mut Draft) {
        draft.user = self.key(section, "user", Self::user);
        draft.capabilities = self.list(section, "capabilities", capabilities::number);
        draft.seccomp = self.key(section, "seccomp", Self::seccomp);
        draft.nesting =
            self.key(section, "nesting", |reader, value| reader.boolean("nesting", &value));
        draft.identity = self.key(section, "identity", |reader, value| {
            let choices = [("client", Identity::Client), ("slice", Identity::Slice)];
            reader.choice("identity", &value, choices)
        });
        let eq = Principal::eq;
        draft.allow_uids = self.items(
            section,
            "allow_uids",
            "an array of numbers and names",
            |reader, value| reader.principal("allow_uids[]", "user", value),
            eq,
        );
        draft.allow_gids = self.items(
            section,
            "allow_gids",
            "an array of numbers and names",
            |reader, value| reader.principal("allow_gids[]", "group", value),
            eq,
        );
    }

    fn env(&mut self, value: Value<'_>) -> BTreeMap<String, Said<String>> {
        let mut env = BTreeMap::new();
        for (name, value) in self.table("env", value).unwrap_or_default() {
            if let Err(message) = check::variable(name.get_ref()) {
                self.wrong(name.span().start, message);
            }
            let origin = self.origin(&value);
            if let Some(text) =
                self.checked(&format!("env.{}", name.get_ref()), &value, check::variable_value)
            {
                env.insert(name.into_inner().into_owned(), Said { value: text, origin });
            }
        }
        env
    }

    fn user(&mut self, value: Value<'_>) -> Option<User> {
        if value.get_ref().is_str() {
            return self.choice("user", &value, [("client", User::Client)]);
        }
        if !value.get_ref().is_table() {
            self.wrong_type("user", "\"client\" or { uid = …, gid = … }", &value);
            return None;
        }
        let offset = value.span().start;
        let mut section = Section::new(self.table("user", value)?);
        let (uid, gid) = (section.take("uid"), section.take("gid"));
        self.leave(section);
        let (Some(uid), Some(gid)) = (uid, gid) else {
            self.wrong(offset, "`user` needs both `uid` and `gid`".into());
            return None;
        };
        let (uid, gid) = (self.seen_id("uid", &uid), self.seen_id("gid", &gid));
        Some(User::Fixed { uid: uid?, gid: gid? })
    }

    /// A uid or gid to be seen as.
    fn seen_id(&mut self, key: &str, value: &Value<'_>) -> Option<u32> {
        let id = self.id(key, value)?;
        if id == NOBODY {
            let message =
                format!("`{key}` cannot be {NOBODY}: as that the files of strangers are seen");
            self.wrong(value.span().start, message);
            return None;
        }
        Some(id)
    }

    fn id(&mut self, key: &str, value: &Value<'_>) -> Option<u32> {
        let id = self.integer(key, value, 0..=u64::from(ID_MAX))?;
        u32::try_from(id).ok()
    }

    fn principal(&mut self, key: &str, kind: &str, value: &Value<'_>) -> Option<Principal> {
        if value.get_ref().is_integer() {
            return self.id(key, value).map(Principal::Id);
        }
        if !value.get_ref().is_str() {
            self.wrong_type(key, "a number or a name", value);
            return None;
        }
        self.checked(key, value, |name| check::principal(name, kind)).map(Principal::Name)
    }

    fn seccomp(&mut self, value: Value<'_>) -> Option<Seccomp> {
        if value.get_ref().is_str() {
            let choices = [("default", false), ("off", true)];
            let off = self.choice("seccomp", &value, choices)?;
            return Some(if off { Seccomp::Off } else { Seccomp::Default });
        }
        if !value.get_ref().is_table() {
            self.wrong_type(
                "seccomp",
                "\"default\", \"off\" or { allow = […], deny = […] }",
                &value,
            );
            return None;
        }
        let mut section = Section::new(self.table("seccomp", value)?);
        let allow = self.list(&mut section, "allow", check::system_call);
        let deny = self.list(&mut section, "deny", check::system_call);
        self.leave(section);
        let mistakes = self.mistakes.len();
        let allowed = allow.get().map_or(&[][..], |list| &list.value);
        let denied = deny.get().map_or(&[][..], |list| &list.value);
        for call in denied {
            if allowed.iter().any(|allowed| allowed.value == call.value) {
                let message = format!("`deny` has {:?} and `allow` has it: remove one", call.value);
                self.wrong(call.origin.offset.unwrap_or_default(), message);
            }
        }
        let names = |calls: &[Said<String>]| {
            calls.iter().map(|call| call.value.clone()).collect::<Vec<_>>()
        };
        let changed = Seccomp::Changed { allow: names(allowed), deny: names(denied) };
        (self.mistakes.len() == mistakes).then_some(changed)
    }
}
