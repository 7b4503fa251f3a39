//! What processes pass on to their children.

use crate::residue::{Residue, residue};
use crate::setting::{ALL, PLAIN};

pub const PROPERTIES: &[Residue] = &[
    residue(
        "a resource limit",
        "resource.setrlimit(resource.RLIMIT_NOFILE, (77, 77))",
        "result = found(resource.getrlimit(resource.RLIMIT_NOFILE)[1] == 77)",
    ),
    residue(
        "a raised resource limit",
        "check(libc.setrlimit(resource.RLIMIT_RTPRIO, struct.pack('QQ', 7, 7)))",
        "result = found(resource.getrlimit(resource.RLIMIT_RTPRIO)[1] == 7)",
    )
    .refused(ALL, "EPERM"),
    residue(
        "a nice value",
        "os.setpriority(os.PRIO_PROCESS, 0, 7)",
        "result = found(os.getpriority(os.PRIO_PROCESS, 0) == 7)",
    ),
    residue(
        "a higher priority",
        "os.setpriority(os.PRIO_PROCESS, 0, -7)",
        "result = found(os.getpriority(os.PRIO_PROCESS, 0) == -7)",
    )
    .refused(ALL, "EACCES"),
    residue(
        "a priority of input and output",
        "check(libc.syscall(ctypes.c_long(IOPRIO_SET), 1, 0, 3 << 13))",
        "result = found(libc.syscall(ctypes.c_long(IOPRIO_GET), 1, 0) == 3 << 13)",
    ),
    residue(
        "a scheduling policy",
        "os.sched_setscheduler(0, os.SCHED_BATCH, os.sched_param(0))",
        "result = found(os.sched_getscheduler(0) == os.SCHED_BATCH)",
    ),
    residue(
        "a policy of real time",
        "os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(1))",
        "result = found(os.sched_getscheduler(0) == os.SCHED_FIFO)",
    )
    .refused(ALL, "EPERM"),
    residue(
        "a choice of processors",
        "os.sched_setaffinity(0, {0})",
        "result = found(os.sched_getaffinity(0) == {0})",
    ),
    residue(
        "the priority of a session",
        "if fork_off(): os._exit(0)
os.wait(); os.setsid(); set_autogroup('self')",
        "result = has_line('/proc/self/autogroup', 'nice 7')",
    ),
    residue(
        "a preference of the out-of-memory killer",
        "write('/proc/self/oom_score_adj', '777')",
        "result = found(read('/proc/self/oom_score_adj').strip() == '777')",
    ),
    residue(
        "a slack of timers",
        "check(libc.prctl(29, 777777, 0, 0, 0))",
        "result = found(libc.prctl(30, 0, 0, 0, 0) == 777777)",
    ),
    residue(
        "what a core dump has",
        "write('/proc/self/coredump_filter', '0x7f')",
        "result = found(read('/proc/self/coredump_filter').strip() == '0000007f')",
    ),
    residue(
        "no huge pages",
        "check(libc.prctl(41, 1, 0, 0, 0))",
        "result = found(libc.prctl(42, 0, 0, 0, 0) == 1)",
    ),
    residue(
        "an adopter of orphans",
        "check(libc.prctl(36, 1, 0, 0, 0))",
        "answer = ctypes.c_int()
libc.prctl(37, ctypes.byref(answer), 0, 0, 0)
result = found(answer.value)",
    ),
    residue(
        "a signal at the parent's end",
        "check(libc.prctl(1, 10, 0, 0, 0))",
        "answer = ctypes.c_int()
libc.prctl(2, ctypes.byref(answer), 0, 0, 0)
result = found(answer.value)",
    ),
    residue(
        "the host name that was asked for",
        "",
        "result = found(os.uname().nodename == 'zyg-leak')",
    ),
    residue(
        "the host name",
        "socket.sethostname('zyg-set')",
        "result = found(os.uname().nodename == 'zyg-set')",
    )
    .refused(ALL, "EPERM"),
    residue(
        "the domain name",
        "check(libc.setdomainname(b'zyg-set', ctypes.c_size_t(7)))",
        "result = found(read('/proc/sys/kernel/domainname').strip() == 'zyg-set')",
    )
    .refused(ALL, "EPERM"),
    residue("a mount that was asked for", "", "result = exists('/tmp/asked')"),
    residue(
        "an environment variable",
        "os.environ['ZYG_RESIDUE'] = 'x'",
        "result = found('ZYG_RESIDUE' in os.environ)",
    ),
    residue(
        "a file mode mask",
        "os.umask(0o077)",
        "mask = os.umask(0o022)
os.umask(mask)
result = found(mask == 0o077)",
    ),
    residue("a working directory", "os.chdir('/tmp')", "result = found(os.getcwd() == '/tmp')"),
    residue("another root", "os.chroot('/usr')", "result = found(not os.path.exists('/usr'))")
        .refused(PLAIN, "EPERM"),
    residue(
        "an execution domain",
        "libc.personality(0x0040000)",
        "result = found(libc.personality(0xffffffff) == 0x0040000)",
    ),
    residue(
        "an ignored signal",
        "signal.signal(signal.SIGUSR1, signal.SIG_IGN)",
        "result = found(signal.getsignal(signal.SIGUSR1) == signal.SIG_IGN)",
    ),
    residue(
        "a blocked signal",
        "signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGUSR2])",
        "result = found(signal.SIGUSR2 in signal.pthread_sigmask(signal.SIG_BLOCK, []))",
    ),
    residue(
        "a pending signal",
        "signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGUSR2, 40])
os.kill(os.getpid(), signal.SIGUSR2)
for _ in range(9):
    os.kill(os.getpid(), 40)",
        "result = found(signal.sigpending())",
    ),
    residue(
        "an alarm",
        "signal.alarm(1000)",
        "result = found(signal.getitimer(signal.ITIMER_REAL)[0])",
    ),
    residue(
        "a timer of processor time",
        "signal.setitimer(signal.ITIMER_PROF, 1000)",
        "result = found(signal.getitimer(signal.ITIMER_PROF)[0])",
    ),
    residue(
        "a descriptor that is inherited",
        "os.dup2(os.open('/tmp', os.O_RDONLY), 77)",
        "result = found(os.path.exists('/proc/self/fd/77'))",
    ),
    residue(
        "a session of its own",
        "if os.getpid() == os.getsid(0) and os.fork(): os._exit(os.wait()[1])
os.setsid(); write('/proc/self/comm', 'zyg-session')",
        "result = found(state_of('self')[0] == 'zyg-session')",
    ),
    residue(
        "a rule of Landlock",
        "
rules = check(libc.syscall(ctypes.c_long(444), struct.pack('Q', 1 << 3), ctypes.c_size_t(8), 0))
check(libc.prctl(38, 1, 0, 0, 0))
check(libc.syscall(ctypes.c_long(446), rules, 0))",
        "
try:
    os.open('/tmp', os.O_RDONLY | os.O_DIRECTORY)
    os.listdir('/tmp')
    result = 'clean'
except PermissionError:
    result = 'found'",
    ),
    residue(
        "a strict filter",
        "check(libc.prctl(38, 1, 0, 0, 0))
program = struct.pack('HBBI', 0x06, 0, 0, 0x7fff0000)
buffer = ctypes.create_string_buffer(program)
check(libc.prctl(22, 2, struct.pack('HxxxxxxQ', 1, ctypes.addressof(buffer)), 0, 0))",
        "result = found(int(status('Seccomp_filters')) != filters)",
    ),
];
