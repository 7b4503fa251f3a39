//! Processes of the host, and what they share with others of their user.

use crate::acts::{Act, act};

const GONE: &[&str] = &["ESRCH"];
const ABSENT: &[&str] = &["ENOENT"];
const DENIED: &[&str] = &["EPERM"];

pub const ACTS: &[Act] = &[
    act(
        "see a process",
        "information",
        "result = told(visible(marker) == 'visible')",
        "",
        &["hidden"],
    ),
    act("signal a process", "signal", "os.kill(pid, 0)", "", GONE),
    act("signal a process group", "signal", "os.killpg(pid, 0)", "", GONE),
    act("open a pidfd", "signal", "call('pidfd_open', pid, 0)", "", GONE),
    act(
        "take a descriptor",
        "descriptor theft",
        "call('pidfd_getfd', call('pidfd_open', pid, 0), descriptor, 0)",
        "",
        GONE,
    ),
    act("trace a process", "ptrace", "call('ptrace', 0x4206, pid, None, None)", "", GONE),
    act(
        "read a process's memory",
        "process_vm_readv",
        "mine = ctypes.create_string_buffer(10)
one = (ctypes.c_void_p * 2)(ctypes.addressof(mine), 10)
other = (ctypes.c_void_p * 2)(address, 10)
call('process_vm_readv', pid, one, ctypes.c_long(1), other, ctypes.c_long(1), ctypes.c_long(0))
assert mine.raw == b'zyg-secret'",
        "",
        GONE,
    ),
    act("open a process's memory", "/proc", "os.open(f'/proc/{pid}/mem', os.O_RDONLY)", "", ABSENT),
    act(
        "read a process's environment",
        "/proc",
        "assert marker in read(f'/proc/{pid}/environ')",
        "",
        ABSENT,
    ),
    act("enter a process's root", "/proc", "os.chdir(f'/proc/{pid}/root')", "", ABSENT),
    act("enter a process's directory", "/proc", "os.chdir(f'/proc/{pid}/cwd')", "", ABSENT),
    act(
        "open a process's descriptor",
        "/proc",
        "os.open(f'/proc/{pid}/fd/{descriptor}', 0)",
        "",
        ABSENT,
    ),
    act(
        "open a process's namespace",
        "/proc",
        "os.open(f'/proc/{pid}/ns/mnt', os.O_RDONLY)",
        "",
        ABSENT,
    ),
    act(
        "change a process's limits",
        "prlimit",
        "import resource
resource.prlimit(pid, resource.RLIMIT_CORE, resource.prlimit(pid, resource.RLIMIT_CORE))",
        "",
        GONE,
    ),
    act(
        "move a process to a processor",
        "scheduler",
        "os.sched_setaffinity(pid, os.sched_getaffinity(pid))",
        "",
        GONE,
    ),
    act("find shared memory by key", "System V IPC", "check(libc.shmget(key, 0, 0))", "", ABSENT),
    act(
        "look at shared memory by number",
        "System V IPC",
        "check(libc.shmctl(shared, 2, ctypes.create_string_buffer(512)))",
        "",
        &["EINVAL", "EIDRM"],
    ),
    act("find semaphores", "System V IPC", "check(libc.semget(key, 0, 0))", "", ABSENT),
    act("find a message queue", "System V IPC", "check(libc.msgget(key, 0))", "", ABSENT),
    act(
        "open a message queue",
        "POSIX IPC",
        "check(libc.mq_open(queue.encode(), os.O_RDWR))",
        "",
        ABSENT,
    ),
    act("open shared memory", "POSIX IPC", "os.open(shm, os.O_RDONLY)", "", ABSENT),
    act("open a pseudoterminal", "terminal", "os.open(pty, os.O_RDWR | os.O_NOCTTY)", "", ABSENT),
    act(
        "join a session keyring",
        "keyrings; CVE-2016-0728",
        "call('keyctl', 1, b'zyg-test')",
        "",
        DENIED,
    ),
    act("link the user's keyring", "keyrings", "call('keyctl', 8, -4, -3)", "", DENIED),
    act(
        "add a key",
        "keyrings",
        "call('add_key', b'user', b'zyg-test', b'x', ctypes.c_long(1), -3)",
        "call('keyctl', 1, None)
call('add_key', b'user', b'zyg-test', b'x', ctypes.c_long(1), -3)",
        DENIED,
    ),
    act(
        "request a key",
        "keyrings",
        "call('request_key', b'user', b'zyg-test', None, 0)",
        "call('keyctl', 1, None)
call('add_key', b'user', b'zyg-test', b'x', ctypes.c_long(1), -3)
call('request_key', b'user', b'zyg-test', None, 0)",
        DENIED,
    ),
];
