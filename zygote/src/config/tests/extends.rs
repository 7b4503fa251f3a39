use super::{parsed, pool, refused};
use crate::config::{
    BUILT_IN, Config, DEFAULT_PROFILE, EXTENDS_MAX, Etc, Home, HostPath, Identity, Location,
    NETWORKED_PROFILE, Network, Place, PoolSize, Principal, Profile, Root, STRICT_PROFILE, User,
};
use std::time::Duration;

#[test]
fn what_is_built_in_is_what_a_file_could_say() {
    let text = BUILT_IN.replace("[profile.", "[profile.my-");
    let config = parsed(&text);
    for name in [DEFAULT_PROFILE, STRICT_PROFILE, NETWORKED_PROFILE] {
        let own = &config.profiles[&format!("my-{name}")];
        assert_eq!(*own, config.profiles[name], "{name}");
    }
    assert_eq!(config.profiles.len(), 6);
}

#[test]
fn strict_shows_nothing_of_the_user() {
    let strict = &Config::default().profiles[STRICT_PROFILE];
    let exact = |path: &str| HostPath::Exact(path.into());
    let lib = HostPath::Matching { directory: "/".into(), prefix: "lib".into() };
    assert_eq!(strict.root, Root::Empty);
    assert_eq!(strict.read_only, [exact("/usr"), exact("/bin"), exact("/sbin"), lib]);
    let places = ["/tmp", "/var/tmp", "/dev/shm", "/run"].map(|path| Place::Path(path.into()));
    assert_eq!(strict.writable, places);
    assert_eq!((strict.etc, strict.network), (Etc::Minimal, Network::Loopback));
    assert_eq!(strict.home, Home::Private("/home/user".into()));
    assert_eq!(strict.user, User::Fixed { uid: 1000, gid: 1000 });
    assert_eq!((strict.identity, strict.capabilities), (Identity::Slice, 0));
    assert!(!strict.nesting);
    assert_eq!(strict.pool, PoolSize { min: 0, ..Profile::default().pool });
}

#[test]
fn networked_is_the_default_in_the_hosts_network() {
    let config = parsed("profile.default = { hostname = 'here', pool.max = 9 }");
    let default = config.profiles[DEFAULT_PROFILE].clone();
    assert_eq!(default.hostname.as_deref(), Some("here"));
    let networked = Profile { network: Network::Host, ..default };
    assert_eq!(config.profiles[NETWORKED_PROFILE], networked);
}

#[test]
fn what_is_not_said_is_inherited() {
    let config = parsed(
        "[profile.a]\nhostname = 'a'\nnetwork = 'host'\nnesting = false\nquota.leases = 3\n\
         [profile.b]\nextends = 'a'\n\
         [profile.c]\nextends = 'b'\nnetwork = 'own'\n",
    );
    let a = config.profiles["a"].clone();
    assert_eq!(config.profiles["b"], a);
    let c = Profile { network: Network::Own, capabilities: 1 << 12, ..a };
    assert_eq!(config.profiles["c"], c);
}

#[test]
fn tables_are_filled_in_key_by_key() {
    let config = parsed(
        "[profile.a]\nenv = { A = '1', B = '2' }\nlimits = { core = 0, time = '5m' }\n\
         pool = { min = 8, max = 16 }\nquota = { leases = 2, waiters = 5 }\n\
         [profile.b]\nextends = 'a'\nenv = { B = '', C = '3' }\nlimits = { core = 1 }\n\
         pool = { waiters_max = 7 }\nquota = { waiters = 1 }\n",
    );
    let b = &config.profiles["b"];
    let env: Vec<_> = b.env.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    assert_eq!(env, [("A", "1"), ("B", ""), ("C", "3")]);
    assert_eq!(b.limits.core, Some(1));
    assert_eq!(b.limits.time, Some(Duration::from_secs(300)));
    assert_eq!(b.pool, pool(8, 16, 7));
    assert_eq!((b.quota.leases, b.quota.waiters), (Some(2), Some(1)));
}

#[test]
fn the_times_of_a_pool_are_inherited_one_by_one() {
    let config = parsed(
        "[profile.a.pool]\nidle = '1m'\nsleep = '1h'\n\
         [profile.b]\nextends = 'a'\npool.idle = '500ms'\n",
    );
    let (idle, sleep) = (Duration::from_millis(500), Duration::from_secs(3600));
    let b = config.profiles["b"].pool;
    assert_eq!((b.idle, b.sleep), (Some(idle), Some(sleep)));
    assert_eq!(b.min, Profile::default().pool.min);
}

#[test]
fn the_servers_bound_lowers_what_is_inherited_and_not_what_is_said() {
    let config = parsed("server.zygotes_max = 3\n[profile.a]\npool.min = 3\n[profile.b]\n");
    let mins =
        ["a", "b", DEFAULT_PROFILE, STRICT_PROFILE].map(|name| &config.profiles[name].pool.min);
    assert_eq!(mins, [&3, &3, &3, &0]);
    // Told where it is said, not again for who inherits it.
    let text = "[profile.a]\npool.min = 4\n[profile.b]\nextends = 'a'\n[server]\nzygotes_max = 3\n";
    assert_eq!(refused(text), "zyg.toml:2:12: `min` (4) exceeds `zygotes_max` of `server` (3)");
}

#[test]
fn lists_are_replaced() {
    let config = parsed(
        "[profile.a]\nhide = ['/x', '/y']\nallow_uids = [1]\nallow_gids = [2]\n\
         [profile.b]\nextends = 'a'\nhide = ['/z']\nallow_uids = []\n",
    );
    let b = &config.profiles["b"];
    assert_eq!(b.hide, [Location::Path("/z".into())]);
    assert_eq!(b.allow_uids, []);
    assert_eq!(b.allow_gids, [Principal::Id(2)]);
}

#[test]
fn a_table_that_is_a_value_is_replaced() {
    let config = parsed(
        "[profile.a]\nseccomp.allow = ['keyctl']\nuser = { uid = 5, gid = 5 }\n\
         [profile.b]\nextends = 'a'\nseccomp.deny = ['bpf']\nuser = 'client'\n",
    );
    let b = &config.profiles["b"];
    let changed = crate::config::Seccomp::Changed { allow: vec![], deny: vec!["bpf".into()] };
    assert_eq!(b.seccomp, changed);
    assert_eq!(b.user, User::Client);
}

#[test]
fn a_built_in_profile_that_is_named_extends_itself() {
    let config = parsed("[profile.strict]\nhostname = 'mine'\npool.min = 2\n");
    let built_in = Config::default().profiles[STRICT_PROFILE].clone();
    let pool = PoolSize { min: 2, ..built_in.pool };
    let mine = Profile { hostname: Some("mine".into()), pool, ..built_in };
    assert_eq!(config.profiles[STRICT_PROFILE], mine);
    assert_eq!(parsed("[profile.strict]"), Config::default());
}

#[test]
fn only_who_extends_the_default_follows_a_changed_one() {
    let config = parsed(
        "[profile.default]\nhostname = 'here'\n[profile.a]\n[profile.b]\nextends = 'default'\n",
    );
    assert_eq!(config.profiles["a"], Profile::default());
    assert_eq!(config.profiles["b"], config.profiles[DEFAULT_PROFILE]);
}

#[test]
fn a_bound_that_is_set_lowers_what_is_inherited() {
    let config = parsed(
        "[profile.a]\npool = { min = 8, max = 16, waiters_max = 9 }\n\
         quota = { leases = 10, waiters = 9 }\n\
         [profile.b]\nextends = 'a'\npool = { max = 4, waiters_max = 2 }\n",
    );
    let b = &config.profiles["b"];
    assert_eq!(b.pool, pool(4, 4, 2));
    assert_eq!((b.quota.leases, b.quota.waiters), (Some(4), Some(2)));
    let text = "[profile.a]\npool.max = 2\n[profile.b]\nextends = 'a'\npool.min = 3\n";
    let want = "zyg.toml:5:12: `min` (3) exceeds `max` (2, unless it is set)";
    assert_eq!(refused(text), want);
}

#[test]
fn an_extension_that_leads_nowhere_is_refused() {
    let already = "already: a profile that extends another one needs a name of its own";
    for (text, want) in [
        (
            "profile.a.extends = 'defalt'",
            "1:21: there is no profile `defalt`; did you mean `default`?".to_owned(),
        ),
        (
            "profile.a.extends = 'none'",
            "1:21: there is no profile `none`; there are `a`, `default`, `networked`, `strict`"
                .to_owned(),
        ),
        ("profile.a.extends = 'a'", "1:21: `a` cannot extend itself".to_owned()),
        (
            "profile.strict.extends = 'default'",
            format!("1:26: `strict` extends the built-in `strict` {already}"),
        ),
        (
            "profile.default.extends = 'default'",
            format!("1:27: `default` extends the built-in `default` {already}"),
        ),
        (
            "profile.c.extends = 'a'\nprofile.b.extends = 'c'\nprofile.a.extends = 'b'",
            "1:21: `extends` leads in a circle: c → a → b → c".to_owned(),
        ),
        (
            "profile.out.extends = 'a'\nprofile.b.extends = 'a'\nprofile.a.extends = 'b'",
            "2:21: `extends` leads in a circle: b → a → b".to_owned(),
        ),
    ] {
        assert_eq!(refused(text), format!("zyg.toml:{want}"), "{text}");
    }
}

#[test]
fn a_way_that_nobody_can_follow_is_refused() {
    let chain = |length: usize| {
        let line = |n: usize| format!("profile.p{n:0>2}.extends = 'p{:0>2}'\n", n + 1);
        (0..length).map(line).collect::<String>() + &format!("profile.p{length:0>2} = {{}}\n")
    };
    parsed(&chain(EXTENDS_MAX));
    let want = "zyg.toml:1:23: `extends` leads through more than 16 profiles";
    assert_eq!(refused(&chain(EXTENDS_MAX + 1)), want);
    // Long enough to exhaust whoever recurses or looks at each way whole.
    assert!(refused(&chain(5_000)).lines().count() > 4_900);
}
