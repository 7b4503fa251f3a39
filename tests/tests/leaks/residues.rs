//! Everything that can be left behind, and how to find it again.

/// Something left behind in a lease.
#[derive(Debug, Clone, Copy)]
pub struct Residue {
    /// What it is.
    pub name: &'static str,
    /// Leaves it behind.
    pub plant: &'static str,
    /// Says `found` or `clean`.
    pub look: &'static str,
    /// Whether leases that run at the same time see it, too, because it hangs on a file of the
    /// host that both are shown.
    pub shared: bool,
}

const fn residue(name: &'static str, plant: &'static str, look: &'static str) -> Residue {
    Residue { name, plant, look, shared: false }
}

/// What is written to private places.
pub const FILES: [Residue; 14] = [
    residue("a file in /tmp", "create('/tmp/residue')", IN_TMP),
    residue(
        "a file in /var/tmp",
        "create('/var/tmp/residue')",
        "result = 'found' if os.path.lexists('/var/tmp/residue') else 'clean'",
    ),
    residue(
        "a file in /dev/shm",
        "create('/dev/shm/residue')",
        "result = 'found' if os.path.lexists('/dev/shm/residue') else 'clean'",
    ),
    residue(
        "a file in /run",
        "create('/run/residue')",
        "result = 'found' if os.path.lexists('/run/residue') else 'clean'",
    ),
    residue(
        "a file in /run/lock",
        "create('/run/lock/residue')",
        "result = 'found' if os.path.lexists('/run/lock/residue') else 'clean'",
    ),
    residue(
        "a file in home",
        "create(home + '/residue')",
        "result = 'found' if os.path.lexists(home + '/residue') else 'clean'",
    ),
    residue(
        "a directory that nobody may enter",
        "os.makedirs('/tmp/closed/deep'); os.chmod('/tmp/closed', 0)",
        "result = 'found' if os.path.lexists('/tmp/closed') else 'clean'",
    ),
    residue(
        "a dangling link",
        "os.symlink('/nowhere', '/tmp/link')",
        "result = 'found' if os.path.lexists('/tmp/link') else 'clean'",
    ),
    residue(
        "a fifo",
        "os.mkfifo('/tmp/fifo')",
        "result = 'found' if os.path.lexists('/tmp/fifo') else 'clean'",
    ),
    residue(
        "a changed file of home",
        "write(fixture + '/file', 'changed!')",
        "result = 'clean' if read(fixture + '/file') == 'original' else 'found'",
    ),
    residue(
        "a removed file of home",
        "os.unlink(fixture + '/other')",
        "result = 'clean' if os.path.exists(fixture + '/other') else 'found'",
    ),
    residue(
        "a changed mode in home",
        "os.chmod(fixture + '/file', 0o4777)",
        "result = 'found' if os.stat(fixture + '/file').st_mode & 0o7777 == 0o4777 else 'clean'",
    ),
    residue(
        "an attribute",
        "create('/tmp/attributed'); os.setxattr('/tmp/attributed', 'user.zyg', b'x')",
        "result = 'found' if os.path.exists('/tmp/attributed') else 'clean'",
    ),
    residue(
        "used space",
        "file = open('/tmp/large', 'wb'); file.write(bytes(8 << 20)); file.flush()",
        "space = os.statvfs('/tmp')
result = 'found' if (space.f_blocks - space.f_bfree) * space.f_frsize > 4 << 20 else 'clean'",
    ),
];

const IN_TMP: &str = "result = 'found' if os.path.lexists('/tmp/residue') else 'clean'";

/// What is changed at the roots of private places, which are made anew, not emptied.
pub const ROOTS: [Residue; 7] = [
    residue(
        "an attribute of /tmp",
        "os.setxattr('/tmp', 'user.zyg', b'x')",
        "result = 'found' if 'user.zyg' in os.listxattr('/tmp') else 'clean'",
    ),
    residue(
        "an attribute of home",
        "os.setxattr(home, 'user.zyg', b'x')",
        "result = 'found' if 'user.zyg' in os.listxattr(home) else 'clean'",
    ),
    residue("mode of /tmp", "os.chmod('/tmp', 0)", MODE_OF_TMP),
    residue(
        "mode of /dev/shm",
        "os.chmod('/dev/shm', 0)",
        "result = 'clean' if os.stat('/dev/shm').st_mode & 0o7777 else 'found'",
    ),
    residue(
        "mode of /run",
        "os.chmod('/run', 0)",
        "result = 'clean' if os.stat('/run').st_mode & 0o7777 else 'found'",
    ),
    residue(
        "mode of home",
        "os.chmod(home, 0o1700)",
        "result = 'found' if os.stat(home).st_mode & 0o7777 == 0o1700 else 'clean'",
    ),
    residue(
        "times of /var/tmp",
        "os.utime('/var/tmp', (1, 1))",
        "result = 'found' if os.stat('/var/tmp').st_mtime == 1 else 'clean'",
    ),
];

const MODE_OF_TMP: &str = "result = 'clean' if os.stat('/tmp').st_mode & 0o7777 else 'found'";

/// What lives in the kernel without a process.
pub const IPC: [Residue; 6] = [
    residue(
        "shared memory",
        "check(libc.shmget(key, 4096, 0o1600))",
        "result = 'found' if libc.shmget(key, 0, 0) >= 0 else 'clean'",
    ),
    residue(
        "semaphores",
        "check(libc.semget(key, 3, 0o1600))",
        "result = 'found' if libc.semget(key, 0, 0) >= 0 else 'clean'",
    ),
    residue(
        "a message queue with a message",
        "queue = check(libc.msgget(key, 0o1600))
check(libc.msgsnd(queue, (ctypes.c_long * 2)(1, 2), ctypes.c_size_t(8), 0))",
        "result = 'found' if libc.msgget(key, 0) >= 0 else 'clean'",
    ),
    residue(
        "a POSIX queue",
        "check(libc.mq_open(b'/zyg-residue', os.O_RDWR | os.O_CREAT, 0o600, None))",
        "result = 'found' if libc.mq_open(b'/zyg-residue', os.O_RDWR) >= 0 else 'clean'",
    ),
    residue(
        "a POSIX semaphore",
        "open_semaphore = libc.sem_open
open_semaphore.restype = ctypes.c_void_p
assert open_semaphore(b'/zyg-residue', os.O_CREAT, 0o600, 0)",
        "open_semaphore = libc.sem_open
open_semaphore.restype = ctypes.c_void_p
result = 'found' if open_semaphore(b'/zyg-residue', 0) else 'clean'",
    ),
    residue(
        "anything in /proc/sysvipc",
        "check(libc.shmget(0, 4096, 0o1600))",
        "lines = sum(read('/proc/sysvipc/' + kind).count('\\n') for kind in ('shm', 'sem', 'msg'))
result = 'found' if lines > 3 else 'clean'",
    ),
];

/// Whether anything is listed in a table of the network's sockets.
const IN_TCP: &str = "lines = sum(read('/proc/net/tcp' + v).count('\\n') for v in ('', '6') \
                      if os.path.exists('/proc/net/tcp' + v))
result = 'found' if lines > (2 if os.path.exists('/proc/net/tcp6') else 1) else 'clean'";

/// Sockets in every state.
pub const SOCKETS: [Residue; 8] = [
    residue(
        "an abstract socket",
        "
def listen():
    listener = socket.socket(socket.AF_UNIX)
    listener.bind('\\0zyg-residue')
    listener.listen()
    return listener
daemon(listen)",
        "try:
    socket.socket(socket.AF_UNIX).connect('\\0zyg-residue')
    result = 'found'
except ConnectionRefusedError:
    result = 'clean'",
    ),
    residue(
        "a socket with a path",
        "socket.socket(socket.AF_UNIX).bind('/tmp/socket')",
        "result = 'found' if os.path.exists('/tmp/socket') else 'clean'",
    ),
    residue(
        "a TCP listener",
        "daemon(lambda: socket.create_server(('127.0.0.1', 8080)))",
        "try:
    socket.create_connection(('127.0.0.1', 8080))
    result = 'found'
except ConnectionRefusedError:
    result = 'clean'",
    ),
    residue(
        "a bound UDP port",
        "
def bind():
    bound = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    bound.bind(('127.0.0.1', 53))
    return bound
daemon(bind)",
        "result = 'found' if read('/proc/net/udp').count('\\n') > 1 else 'clean'",
    ),
    residue(
        "a connection that waits for its end",
        "listener = socket.create_server(('127.0.0.1', 0))
one = socket.create_connection(listener.getsockname())
two, _ = listener.accept()
one.close(); two.close(); listener.close()",
        "states = [line.split()[3] for line in read('/proc/net/tcp').splitlines()[1:]]
result = 'found' if '06' in states else 'clean'",
    ),
    residue(
        "a connection closed by one side",
        "
def half():
    listener = socket.create_server(('127.0.0.1', 0))
    one = socket.create_connection(listener.getsockname())
    two, _ = listener.accept()
    one.shutdown(socket.SHUT_WR)
    return listener, one, two
daemon(half)",
        IN_TCP,
    ),
    residue(
        "a connection that was never accepted",
        "
def queued():
    listener = socket.create_server(('127.0.0.1', 0))
    return listener, socket.create_connection(listener.getsockname())
daemon(queued)",
        IN_TCP,
    ),
    residue(
        "anything among the Unix sockets",
        "daemon(lambda: socket.socketpair())",
        "result = 'found' if read('/proc/net/unix').count('\\n') > 1 else 'clean'",
    ),
];

/// Whether there are processes beside init, the probe and the act.
const OTHERS: &str = "others = [int(name) for name in os.listdir('/proc') if name.isdigit()]
result = 'found' if set(others) - {1, os.getpid(), os.getppid()} else 'clean'";

/// Processes that do not want to end, and what they hold.
pub const PROCESSES: [Residue; 8] = [
    residue("a daemon", "daemon(lambda: None)", OTHERS),
    residue(
        "a daemon that ignores every signal",
        "daemon(lambda: [signal.signal(number, signal.SIG_IGN) for number in range(1, 65)
    if number not in (9, 19, 32, 33)])",
        OTHERS,
    ),
    residue(
        "a stopped process",
        "
child = os.fork()
if child == 0:
    os.setsid()
    for number in range(256):
        try:
            os.close(number)
        except OSError:
            pass
    os.kill(os.getpid(), signal.SIGSTOP)
    os._exit(0)
os.waitpid(child, os.WUNTRACED)",
        OTHERS,
    ),
    residue(
        "a traced process",
        "
def trace():
    child = os.fork()
    if child == 0:
        call('ptrace', 0, 0, None, None)
        os.kill(os.getpid(), signal.SIGSTOP)
    os.waitpid(child, os.WUNTRACED)
daemon(trace)",
        OTHERS,
    ),
    residue(
        "a zombie",
        "
def beget():
    if os.fork() == 0:
        os._exit(0)
    os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOWAIT)
daemon(beget)",
        OTHERS,
    ),
    residue(
        "held pseudoterminals",
        "import pty
daemon(lambda: [pty.openpty() for _ in range(5)])",
        "import pty
result = 'clean' if os.ttyname(pty.openpty()[1]) == '/dev/pts/0' else 'found'",
    ),
    residue(
        "used up process numbers",
        "
for _ in range(500):
    if os.fork() == 0:
        os._exit(0)
    os.wait()
if os.fork() != 0:
    os._exit(os.wait()[1])",
        "result = 'found' if os.getpid() > 400 else 'clean'",
    ),
    Residue {
        name: "a lock on a file of the host",
        plant: "import fcntl
def lock():
    file = os.open('/tmp/shared/file', os.O_RDONLY)
    fcntl.flock(file, fcntl.LOCK_SH)
    return file
daemon(lock)",
        look: "import fcntl
try:
    fcntl.flock(os.open('/tmp/shared/file', os.O_RDONLY), fcntl.LOCK_EX | fcntl.LOCK_NB)
    result = 'clean'
except BlockingIOError:
    result = 'found'",
        shared: true,
    },
];

/// What processes pass on to their children. Init itself cannot be given any of it.
pub const PROPERTIES: [Residue; 9] = [
    residue(
        "a resource limit",
        "import resource
resource.setrlimit(resource.RLIMIT_CORE, (17, 17))",
        "import resource
result = 'found' if resource.getrlimit(resource.RLIMIT_CORE)[1] == 17 else 'clean'",
    ),
    residue(
        "a nice value",
        "os.setpriority(os.PRIO_PROCESS, 0, 7)",
        "result = 'found' if os.getpriority(os.PRIO_PROCESS, 0) == 7 else 'clean'",
    ),
    residue(
        "a scheduling policy",
        "os.sched_setscheduler(0, os.SCHED_BATCH, os.sched_param(0))",
        "result = 'found' if os.sched_getscheduler(0) == os.SCHED_BATCH else 'clean'",
    ),
    residue(
        "the host name",
        "",
        "result = 'found' if os.uname().nodename == 'zyg-leak' else 'clean'",
    ),
    residue(
        "an environment variable",
        "os.environ['ZYG_RESIDUE'] = 'x'",
        "result = 'found' if 'ZYG_RESIDUE' in os.environ else 'clean'",
    ),
    residue(
        "a file mode mask",
        "os.umask(0o077)",
        "result = 'found' if os.umask(0) == 0o077 else 'clean'",
    ),
    residue(
        "a working directory",
        "os.chdir('/tmp')",
        "result = 'found' if os.getcwd() == '/tmp' else 'clean'",
    ),
    residue(
        "an execution domain",
        "libc.personality(0x0040000)",
        "result = 'found' if libc.personality(0xffffffff) == 0x0040000 else 'clean'",
    ),
    residue(
        "an ignored signal",
        "signal.signal(signal.SIGUSR1, signal.SIG_IGN)",
        "result = 'found' if signal.getsignal(signal.SIGUSR1) == signal.SIG_IGN else 'clean'",
    ),
];
