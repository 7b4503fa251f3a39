use super::{parsed, refused};
use crate::config::{Network, Recycle, STRICT_PROFILE};

/// A profile's lines after its head, and what is said about them.
#[track_caller]
fn each(table: &[(&str, &str)]) {
    for (lines, want) in table {
        let text = format!("[profile.x]\n{lines}");
        assert_eq!(refused(&text), format!("zyg.toml:{want}"), "{lines}");
    }
}

#[test]
fn an_empty_root_has_something_to_show_and_nothing_to_cover() {
    each(&[
        (
            "root = 'empty'",
            "2:8: `root = \"empty\"` shows nothing: list what is to be seen in `read_only`, such as \
             [\"/usr\", \"/bin\", \"/lib*\"]",
        ),
        (
            "extends = 'strict'\nread_only = []",
            "3:13: `root = \"empty\"` shows nothing: list what is to be seen in `read_only`, such as \
             [\"/usr\", \"/bin\", \"/lib*\"]",
        ),
        (
            "root = 'empty'\nread_only = ['/usr']\nroot_overlay = true",
            "4:16: `root_overlay` needs a tree, and `root` is \"empty\": list what is to be written \
             in `writable`",
        ),
        (
            "extends = 'strict'\nroot_overlay = true",
            "3:16: `root_overlay` needs a tree, and `root` is \"empty\": list what is to be written \
             in `writable` (`root` is from the built-in `strict`)",
        ),
    ]);
    parsed("profile.x = { root = 'empty', bind = ['/opt/tools:/usr'] }");
}

#[test]
fn a_minimal_etc_is_neither_a_directorys_nor_listed_again() {
    each(&[
        (
            "etc = 'minimal'\nroot = '/srv/debian'",
            "2:7: `etc = \"minimal\"` is for the host's programs, and the `root` is a directory with \
             an /etc of its own: say etc = \"host\"",
        ),
        (
            "extends = 'strict'\nroot = '/srv/debian'",
            "3:8: `etc = \"minimal\"` is for the host's programs, and the `root` is a directory with \
             an /etc of its own: say etc = \"host\" (`etc` is from the built-in `strict`)",
        ),
        (
            "etc = 'minimal'\nread_only = ['/etc']",
            "3:14: `read_only` has \"/etc\", which `etc = \"minimal\"` makes anew: remove one",
        ),
        (
            "etc = 'minimal'\nread_only = ['/e*']",
            "3:14: `read_only` has \"/e*\", which `etc = \"minimal\"` makes anew: remove one",
        ),
        (
            "etc = 'minimal'\nwritable = ['/etc']",
            "3:13: `writable` has \"/etc\", which `etc = \"minimal\"` makes anew: remove one",
        ),
        (
            "etc = 'minimal'\nbind = ['/x:/etc/']",
            "3:9: `bind` has \"/etc\", which `etc = \"minimal\"` makes anew: remove one",
        ),
        (
            "hide = ['/etc']\netc = 'minimal'",
            "2:9: `hide` has \"/etc\", which `etc = \"minimal\"` makes anew: remove one",
        ),
    ]);
    parsed("profile.x = { etc = 'minimal', read_only = ['/etc/alternatives', '/etc/java*'] }");
}

#[test]
fn a_capability_that_would_do_nothing_is_refused() {
    each(&[
        (
            "network = 'host'\ncapabilities = ['kill', 'net_admin']",
            "3:25: `capabilities` has \"net_admin\", which does nothing with `network = \"host\"`: \
             use network = \"own\"",
        ),
        (
            "capabilities = ['net_raw']",
            "2:17: `capabilities` has \"net_raw\", which does nothing with `network = \
             \"loopback\"`: use network = \"own\" (`network` is from the built-in `default`)",
        ),
        (
            "extends = 'networked'\ncapabilities = ['net_bind_service']",
            "3:17: `capabilities` has \"net_bind_service\", which does nothing with `network = \
             \"host\"`: use network = \"loopback\" (`network` is from the built-in `networked`)",
        ),
    ]);
    let own = "profile.x = { network = 'own', capabilities = ['net_raw'] }";
    let profile = &parsed(own).profiles["x"];
    assert_eq!((profile.network, profile.capabilities), (Network::Own, 1 << 12 | 1 << 13));
}

#[test]
fn nesting_is_forbidden_by_a_filter_that_is_there() {
    each(&[
        (
            "nesting = false\nseccomp = 'off'",
            "3:11: `seccomp = \"off\"` leaves nothing that could enforce `nesting = false`: say \
             nesting = true",
        ),
        (
            "extends = 'strict'\nseccomp.allow = ['keyctl', 'unshare']",
            "3:1: `seccomp` allows \"unshare\", which `nesting = false` denies: remove one \
             (`nesting` is from the built-in `strict`)",
        ),
    ]);
    parsed("profile.x = { nesting = false, seccomp = { deny = ['unshare'] } }");
}

#[test]
fn a_zygote_is_used_again_only_where_it_can_be_seen_that_nothing_is_left_in_it() {
    each(&[
        (
            "recycle = 'whole'\nnetwork = 'own'",
            "2:11: `recycle = \"whole\"` is for networks that no command can change: say network = \
             \"loopback\"",
        ),
        (
            "extends = 'networked'\nrecycle = 'whole'",
            "3:11: `recycle = \"whole\"` is for networks that no command can change: say network = \
             \"loopback\" (`network` is from the built-in `networked`)",
        ),
        (
            "recycle = 'whole'\nseccomp = 'off'",
            "2:11: `recycle = \"whole\"` needs a filter, and `seccomp` is \"off\": say seccomp = \
             \"default\"",
        ),
        (
            "recycle = 'whole'\nseccomp = { allow = ['bpf', 'keyctl'] }",
            "3:11: `seccomp` allows \"keyctl\", which may leave what `recycle = \"whole\"` does not \
             see: remove one",
        ),
        (
            "recycle = 'whole'\nseccomp = { allow = ['io_uring_setup'] }",
            "3:11: `seccomp` allows \"io_uring_setup\", which may leave what `recycle = \"whole\"` \
             does not see: remove one",
        ),
        (
            "recycle = 'whole'\ncapabilities = ['kill']",
            "3:17: `capabilities` has \"kill\", which may change what `recycle = \"whole\"` keeps: \
             remove one",
        ),
        (
            "extends = 'strict'\nrecycle = 'whole'",
            "3:11: `recycle = \"whole\"` is for commands that are trusted, and with `identity = \
             \"slice\"` none is: say identity = \"client\" (`identity` is from the built-in `strict`)",
        ),
    ]);
    let whole = parsed("profile.x = { recycle = 'whole', seccomp = { allow = ['bpf'] } }");
    assert_eq!(whole.profiles["x"].recycle, Recycle::Whole);
}

#[test]
fn a_slice_has_no_right_to_the_clients_files_and_leaves_none_of_its_own() {
    each(&[
        (
            "identity = 'slice'\nwritable = ['~', '/tmp', '.']",
            "3:13: `writable` has \"~\", to which `identity = \"slice\"` has no right: remove it\n\
             zyg.toml:3:26: `writable` has \".\", to which `identity = \"slice\"` has no right: \
             remove it",
        ),
        (
            "extends = 'strict'\nwritable = ['.']",
            "3:13: `writable` has \".\", to which `identity = \"slice\"` has no right: remove it \
             (`identity` is from the built-in `strict`)",
        ),
        (
            "extends = 'strict'\nbind = ['/srv/out']",
            "3:9: `bind` is for writing, and with `identity = \"slice\"` what is written would \
             belong to a later lease: say read_only = true (`identity` is from the built-in `strict`)",
        ),
    ]);
    parsed("profile.strict.bind = [{ source = '/srv/in', read_only = true }]");
}

#[test]
fn nothing_is_shown_in_two_ways() {
    each(&[
        (
            "read_only = ['/tmp']",
            "2:14: `read_only` has \"/tmp\" and `writable` has \"/tmp\": remove one (`writable` is \
             from the built-in `default`)",
        ),
        (
            "read_only = ['/tm*']",
            "2:14: `read_only` has \"/tm*\" and `writable` has \"/tmp\": remove one (`writable` is \
             from the built-in `default`)",
        ),
        (
            "bind = ['/srv:/run']",
            "2:9: `bind` has \"/run\" and `writable` has \"/run\": remove one (`writable` is from \
             the built-in `default`)",
        ),
        (
            "bind = ['~:~']",
            "2:9: `bind` has \"~\" and `writable` has \"~\": remove one (`writable` is from the \
             built-in `default`)",
        ),
        ("bind = ['/a:/x', '/b:/x/']", "2:18: `bind` has \"/x\" twice"),
        (
            "read_only = ['/opt']\nbind = ['/srv/opt:/opt']",
            "3:9: `bind` has \"/opt\" and `read_only` has \"/opt\": remove one",
        ),
        (
            "home = '/h'\nread_only = ['/h']",
            "3:14: `read_only` has \"/h\" and `home` has \"/h\": remove one",
        ),
        ("home = '/h'\nbind = ['/srv/a:/h/x', '~/y:~/x']", "3:24: `bind` has \"~/x\" twice"),
        (
            "extends = 'strict'\nbind = [{ source = '/lib64', read_only = true }]",
            "3:9: `read_only` has \"/lib*\" and `bind` has \"/lib64\": remove one (`read_only` is \
             from the built-in `strict`)",
        ),
    ]);
    parsed("profile.x = { home = '/tmp', bind = ['/a:~/x', '/a:/x'], read_only = ['/tmp/y'] }");
}

#[test]
fn nothing_is_hidden_that_is_to_be_seen() {
    each(&[
        (
            "hide = ['/tmp']",
            "2:9: `hide` has \"/tmp\" and `writable` has \"/tmp\": remove one (`writable` is from \
             the built-in `default`)",
        ),
        (
            "hide = ['~']",
            "2:9: `hide` has \"~\" and `writable` has \"~\": remove one (`writable` is from the \
             built-in `default`)",
        ),
        (
            "hide = ['/var']",
            "2:9: `hide` has \"/var\", in which `writable` has \"/var/tmp\": hide what is beside it \
             (`writable` is from the built-in `default`)",
        ),
        (
            "hide = ['/opt']\nread_only = ['/opt/x']",
            "2:9: `hide` has \"/opt\", in which `read_only` has \"/opt/x\": hide what is beside it",
        ),
        (
            "hide = ['/opt']\nread_only = ['/opt/*']",
            "2:9: `hide` has \"/opt\", in which `read_only` has \"/opt/*\": hide what is beside it",
        ),
        (
            "hide = ['/srv']\nbind = ['/a:/srv/a']",
            "2:9: `hide` has \"/srv\", in which `bind` has \"/srv/a\": hide what is beside it",
        ),
        (
            "hide = ['~/.config']\nbind = ['~/.config/app']",
            "2:9: `hide` has \"~/.config\", in which `bind` has \"~/.config/app\": hide what is \
             beside it",
        ),
        (
            "extends = 'strict'\nhide = ['/home']",
            "3:9: `hide` has \"/home\", in which `home` has \"/home/user\": hide what is beside it \
             (`home` is from the built-in `strict`)",
        ),
        (
            "extends = 'strict'\nhide = ['~']",
            "3:9: `hide` has \"~\" and `home` has \"/home/user\": remove one (`home` is from the \
             built-in `strict`)",
        ),
    ]);
    parsed("profile.x.hide = ['~/.ssh', '/var/lib', '/tmp/x']");
    parsed("profile.strict.hide = ['/usr/share', '/lib32']");
}

#[test]
fn counts_that_exceed_each_other_are_refused() {
    each(&[
        ("quota.leases = 65", "2:16: `leases` (65) exceeds `max` of `pool` (64, unless it is set)"),
        (
            "quota.waiters = 9\npool.waiters_max = 8",
            "2:17: `waiters` (9) exceeds `waiters_max` of `pool` (8)",
        ),
    ]);
}

#[test]
fn what_exceeds_a_bound_of_the_servers_is_refused() {
    each(&[
        (
            "pool.min = 8\n[server]\nzygotes_max = 7",
            "2:12: `min` (8) exceeds `zygotes_max` of `server` (7)",
        ),
        (
            "quota = { leases = 5, waiters = 6 }\n[server]\nquota = { leases = 4, waiters = 5 }",
            "2:20: `leases` (5) exceeds `quota.leases` of `server` (4)\n\
             zyg.toml:2:33: `waiters` (6) exceeds `quota.waiters` of `server` (5)",
        ),
        (
            "[server]\nzygotes_max = 7\nquota.leases = 8",
            "4:16: `leases` (8) exceeds `zygotes_max` (7)",
        ),
    ]);
    let text = "[server]\nzygotes_max = 8\nquota = { leases = 8, waiters = 1 }\n\
                [profile.x]\npool.min = 8\nquota = { leases = 8, waiters = 1 }\n";
    assert_eq!(parsed(text).profiles["x"].pool.min, 8);
}

#[test]
fn a_pool_sleeps_later_than_it_shrinks() {
    each(&[
        (
            "pool = { idle = '2m', sleep = '1m' }",
            "2:31: `sleep` is shorter than `idle`, which would do nothing: say a longer sleep",
        ),
        (
            "extends = 'y'\npool.idle = '2h'\n[profile.y]\npool.sleep = '1h'",
            "3:13: `sleep` is shorter than `idle`, which would do nothing: say a longer sleep \
             (`sleep` is from `y`)",
        ),
        (
            "pool = { idle = '200ms', quiet = '200ms' }",
            "2:34: `quiet` is as long as `idle`, so nothing would be built in time: say a shorter one",
        ),
    ]);
    parsed("profile.x.pool = { idle = '1m', sleep = '1m', quiet = '59s' }");
    parsed("profile.x.pool.sleep = '1ms'");
}

#[test]
fn what_travels_together_fits_together() {
    let paths = |first: char| {
        let path = |n| format!("'/{first}{n:0>510}'");
        (0..40).map(path).collect::<Vec<_>>().join(",")
    };
    let (read_only, hide) = (paths('r'), paths('h'));
    each(&[
        (
            &format!("read_only = [{read_only}]\nhide = [{hide}]"),
            "3:8: `writable`, `read_only`, `hide` and `bind` have at most 32768 bytes of paths \
             together",
        ),
        (
            &format!("[profile.x.env]\nA = '{0}'\nB = '{0}'", "x".repeat(4096)),
            "3:5: `env` has at most 8192 bytes in all",
        ),
    ]);
}

#[test]
fn a_contradiction_is_told_once_and_not_for_what_extends_it() {
    let text = "\
        [profile.a]\n\
        nesting = false\n\
        seccomp = 'off'\n\
        [profile.b]\n\
        extends = 'a'\n\
        [profile.c]\n\
        extends = 'b'\n\
        seccomp = 'off'\n";
    let told = "`seccomp = \"off\"` leaves nothing that could enforce `nesting = false`: say \
                nesting = true";
    let want = format!("zyg.toml:3:11: {told}\nzyg.toml:8:11: {told} (`nesting` is from `a`)");
    assert_eq!(refused(text), want);
}

#[test]
fn nothing_is_concluded_from_what_is_wrong_itself() {
    each(&[
        (
            "root = 'empty'\nread_only = ['usr']",
            "3:14: a read-only path is absolute, unlike \"usr\"",
        ),
        (
            "network = 'onw'\ncapabilities = ['net_admin']",
            "2:11: `network` must be \"loopback\", \"own\" or \"host\", unlike \"onw\"; did you mean \
             \"own\"?",
        ),
        (
            "extends = 'strct'\nwritable = ['.']\nroot = 'empty'",
            "2:11: there is no profile `strct`; did you mean `strict`?",
        ),
    ]);
}

#[test]
fn a_home_of_its_own_is_where_commands_are_at_home() {
    let strict = &parsed("").profiles[STRICT_PROFILE];
    assert_eq!(strict.env["HOME"], "/home/user");
    let text = "profile.x = { home = '/h', env = { HOME = '/tmp' } }";
    let x = &parsed(text).profiles["x"];
    assert_eq!(x.env["HOME"], "/tmp");
    assert!(!x.writable.contains(&crate::config::Place::Home), "{:?}", x.writable);
}
