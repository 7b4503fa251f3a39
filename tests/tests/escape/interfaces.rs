//! Interfaces of the kernel that no namespace covers, and privileges.

use crate::acts::{Act, act};

const DENIED: &[&str] = &["EPERM"];
/// Of what would harm the machine as root: a call that always succeeds.
const HARMLESS: &str = "os.getpid()";

pub const ACTS: &[Act] = &[
    act("paste into a terminal", "TIOCSTI; CVE-2017-5226", "request(terminal(), 0x5412, b'x')", "tolerate(['EIO'], lambda: request(terminal(), 0x5412, b'x'))", DENIED),
    act("paste with a long request", "TIOCSTI; CVE-2019-10063", "request(terminal(), 0x1_0000_5412, b'x')", "tolerate(['EIO'], lambda: request(terminal(), 0x5412, b'x'))", DENIED),
    act("paste a console's selection", "TIOCLINUX; CVE-2023-28100", "request(terminal(), 0x541C, b'\\x03')", "tolerate(['ENOTTY', 'EINVAL'], lambda: request(terminal(), 0x541C, b'\\x03'))", DENIED),
    act("load a program into the kernel", "bpf; CVE-2021-31440", "call('bpf', 0, struct.pack('IIII', 2, 4, 4, 1) + bytes(112), 128)", "tolerate(['EPERM'], lambda: call('bpf', 0, struct.pack('IIII', 2, 4, 4, 1) + bytes(112), 128))", DENIED),
    act("count the machine's events", "perf_event_open; CVE-2013-2094", "call('perf_event_open', bytes(128), 0, -1, -1, ctypes.c_long(0))", HARMLESS, DENIED),
    act("handle page faults", "userfaultfd", "call('userfaultfd', 1)", "tolerate(['ENOSYS'], lambda: call('userfaultfd', 1))", DENIED),
    act("make a ring", "io_uring; CVE-2022-29582", "call('io_uring_setup', 1, ctypes.create_string_buffer(120))", "tolerate(['ENOSYS', 'EPERM'], lambda: call('io_uring_setup', 1, ctypes.create_string_buffer(120)))", &["ENOSYS"]),
    act("unload a module", "delete_module", "check(libc.delete_module(b'zyg', 0))", HARMLESS, DENIED),
    act("reboot", "reboot", "check(libc.reboot(0))", HARMLESS, DENIED),
    act("set the clock", "clock", "import time
time.clock_settime(time.CLOCK_REALTIME, time.time())", "import time
time.clock_gettime(time.CLOCK_REALTIME)", DENIED),
    act("read the kernel's log", "syslog", "check(libc.klogctl(3, ctypes.create_string_buffer(64), 64))", "tolerate(['EPERM'], lambda: check(libc.klogctl(3, ctypes.create_string_buffer(64), 64)))", DENIED),
    act("watch the whole file system", "fanotify", "check(libc.fanotify_init(0, 0))", "tolerate(['EPERM'], lambda: check(libc.fanotify_init(0, 0)))", DENIED),
    act("run a set-ID program", "setuid", "programs = [path for path in ('/usr/bin/chage', '/usr/bin/su') if os.path.exists(path)]
def secure(path):
    shown = subprocess.run([path, '--help'], env={'LD_SHOW_AUXV': '1'}, stdin=subprocess.DEVNULL, capture_output=True)
    return b'AT_PHDR' not in shown.stdout
result = told(any(secure(path) for path in programs))", "", &["hidden"]),
    act("become another user", "setuid", "os.setresuid(12345, 12345, 12345)", "os.setresuid(-1, -1, -1)", &["EPERM", "EINVAL"]),
    act("join a group", "setgroups", "os.setgroups([0])", "os.getgroups()", DENIED),
    act("raise capabilities", "capset", "check(libc.capset(struct.pack('Ii', 0x20080522, 0), b'\\xff' * 12 + b'\\xff' * 12))", "check(libc.capset(struct.pack('Ii', 0x20080522, 0), bytes(24)))", DENIED),
    act("be nicer than others", "priority", "os.nice(-1)", "os.nice(1)", DENIED),
];
