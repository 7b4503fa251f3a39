//! The environments in which residues are planted: profiles as a configuration file has them.

/// A set of them, by [`setting_bit`].
pub type Settings = u16;

/// An environment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Setting {
    /// The built-in profile.
    Default,
    /// The built-in profile.
    Strict,
    /// The built-in profile.
    Networked,
    /// Uid 0, in a network of its own, with every capability that a profile may keep and without a
    /// filter: all that can be planted is.
    Capable,
    /// The same with kernel ids of its own, which are used again.
    Slice,
    /// The whole tree is writable.
    Overlay,
    /// The filter lets keys and the like through.
    Keys,
}

pub const DEFAULT: Settings = setting_bit(Setting::Default);
pub const STRICT: Settings = setting_bit(Setting::Strict);
pub const NETWORKED: Settings = setting_bit(Setting::Networked);
pub const CAPABLE: Settings = setting_bit(Setting::Capable);
pub const SLICE: Settings = setting_bit(Setting::Slice);
pub const OVERLAY: Settings = setting_bit(Setting::Overlay);
pub const KEYS: Settings = setting_bit(Setting::Keys);
/// Those whose commands hold no capability.
pub const PLAIN: Settings = DEFAULT | STRICT | NETWORKED | OVERLAY | KEYS;
pub const ALL: Settings = PLAIN | CAPABLE | SLICE;
/// Those whose tree starts empty, with a home of its own.
pub const EMPTY: Settings = STRICT | SLICE;

/// Those in which the host's files are seen.
pub const HOSTS: Settings = ALL & !EMPTY;
/// Those whose tree is read-only.
pub const FIXED: Settings = ALL & !OVERLAY;
/// Those with the whole filter.
pub const FILTERED: Settings = PLAIN & !KEYS;
/// Those that let a command make namespaces.
pub const NESTED: Settings = ALL & !STRICT;

pub const fn setting_bit(setting: Setting) -> Settings {
    1 << setting as u16
}

/// Every capability that the configuration does not refuse (zygote/src/config/capabilities.rs).
const CAPABILITIES: &str = r#"["chown", "dac_override", "dac_read_search", "fowner", "fsetid",
    "kill", "setgid", "setuid", "setpcap", "linux_immutable", "net_bind_service", "net_broadcast",
    "net_admin", "net_raw", "ipc_lock", "ipc_owner", "sys_chroot", "sys_pacct", "sys_nice",
    "sys_resource", "sys_tty_config", "lease", "setfcap", "wake_alarm", "block_suspend"]"#;

/// Where leases see a directory of the host, for locks to hang on.
pub const SHARED: &str = "/tmp/shared";

/// Leases held at once: as many as the pool may have, so that no slot stays out of it and each comes
/// around every fourth lease.
pub const AT_ONCE: usize = 4;

impl Setting {
    /// The name of its profile.
    pub fn profile(self) -> &'static str {
        match self {
            Self::Default => "default",
            Self::Strict => "strict",
            Self::Networked => "networked",
            Self::Capable => "capable",
            Self::Slice => "slice",
            Self::Overlay => "overlay",
            Self::Keys => "keys",
        }
    }

    /// The server's configuration, with so many zygotes that are always there and further keys of the
    /// profile. Where a client may bind nothing itself, the profile shows the directory `shared` of the
    /// host.
    pub fn config(self, shared: &str, min: usize, keys: &str) -> String {
        let (profile, own) = (self.profile(), self.keys());
        let mut config =
            format!("[profile.{profile}]\npool = {{ min = {min}, max = {AT_ONCE} }}\n{keys}{own}");
        if !self.takes_binds() {
            config.push_str(&format!(
                "bind = [{{ source = {shared:?}, target = {SHARED:?}, read_only = true }}]\n"
            ));
        }
        config
    }

    /// Whether a client may ask for binds.
    pub fn takes_binds(self) -> bool {
        setting_bit(self) & EMPTY == 0
    }

    fn keys(self) -> String {
        let capable = "user = { uid = 0, gid = 0 }\nnetwork = \"own\"\nseccomp = \"off\"\n\
                       nesting = true\n";
        match self {
            Self::Default | Self::Strict | Self::Networked => String::new(),
            Self::Capable => format!("{capable}capabilities = {CAPABILITIES}\n"),
            Self::Slice => {
                format!("extends = \"strict\"\n{capable}capabilities = {CAPABILITIES}\n")
            }
            Self::Overlay => "root_overlay = true\n".into(),
            Self::Keys => {
                let allow = r#"["add_key", "keyctl", "request_key", "userfaultfd",
                    "io_uring_setup", "io_uring_enter", "io_uring_register", "fanotify_init"]"#;
                format!("seccomp = {{ allow = {} }}\n", allow.replace('\n', ""))
            }
        }
    }

    /// Whether its network is none of the host's.
    pub fn has_network(self) -> bool {
        self != Self::Networked
    }

    /// Where a command's home directory is, if not where the host has it.
    pub fn own_home(self) -> Option<&'static str> {
        (setting_bit(self) & EMPTY != 0).then_some("/home/user")
    }
}
