use super::{parsed, refused};
use crate::config::{DEFAULT_PROFILE, HostPath, LIST_MAX, Location};
use std::path::Path;

/// Each line of a profile, and what is said about it. Places are those of the line.
#[track_caller]
fn each(table: &[(&str, &str)]) {
    for (line, want) in table {
        assert_eq!(refused(&format!("profile.x.{line}")), format!("zyg.toml:1:{want}"), "{line}");
    }
}

#[test]
fn a_wrong_word_is_refused_with_the_words_that_there_are() {
    each(&[
        (
            "root = 'hosts'",
            "18: `root` must be \"host\", \"empty\" or an absolute path, unlike \"hosts\"; did you \
             mean \"host\"?",
        ),
        (
            "root = './debian'",
            "18: `root` must be \"host\", \"empty\" or an absolute path, unlike \"./debian\"",
        ),
        ("root = '/'", "18: \"/\" is the host's own tree: that is root = \"host\""),
        (
            "root = '/proc/x'",
            "18: \"/proc/x\" cannot be a root: every environment has /proc of its own",
        ),
        ("root = 1", "18: `root` must be a string, not an integer"),
        ("root_overlay = 'yes'", "26: `root_overlay` must be true or false, not a string"),
        (
            "etc = 'mini'",
            "17: `etc` must be \"host\" or \"minimal\", unlike \"mini\"; did you mean \"minimal\"?",
        ),
        (
            "network = 'none'",
            "21: `network` must be \"loopback\", \"own\" or \"host\", unlike \"none\"",
        ),
        (
            "network = 'loopbak'",
            "21: `network` must be \"loopback\", \"own\" or \"host\", unlike \"loopbak\"; did you \
             mean \"loopback\"?",
        ),
        (
            "recycle = 'all'",
            "21: `recycle` must be \"whole\", \"parts\" or \"none\", unlike \"all\"",
        ),
        (
            "home = 'clint'",
            "18: `home` must be \"client\" or an absolute path, unlike \"clint\"; did you mean \
             \"client\"?",
        ),
        ("home = '/'", "18: \"/\" cannot be a private home"),
        (
            "home = '/sys/h'",
            "18: \"/sys/h\" cannot be a private home: every environment has /sys of its own",
        ),
        (
            "identity = 'slices'",
            "22: `identity` must be \"client\" or \"slice\", unlike \"slices\"; did you mean \
             \"slice\"?",
        ),
        ("nesting = 0", "21: `nesting` must be true or false, not an integer"),
        ("extends = true", "21: `extends` must be a string, not a boolean"),
    ]);
}

#[test]
fn a_path_that_cannot_be_meant_is_refused() {
    let own = "every environment has";
    each(&[
        (
            "writable = ['/proc']",
            &format!("23: \"/proc\" cannot be writable: {own} /proc of its own"),
        ),
        (
            "writable = ['/sys/fs']",
            &format!("23: \"/sys/fs\" cannot be writable: {own} /sys of its own"),
        ),
        ("writable = ['/dev']", &format!("23: \"/dev\" cannot be writable: {own} /dev of its own")),
        ("read_only = ['usr']", "24: a read-only path is absolute, unlike \"usr\""),
        (
            "read_only = ['~/.cargo']",
            "24: a read-only path is absolute, unlike \"~/.cargo\": use `bind` with read_only = true",
        ),
        ("read_only = ['/']", "24: \"/\" is the whole tree: that is root = \"host\""),
        ("read_only = ['/*']", "24: \"/*\" is the whole tree: that is root = \"host\""),
        (
            "read_only = ['/l*/x']",
            "24: only the end of a read-only path may be *, unlike \"/l*/x\"",
        ),
        ("read_only = ['/l**']", "24: only the end of a read-only path may be *, unlike \"/l**\""),
        ("read_only = ['/usr/..*']", "24: a path has no \"..\", unlike \"/usr/..*\""),
        (
            "read_only = ['/proc/*']",
            &format!("24: \"/proc\" cannot be read-only: {own} /proc of its own"),
        ),
        ("read_only = ['/usr', '/usr/']", "32: `read_only` has \"/usr/\" twice"),
        ("read_only = '/usr'", "23: `read_only` must be an array of strings, not a string"),
        ("hide = ['.']", "19: \".\" cannot be hidden: commands start in their working directory"),
        ("hide = ['/']", "19: \"/\" cannot be hidden: nothing would be left; use root = \"empty\""),
        ("hide = ['/proc']", "19: \"/proc\" cannot be hidden: every environment has its own"),
        ("hide = ['etc']", "19: a hidden path is absolute or starts with \"~/\", unlike \"etc\""),
        (
            "hide = ['~root']",
            "19: a hidden path is absolute or starts with \"~/\", unlike \"~root\"",
        ),
        ("hide = ['~/../x']", "19: a path has no \"..\", unlike \"/../x\""),
        ("hide = ['~', '~/']", "24: `hide` has \"~/\" twice"),
        ("bind = '/a'", "18: `bind` must be an array, not a string"),
        (
            "bind = [1]",
            "19: `bind[]` must be \"SRC[:DST]\" or { source, target, read_only }, not an integer",
        ),
        ("bind = ['a']", "19: a bind source path is absolute or starts with \"~/\", unlike \"a\""),
        ("bind = ['/a:']", "19: a bind target path is absolute or starts with \"~/\", unlike \"\""),
        (
            "bind = ['/a:/b:ro']",
            "19: \"/a:/b:ro\" has more than one \":\": write { source = …, target = …, read_only = … }",
        ),
        (
            "bind = ['/:/host']",
            "19: \"/\" cannot be a bind source: name a directory or a file in it",
        ),
        ("bind = ['/a:/']", "19: \"/\" cannot be a bind target: name a directory or a file in it"),
        (
            "bind = ['/proc:/p']",
            &format!("19: \"/proc\" cannot be a bind source: {own} /proc of its own"),
        ),
        (
            "bind = ['/a:/dev/kvm']",
            &format!("19: \"/dev/kvm\" cannot be a bind target: {own} /dev of its own"),
        ),
        ("bind = [{ target = '/a' }]", "19: a bind needs a `source`"),
        (
            "bind = [{ source = '/a', readonly = true }]",
            "36: unknown key `readonly`; did you mean `read_only`?",
        ),
        (
            "bind = [{ source = '/a', read_only = 1 }]",
            "48: `read_only` must be true or false, not an integer",
        ),
        ("bind = [{ source = '/a', target = 1 }]", "45: `target` must be a string, not an integer"),
    ]);
}

#[test]
fn who_and_what_commands_are_is_judged_by_value() {
    each(&[
        ("user = 'root'", "18: `user` must be \"client\", unlike \"root\""),
        ("user = 0", "18: `user` must be \"client\" or { uid = …, gid = … }, not an integer"),
        ("user = { uid = 0 }", "18: `user` needs both `uid` and `gid`"),
        ("user = { uid = 0, gid = 0, id = 1 }", "38: unknown key `id`; did you mean `gid`?"),
        (
            "user = { uid = 4294967295, gid = 0 }",
            "26: `uid` must be from 0 to 4294967294, not 4294967295",
        ),
        (
            "user = { uid = 0, gid = 65534 }",
            "35: `gid` cannot be 65534: as that the files of strangers are seen",
        ),
        ("env = []", "17: `env` must be a table, not an array"),
        ("env = { A = 1 }", "23: `env.A` must be a string, not an integer"),
        ("env = { '' = 'x' }", "19: \"\" is no name of a variable: it is not empty and has no ="),
        (
            "env = { 'A=B' = 'x' }",
            "19: \"A=B\" is no name of a variable: it is not empty and has no =",
        ),
        ("env = { A = \"\\u0000\" }", "23: a variable has no zero byte, unlike \"\\0\""),
        (
            "allow_uids = 'a'",
            "24: `allow_uids` must be an array of numbers and names, not a string",
        ),
        ("allow_uids = [true]", "25: `allow_uids[]` must be a number or a name, not a boolean"),
        ("allow_uids = [-1]", "25: `allow_uids[]` must be from 0 to 4294967294, not -1"),
        ("allow_uids = ['1']", "25: \"1\" is no user name: write the number without quotes"),
        ("allow_uids = [7, 7]", "28: `allow_uids` has 7 twice"),
        ("allow_gids = ['a:b']", "25: \"a:b\" is no group name"),
        ("seccomp = 'none'", "21: `seccomp` must be \"default\" or \"off\", unlike \"none\""),
        (
            "seccomp = true",
            "21: `seccomp` must be \"default\", \"off\" or { allow = […], deny = […] }, not a boolean",
        ),
        ("seccomp = { denny = [] }", "23: unknown key `denny`; did you mean `deny`?"),
        (
            "seccomp = { deny = ['Bpf'] }",
            "31: \"Bpf\" is no system call: names are those of syscalls(2)",
        ),
        (
            "seccomp = { deny = ['bpf'], allow = ['bpf'] }",
            "31: `deny` has \"bpf\" and `allow` has it: remove one",
        ),
    ]);
}

#[test]
fn a_capability_is_named_as_in_the_manual_and_reaches_nothing_outside() {
    each(&[
        ("capabilities = ['chwon']", "27: \"chwon\" is no capability; did you mean \"chown\"?"),
        (
            "capabilities = ['CAP_KILL']",
            "27: \"CAP_KILL\" is no capability; did you mean \"kill\"?",
        ),
        (
            "capabilities = ['net_bind']",
            "27: \"net_bind\" is no capability; did you mean \"net_bind_service\"?",
        ),
        (
            "capabilities = ['all']",
            "27: \"all\" is no capability; names are those of capabilities(7) without CAP_",
        ),
        ("capabilities = ['kill', 'KILL']", "35: `capabilities` has \"KILL\" twice"),
    ]);
    for name in ["sys_admin", "SYS_PTRACE", "checkpoint_restore"] {
        let want = format!("27: no command is given {name:?}: it would reach init");
        each(&[(&format!("capabilities = ['{name}']"), &want)]);
    }
    for name in [
        "sys_module",
        "sys_rawio",
        "sys_boot",
        "sys_time",
        "mac_override",
        "mac_admin",
        "bpf",
        "perfmon",
        "syslog",
        "audit_write",
        "audit_control",
        "audit_read",
        "mknod",
    ] {
        let want =
            format!("27: no command is given {name:?}: it would reach the kernel of the host");
        each(&[(&format!("capabilities = ['{name}']"), &want)]);
    }
}

#[test]
fn a_limit_has_a_unit_and_a_bound() {
    let most = i64::MAX;
    each(&[
        ("limits = 1", "20: `limits` must be a table, not an integer"),
        ("limits.nofiles = 1", "18: unknown key `nofiles`; did you mean `nofile`?"),
        ("limits.nofile = 0", &format!("27: `nofile` must be from 1 to {most}, not 0")),
        ("limits.nproc = 'many'", "26: `nproc` must be a number or \"unlimited\", not \"many\""),
        (
            "limits.nproc = 'unlimitd'",
            "26: `nproc` must be \"unlimited\", unlike \"unlimitd\"; did you mean \"unlimited\"?",
        ),
        ("limits.nproc = []", "26: `nproc` must be an integer, not an array"),
        ("limits.core = -1", &format!("25: `core` must be from 0 to {most}, not -1")),
        ("limits.core = 1.5", "25: `core` must be a size such as \"512M\", not a float"),
        (
            "limits.data = '1 G'",
            "25: \"1 G\" is no size: a number of bytes, or a number with K, M, G or T",
        ),
        (
            "limits.data = '1MB'",
            "25: \"1MB\" is no size: a number of bytes, or a number with K, M, G or T",
        ),
        (
            "limits.data = 'G'",
            "25: \"G\" is no size: a number of bytes, or a number with K, M, G or T",
        ),
        (
            "limits.data = '16777216T'",
            "25: \"16777216T\" is no size: a number of bytes, or a number with K, M, G or T",
        ),
        (
            "limits.data = '8388608T'",
            &format!("25: `data` must be from 0 to {most}, not 9223372036854775808"),
        ),
        ("limits.tmp_size = '0'", &format!("29: `tmp_size` must be from 1 to {most}, not 0")),
        (
            "limits.tmp_size = 'unlimited'",
            "29: \"unlimited\" is no size: a number of bytes, or a number with K, M, G or T",
        ),
        ("limits.tmp_inodes = 0", &format!("31: `tmp_inodes` must be from 1 to {most}, not 0")),
        ("limits.time = 10", "25: `time` must be a time such as \"10m\", not an integer"),
        (
            "limits.time = '10'",
            "25: \"10\" is no time: a number with ms, s, m, h or d, as in 1h30m",
        ),
        (
            "limits.time = '30m1h'",
            "25: \"30m1h\" is no time: a number with ms, s, m, h or d, as in 1h30m",
        ),
        ("limits.time = '0s'", "25: `time` must be from \"1ms\" to \"365d\""),
        ("limits.time = '366d'", "25: `time` must be from \"1ms\" to \"365d\""),
        ("limits.cpu = '1500ms'", "24: `cpu` is counted in whole seconds (setrlimit(2))"),
        ("quota.leases = 0", "26: `leases` must be from 1 to 100000, not 0"),
        ("quota.lease = 1", "17: unknown key `lease`; did you mean `leases`?"),
    ]);
}

#[test]
fn a_limit_that_needs_cgroups_is_checked_and_then_refused_by_name() {
    let refused = "needs cgroup delegation, which this release does not use: remove it";
    let most = i64::MAX;
    each(&[
        (
            "limits.memory = '512M'",
            &format!("27: `limits.memory` {refused}, or use `limits.as`, for each process"),
        ),
        (
            "limits.pids = 256",
            &format!(
                "25: `limits.pids` {refused}, or use `limits.nproc`, for each kernel uid but 0"
            ),
        ),
        (
            "limits.cpus = 1.5",
            &format!("25: `limits.cpus` {refused}, or use `limits.cpu`, for each process"),
        ),
        ("limits.swap = 0", &format!("25: `limits.swap` {refused}")),
        ("limits.io = 100", &format!("23: `limits.io` {refused}")),
        // Their form comes first.
        ("limits.memory = 0", &format!("27: `memory` must be from 1 to {most}, not 0")),
        ("limits.pids = '1'", "25: `pids` must be an integer, not a string"),
        ("limits.cpus = 0", "25: `cpus` must be above 0 and at most 8192, not 0"),
        ("limits.cpus = nan", "25: `cpus` must be above 0 and at most 8192, not nan"),
        ("limits.cpus = '2'", "25: `cpus` must be a number, not a string"),
        ("limits.io = 10001", "23: `io` must be from 1 to 10000, not 10001"),
    ]);
}

#[test]
fn a_socket_lets_in_whom_it_names() {
    for (text, want) in [
        (
            "server.socket_mode = 660",
            "1:22: `socket_mode` must be a string such as \"0660\", not an integer",
        ),
        (
            "server.socket_mode = '0680'",
            "1:22: \"0680\" is no mode: octal digits from \"0000\" to \"0777\", such as \"0660\"",
        ),
        (
            "server.socket_mode = '1777'",
            "1:22: \"1777\" is no mode: octal digits from \"0000\" to \"0777\", such as \"0660\"",
        ),
        ("server.socket_group = ''", "1:23: \"\" is no group name"),
        (
            "server = { socket_group = 'zyg', socket_mode = '0600' }",
            "1:48: `socket_mode` \"0600\" keeps out `socket_group` \"zyg\": a mode such as \"0660\" \
             lets it in",
        ),
    ] {
        assert_eq!(refused(text), format!("zyg.toml:{want}"), "{text}");
    }
    let only_group = parsed("server.socket_group = 'zyg'").server;
    assert_eq!(only_group.socket_mode, Some(0o660));
    let only_mode = parsed("server.socket_mode = '600'").server;
    assert_eq!((only_mode.socket_mode, only_mode.socket_group), (Some(0o600), None));
}

#[test]
fn lists_are_bounded() {
    let numbers = |count: usize| (0..count).map(|n| n.to_string()).collect::<Vec<_>>().join(",");
    parsed(&format!("profile.x.allow_uids = [{}]", numbers(LIST_MAX)));
    let line = format!("allow_uids = [{}]", numbers(LIST_MAX + 1));
    each(&[(&line, "24: `allow_uids` has at most 1024 entries")]);
    let paths = (0..65).map(|n| format!("'/{n}'")).collect::<Vec<_>>().join(",");
    each(&[
        (&format!("read_only = [{paths}]"), "23: `read_only` has at most 64 paths"),
        (&format!("hide = [{paths}]"), "18: `hide` has at most 64 paths"),
        (&format!("bind = [{paths}]"), "18: `bind` has at most 64 paths"),
    ]);
}

#[test]
fn a_star_stands_for_the_rest_of_a_name() {
    let lib = HostPath::Matching { directory: "/".into(), prefix: "lib".into() };
    for (path, named) in
        [("/lib", true), ("/lib64", true), ("/lib/x", false), ("/li", false), ("/usr/lib", false)]
    {
        assert_eq!(lib.names(Path::new(path)), named, "{path}");
    }
}

#[test]
fn a_path_in_the_home_directory_is_below_whichever_that_is() {
    let home = Path::new("/home/u");
    assert_eq!(Location::InHome(".ssh".into()).with_home(home), Path::new("/home/u/.ssh"));
    assert_eq!(Location::InHome("".into()).with_home(home).as_os_str(), "/home/u");
    assert_eq!(Location::Path("/x".into()).with_home(home), Path::new("/x"));
}

#[test]
fn resource_limits_have_their_numbers() {
    let text = "profile.default.limits = { nofile = 7, cpu = '3s', as = '1K', time = '1s' }";
    let limits = &parsed(text).profiles[DEFAULT_PROFILE].limits;
    let want = [(libc::RLIMIT_NOFILE, 7), (libc::RLIMIT_CPU, 3), (libc::RLIMIT_AS, 1024)];
    assert_eq!(limits.rlimits(), want);
}
