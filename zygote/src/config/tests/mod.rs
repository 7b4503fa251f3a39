mod contradictions;
mod extends;
mod values;

use super::*;

fn parsed(text: &str) -> Config {
    Config::parse(text, "zyg.toml").unwrap()
}

fn refused(text: &str) -> String {
    Config::parse(text, "zyg.toml").unwrap_err().to_string()
}

/// A pool that says nothing of times.
fn pool(min: u32, max: u32, waiters_max: u32) -> PoolSize {
    PoolSize { min, max, waiters_max, idle: None, quiet: None, sleep: None, learn: true }
}

#[test]
fn what_is_not_said_is_as_without_a_file() {
    for text in ["", "[server]\n", "[profile.default]\n", "[profile.default.pool]\n"] {
        assert_eq!(parsed(text), Config::default(), "{text}");
    }
    let profile = &Config::default().profiles[DEFAULT_PROFILE];
    assert_eq!(profile.pool, pool(4, 64, 4096));
    assert_eq!(profile.writable.len(), 6);
    let server = Config::default().server;
    assert_eq!((server.drain_timeout, server.zygotes_max), (Duration::from_secs(10), None));
    assert_eq!(server.quota, Quota::default());
}

#[test]
fn the_built_in_profile_is_what_its_keys_would_say() {
    let text = r#"
        [profile.default]
        writable = ["/tmp", "/var/tmp", "/dev/shm", "/run", "~", "."]
        [profile.default.pool]
        min = 4
        max = 64
        waiters_max = 4096
    "#;
    assert_eq!(parsed(text), Config::default());
}

/// A file with every key in it.
const EVERY_KEY: &str = r#"
[server]
socket = "/run/zyg/zyg.sock"
socket_mode = "0620"
socket_group = "zyg"
idle_exit_ms = 30_000
drain_timeout = "45s"
zygotes_max = 500
quota = { leases = 100, waiters = 1000 }
prefork_for = ["runner", "DOMAIN\\build user"]

[profile.web-1_x]
root = "/srv//debian/."
root_overlay = true
writable = ["/srv//data/./", "~"]
read_only = ["/opt/tools/", "/opt//lib*", "/opt/x/*", "/dev/shm/fixed"]
hide = ["/root", "~/.ssh//", "/sys"]
bind = ["/a", "/b/:/c", "~/d", { source = "~/e", target = "/f", read_only = true }]
etc = "host"
home = "client"
network = "own"
recycle = "none"
env = { LANG = "C.UTF-8", "1 odd.name" = "" }
hostname = "web-1.example"
user = { uid = 0, gid = 4294967294 }
capabilities = ["chown", "NET_BIND_SERVICE", "setfcap"]
seccomp = { allow = ["keyctl"], deny = ["clone3"] }
nesting = true
identity = "client"
allow_uids = [0, "runner"]
allow_gids = ["ci", 4294967294]
quota = { leases = 16, waiters = 1 }
pool = { min = 0, max = 0x10, waiters_max = 1, idle = "60s", quiet = "200ms", sleep = "10m", learn = false }
[profile.web-1_x.limits]
nofile = 1024
nproc = "unlimited"
core = 0
cpu = "2m"
fsize = "1T"
memlock = "64K"
msgqueue = "100K"
sigpending = 500
stack = "8M"
as = "4G"
data = "unlimited"
time = "1500ms"
tmp_size = 4096
tmp_inodes = 1
"#;

#[test]
fn every_key_is_read() {
    let config = parsed(EVERY_KEY);
    assert_eq!(config.server.socket.as_deref(), Some(Path::new("/run/zyg/zyg.sock")));
    assert_eq!(config.server.idle_exit, Some(Duration::from_secs(30)));
    assert_eq!(config.server.prefork_for, ["runner", r"DOMAIN\build user"]);
    assert_eq!(config.server.socket_mode, Some(0o620));
    assert_eq!(config.server.drain_timeout, Duration::from_secs(45));
    assert_eq!(config.server.zygotes_max, Some(500));
    assert_eq!(config.server.quota, Quota { leases: Some(100), waiters: Some(1000) });
    assert_eq!(config.server.socket_group.as_deref(), Some("zyg"));
    assert_eq!(config.profiles["web-1_x"], web_1_x());
    assert_eq!(config.profiles[DEFAULT_PROFILE], Profile::default());
}

fn web_1_x() -> Profile {
    let path = |path: &str| Location::Path(path.into());
    let home = |path: &str| Location::InHome(path.into());
    let bind = |source, target, read_only| Bind { source, target, read_only };
    let matching = |directory: &str, prefix: &str| HostPath::Matching {
        directory: directory.into(),
        prefix: prefix.into(),
    };
    let minute = 60;
    Profile {
        root: Root::Directory("/srv/debian".into()),
        root_overlay: true,
        writable: vec![Place::Path("/srv/data".into()), Place::Home],
        read_only: vec![
            HostPath::Exact("/opt/tools".into()),
            matching("/opt", "lib"),
            matching("/opt/x", ""),
            HostPath::Exact("/dev/shm/fixed".into()),
        ],
        hide: vec![path("/root"), home(".ssh"), path("/sys")],
        bind: vec![
            bind(path("/a"), path("/a"), false),
            bind(path("/b"), path("/c"), false),
            bind(home("d"), home("d"), false),
            bind(home("e"), path("/f"), true),
        ],
        etc: Etc::Host,
        home: Home::Client,
        network: Network::Own,
        recycle: Recycle::None,
        env: BTreeMap::from([
            ("1 odd.name".into(), String::new()),
            ("LANG".into(), "C.UTF-8".into()),
        ]),
        hostname: Some("web-1.example".into()),
        user: User::Fixed { uid: 0, gid: ID_MAX },
        capabilities: 1 | 1 << 10 | 1 << 12 | 1 << 31,
        seccomp: Seccomp::Changed { allow: vec!["keyctl".into()], deny: vec!["clone3".into()] },
        nesting: true,
        identity: Identity::Client,
        limits: Limits {
            nofile: Some(1024),
            nproc: Some(Limits::UNLIMITED),
            core: Some(0),
            cpu: Some(2 * minute),
            fsize: Some(1 << 40),
            memlock: Some(1 << 16),
            msgqueue: Some(100 << 10),
            sigpending: Some(500),
            stack: Some(8 << 20),
            address_space: Some(4 << 30),
            data: Some(Limits::UNLIMITED),
            time: Some(Duration::from_millis(1500)),
            tmp_size: Some(4096),
            tmp_inodes: Some(1),
        },
        allow_uids: vec![Principal::Id(0), Principal::Name("runner".into())],
        allow_gids: vec![Principal::Name("ci".into()), Principal::Id(ID_MAX)],
        quota: Quota { leases: Some(16), waiters: Some(1) },
        pool: PoolSize {
            idle: Some(Duration::from_secs(60)),
            quiet: Some(Duration::from_millis(200)),
            sleep: Some(Duration::from_secs(600)),
            learn: false,
            ..pool(0, 16, 1)
        },
    }
}

#[test]
fn a_low_max_lowers_a_min_that_is_not_set() {
    let pool = parsed("profile.default.pool.max = 2").profiles[DEFAULT_PROFILE].pool;
    assert_eq!((pool.min, pool.max), (2, 2));
}

#[test]
fn each_mistake_is_refused_with_its_place_and_what_would_be_right() {
    let long_name = "p".repeat(65);
    let long_host = format!("{}.b", "a".repeat(63));
    let long_part = "a".repeat(64);
    let long_socket = format!("/{}", "s".repeat(107));
    let long_path = format!("/{}", "w".repeat(4096));
    let table: &[(&str, &str)] = &[
        // Not TOML.
        ("[server", "1:8: unclosed table, expected `]`"),
        ("a = 1\na = 2", "2:1: duplicate key"),
        // Unknown keys.
        ("[servr]", "1:2: unknown key `servr`; did you mean `server`?"),
        ("profiles = {}", "1:1: unknown key `profiles`; did you mean `profile`?"),
        ("[profile.x]\nwriteable = []", "2:1: unknown key `writeable`; did you mean `writable`?"),
        ("[profile.x]\nhost = ''", "2:1: unknown key `host`; did you mean `hostname`?"),
        ("[profile.x.pol]", "1:12: unknown key `pol`; did you mean `pool`?"),
        (
            "[profile.x.pool]\nwaiters = 1",
            "2:1: unknown key `waiters`; did you mean `waiters_max`?",
        ),
        ("[server]\nidle_exit = 1", "2:1: unknown key `idle_exit`; did you mean `idle_exit_ms`?"),
        (
            "[profile.x]\ncolour = 1",
            "2:1: unknown key `colour`; known here: `extends`, `root`, `root_overlay`, `writable`, \
             `read_only`, `hide`, `bind`, `etc`, `home`, `network`, `recycle`, `env`, `hostname`, `user`, \
             `capabilities`, `seccomp`, `nesting`, `identity`, `allow_uids`, `allow_gids`, \
             `limits`, `quota`, `pool`",
        ),
        ("\"a\\nb\" = 1", "1:1: unknown key `a\\nb`; known here: `server`, `profile`"),
        // Wrong types.
        ("server = 1", "1:10: `server` must be a table, not an integer"),
        ("profile = []", "1:11: `profile` must be a table, not an array"),
        ("profile.x = 'y'", "1:13: `profile.x` must be a table, not a string"),
        ("[[profile.x]]", "1:1: `profile.x` must be a table, not an array"),
        ("profile.x.pool = true", "1:18: `pool` must be a table, not a boolean"),
        ("server.socket = 1979-05-27", "1:17: `socket` must be a string, not a datetime"),
        ("profile.x.pool.min = '4'", "1:22: `min` must be an integer, not a string"),
        ("profile.x.pool.max = 1.5", "1:22: `max` must be an integer, not a float"),
        ("profile.x.writable = '/a'", "1:22: `writable` must be an array of strings, not a string"),
        ("profile.x.writable = ['/a', 1]", "1:29: `writable[]` must be a string, not an integer"),
        // Numbers.
        ("profile.x.pool.max = 0", "1:22: `max` must be from 1 to 100000, not 0"),
        ("profile.x.pool.max = 100_001", "1:22: `max` must be from 1 to 100000, not 100001"),
        ("profile.x.pool.min = -1", "1:22: `min` must be from 0 to 100000, not -1"),
        ("profile.x.pool.waiters_max = 0", "1:30: `waiters_max` must be from 1 to 100000, not 0"),
        (
            "profile.x.pool.min = 99999999999999999999999999",
            "1:22: `min` must be from 0 to 100000, not 99999999999999999999999999",
        ),
        ("[server]\ndrain = '1s'", "2:1: unknown key `drain`; did you mean `drain_timeout`?"),
        ("server.zygote_max = 1", "1:8: unknown key `zygote_max`; did you mean `zygotes_max`?"),
        ("server.quota.lease = 1", "1:14: unknown key `lease`; did you mean `leases`?"),
        ("profile.x.pool.idel = ''", "1:16: unknown key `idel`; did you mean `idle`?"),
        ("server.quota = 3", "1:16: `quota` must be a table, not an integer"),
        ("server.quota.waiters = 0", "1:24: `waiters` must be from 1 to 100000, not 0"),
        ("server.zygotes_max = 0", "1:22: `zygotes_max` must be from 1 to 100000, not 0"),
        (
            "server.drain_timeout = 10",
            "1:24: `drain_timeout` must be a time such as \"10m\", not an integer",
        ),
        (
            "server.drain_timeout = '10'",
            "1:24: \"10\" is no time: a number with ms, s, m, h or d, as in 1h30m",
        ),
        ("server.drain_timeout = '25h'", "1:24: `drain_timeout` must be from \"0s\" to \"1d\""),
        ("profile.x.pool.quiet = '61s'", "1:24: `quiet` must be from \"0s\" to \"60s\""),
        ("profile.x.pool.idle = '0s'", "1:23: `idle` must be from \"1ms\" to \"365d\""),
        ("profile.x.pool.sleep = '366d'", "1:24: `sleep` must be from \"1ms\" to \"365d\""),
        ("server.idle_exit_ms = 0", "1:23: `idle_exit_ms` must be from 1 to 31536000000, not 0"),
        ("profile.x.pool = { max = 4, min = 8 }", "1:35: `min` (8) exceeds `max` (4)"),
        ("profile.x.pool.min = 65", "1:22: `min` (65) exceeds `max` (64, unless it is set)"),
        // Paths.
        (
            "profile.x.writable = ['tmp']",
            "1:23: a writable path is absolute, \"~\" or \".\", unlike \"tmp\"",
        ),
        (
            "profile.x.writable = ['~/.cache']",
            "1:23: a writable path is absolute, \"~\" or \".\", unlike \"~/.cache\"",
        ),
        (
            "profile.x.writable = ['']",
            "1:23: a writable path is absolute, \"~\" or \".\", unlike \"\"",
        ),
        (
            "profile.x.writable = ['/']",
            "1:23: \"/\" as a whole cannot be writable: name the directories, or say \
             root_overlay = true",
        ),
        (
            "profile.x.writable = ['//.']",
            "1:23: \"/\" as a whole cannot be writable: name the directories, or say \
             root_overlay = true",
        ),
        (
            "profile.x.writable = ['/tmp/../etc']",
            "1:23: a path has no \"..\", unlike \"/tmp/../etc\"",
        ),
        (
            "profile.x.writable = [\"/a\\u0000b\"]",
            "1:23: a path has no zero byte, unlike \"/a\\0b\"",
        ),
        ("profile.x.writable = ['/tmp', '/tmp/']", "1:31: `writable` has \"/tmp/\" twice"),
        (
            &format!("profile.x.writable = ['{long_path}']"),
            "1:23: a path has at most 4096 bytes, not 4097",
        ),
        ("server.socket = 'zyg.sock'", "1:17: a socket's path is absolute, unlike \"zyg.sock\""),
        (
            "server.socket = '/run/zyg/'",
            "1:17: \"/run/zyg/\" is a directory, not a place for a socket",
        ),
        (
            &format!("server.socket = '{long_socket}'"),
            "1:17: a socket's path has at most 107 bytes, not 108",
        ),
        // Names.
        ("[profile.'']", "1:10: a profile's name must not be empty"),
        (&format!("[profile.{long_name}]"), "1:10: a profile's name has at most 64 bytes, not 65"),
        ("[profile.'a b']", "1:10: a profile's name consists of A-Z a-z 0-9 . _ -, unlike \"a b\""),
        ("[profile.'a/b']", "1:10: a profile's name consists of A-Z a-z 0-9 . _ -, unlike \"a/b\""),
        ("[profile.ünter]", "1:10: invalid unquoted key, expected letters, numbers, `-`, `_`"),
        (
            "[profile.'..']",
            "1:10: a profile's name starts with a letter, a digit or _, unlike \"..\"",
        ),
        (
            "profile.x.hostname = ''",
            "1:22: \"\" is no host name: parts of A-Z a-z 0-9 and inner -, separated by dots",
        ),
        (
            "profile.x.hostname = 'a_b'",
            "1:22: \"a_b\" is no host name: parts of A-Z a-z 0-9 and inner -, separated by dots",
        ),
        (
            "profile.x.hostname = 'a..b'",
            "1:22: \"a..b\" is no host name: parts of A-Z a-z 0-9 and inner -, separated by dots",
        ),
        (
            "profile.x.hostname = '-a'",
            "1:22: \"-a\" is no host name: parts of A-Z a-z 0-9 and inner -, separated by dots",
        ),
        (
            &format!("profile.x.hostname = '{long_part}'"),
            &format!(
                "1:22: {long_part:?} is no host name: parts of A-Z a-z 0-9 and inner -, separated by dots"
            ),
        ),
        (
            &format!("profile.x.hostname = '{long_host}'"),
            "1:22: a host name has at most 64 bytes, not 65",
        ),
        ("server.prefork_for = ['']", "1:23: \"\" is no user name"),
        ("server.prefork_for = ['a:b']", "1:23: \"a:b\" is no user name"),
        ("server.prefork_for = ['a', 'a']", "1:28: `prefork_for` has \"a\" twice"),
    ];
    for (text, want) in table {
        assert_eq!(refused(text), format!("zyg.toml:{want}"), "{text}");
    }
}

#[test]
fn all_mistakes_are_told_in_the_order_of_the_text() {
    let text = "[profile.b]\nhostname = 1\n[server]\nsock = ''\n[profile.a.pool]\nmin = 'x'\n";
    let want = "\
        zyg.toml:2:12: `hostname` must be a string, not an integer\n\
        zyg.toml:4:1: unknown key `sock`; did you mean `socket`?\n\
        zyg.toml:6:7: `min` must be an integer, not a string";
    assert_eq!(refused(text), want);
}

#[test]
fn no_text_does_worse_than_being_refused() {
    for wrong in ["", "[", "-1", "\u{fc}"] {
        for (place, letter) in EVERY_KEY.char_indices() {
            let (before, after) = (&EVERY_KEY[..place], &EVERY_KEY[place + letter.len_utf8()..]);
            if let Err(error) = Config::parse(&format!("{before}{wrong}{after}"), "f") {
                assert!(matches!(error, ConfigError::Invalid { problems } if !problems.is_empty()));
            }
        }
    }
}

#[test]
fn columns_count_characters() {
    let text = "profile = { x = { hostname = 'ü', pol = {} } }";
    let ConfigError::Invalid { problems } = Config::parse(text, "f").unwrap_err() else {
        panic!("it can be read");
    };
    let places: Vec<_> = problems.iter().map(|problem| (problem.line, problem.column)).collect();
    assert_eq!(places, [(1, 30), (1, 35)]);
}

#[test]
fn what_a_template_is_told_about_writable_paths_fits_into_a_message() {
    let list = |paths: usize, bytes: usize| {
        let path = |index| format!("'/{index:0>width$}'", width = bytes - 1);
        format!("profile.x.writable = [{}]", (0..paths).map(path).collect::<Vec<_>>().join(","))
    };
    parsed(&list(64, 512));
    assert_eq!(refused(&list(65, 8)), "zyg.toml:1:22: `writable` has at most 64 paths");
    let want = "zyg.toml:1:22: `writable` has at most 32768 bytes of paths";
    assert_eq!(refused(&list(64, 513)), want);
}

#[test]
fn a_file_is_named_as_it_was_given() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("zyg.toml");
    let error = Config::load(&path).unwrap_err();
    let want = format!("failed to read {}: No such file", path.display());
    assert!(error.to_string().starts_with(&want), "{error}");
    std::fs::write(&path, "x = 1").unwrap();
    let error = Config::load(&path).unwrap_err();
    assert!(error.to_string().starts_with(&format!("{}:1:1: ", path.display())), "{error}");
    std::fs::write(&path, b"\xff").unwrap();
    assert!(matches!(Config::load(&path), Err(ConfigError::Read { .. })));
    std::fs::write(&path, " ".repeat(1024 * 1024 + 1)).unwrap();
    assert!(matches!(Config::load(&path), Err(ConfigError::TooLong { .. })));
    std::fs::write(&path, " ".repeat(1024 * 1024)).unwrap();
    assert_eq!(Config::load(&path).unwrap(), Config::default());
}
