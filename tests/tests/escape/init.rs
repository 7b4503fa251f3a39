//! Pid 1 of the environment, which has the command's uid and a channel to the client and the server.
//! The controls are the same acts on a process of one's own uid that nothing guards.

use crate::acts::{Act, act};

const DENIED: &[&str] = &["EACCES", "EPERM"];

pub const ACTS: &[Act] = &[
    act("trace init", "ptrace", "call('ptrace', 0x4206, 1, None, None)", "call('ptrace', 0x4206, pid, None, None)", DENIED),
    act("open init's memory", "/proc/1", "os.open('/proc/1/mem', os.O_RDWR)", "os.open(f'/proc/{pid}/mem', os.O_RDWR)", DENIED),
    act(
        "read init's memory",
        "process_vm_readv",
        "mine = ctypes.create_string_buffer(10)
one = (ctypes.c_void_p * 2)(ctypes.addressof(mine), 10)
call('process_vm_readv', 1, one, ctypes.c_long(1), one, ctypes.c_long(1), ctypes.c_long(0))",
        "mine = ctypes.create_string_buffer(10)
one = (ctypes.c_void_p * 2)(ctypes.addressof(mine), 10)
other = (ctypes.c_void_p * 2)(address, 10)
call('process_vm_readv', pid, one, ctypes.c_long(1), other, ctypes.c_long(1), ctypes.c_long(0))",
        DENIED,
    ),
    act("name init's descriptors", "/proc/1; CVE-2016-9962", "os.readlink('/proc/1/fd/0')", "os.readlink(f'/proc/{pid}/fd/0')", DENIED),
    act(
        "take every descriptor of init",
        "descriptor theft",
        "init = call('pidfd_open', 1, 0)
result = told(any(step(call, 'pidfd_getfd', init, number, 0) is not None for number in range(256)))",
        "other = call('pidfd_open', pid, 0)
result = told(any(step(call, 'pidfd_getfd', other, number, 0) is not None for number in range(256)))",
        &["hidden"],
    ),
    act("enter init's root", "/proc/1", "os.chdir('/proc/1/root')", "os.chdir(f'/proc/{pid}/root')", DENIED),
    act("enter init's directory", "/proc/1", "os.chdir('/proc/1/cwd')", "os.chdir(f'/proc/{pid}/cwd')", DENIED),
    act("read init's environment", "/proc/1", "read('/proc/1/environ')", "read(f'/proc/{pid}/environ')", DENIED),
    act("open init's namespaces", "/proc/1", "os.open('/proc/1/ns/mnt', 0)", "os.open(f'/proc/{pid}/ns/mnt', 0)", DENIED),
    act("list init's mapped files", "/proc/1", "os.listdir('/proc/1/map_files')", "os.listdir(f'/proc/{pid}/map_files')", DENIED),
    act(
        "write init's program",
        "overwriting the runtime; CVE-2019-5736",
        "os.open('/proc/1/exe', os.O_WRONLY)",
        "write(made())",
        DENIED,
    ),
    act(
        "reopen init's program",
        "overwriting the runtime; CVE-2019-5736",
        "write(f'/proc/self/fd/{os.open(\"/proc/1/exe\", os.O_PATH)}')",
        "write(f'/proc/self/fd/{os.open(made(), os.O_PATH)}')",
        DENIED,
    ),
    act(
        "write one's own program",
        "overwriting the host's binaries; CVE-2019-5736",
        "os.open('/proc/self/exe', os.O_WRONLY)",
        "write(made())",
        &["ETXTBSY", "EROFS", "EACCES"],
    ),
    act(
        "kill init",
        "signal",
        "[os.kill(1, number) for number in range(1, 65)]
result = told(status('State', 1)[0] not in 'SRD')",
        "child = os.fork()
if child == 0:
    signal.pause()
os.kill(child, 9); result = told(os.waitpid(child, 0)[1] == 9)",
        &["hidden"],
    ),
];
