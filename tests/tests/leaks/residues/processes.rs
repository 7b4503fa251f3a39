//! Processes that do not want to end, and what they hold.

use crate::residue::{Residue, residue};
use crate::setting::{ALL, FILTERED};

pub const PROCESSES: &[Residue] = &[
    residue("a daemon", "named('zyg-daemon')", "result = running('zyg-daemon')"),
    residue("any process", "", "result = found(others())"),
    residue(
        "a daemon that ignores every signal",
        "
def ignore():
    for number in set(range(1, 65)) - {9, 19, 32, 33}:
        signal.signal(number, signal.SIG_IGN)
named('zyg-ignores', ignore)",
        "result = running('zyg-ignores')",
    ),
    residue(
        "a daemon that blocks every signal",
        "named('zyg-blocks', lambda: signal.pthread_sigmask(signal.SIG_BLOCK, range(1, 65)))",
        "result = running('zyg-blocks')",
    ),
    residue(
        "a daemon that changes its number all the time",
        "
def flee():
    while True:
        if os.fork() != 0:
            os._exit(0)
        os.setsid()
        time.sleep(0.01)
def begin():
    if os.fork() == 0:
        write('/proc/self/comm', 'zyg-flees')
        flee()
named('zyg-fleeing', begin)",
        "result, alone = 'clean', 0  # in one look it may be between two numbers
for _ in range(200):
    if running('zyg-flees') == 'found':
        result = 'found'
        break
    alone = 0 if others() else alone + 1
    if alone == 8:
        break",
    ),
    residue(
        "a stopped process",
        "
if fork_off():
    os.setsid()
    write('/proc/self/comm', 'zyg-stopped')
    os.kill(os.getpid(), signal.SIGSTOP)
    os._exit(0)
until(lambda: running('zyg-stopped', 'T') == 'found')",
        "result = running('zyg-stopped', 'T')",
    ),
    residue(
        "a traced process",
        "
def trace():
    child = os.fork()
    if child == 0:
        write('/proc/self/comm', 'zyg-traced')
        call('ptrace', 0, 0, None, None)
        os.kill(os.getpid(), signal.SIGSTOP)
    os.waitpid(child, os.WUNTRACED)
named('zyg-tracer', trace)",
        "result = running('zyg-traced', 't')",
    ),
    residue(
        "a zombie",
        "
def beget():
    if os.fork() == 0:
        write('/proc/self/comm', 'zyg-zombie')
        os._exit(0)
    os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOWAIT)
named('zyg-begetter', beget)",
        "result = running('zyg-zombie', 'Z')",
    ),
    residue(
        "a process that waits for its vforked child",
        "
def wait_for_child():
    if os.fork() == 0:
        write('/proc/self/comm', 'zyg-vforks')
        libc.vfork()
        while True:
            signal.pause()
    until(lambda: running('zyg-vforks', 'D') == 'found')
named('zyg-vforker', wait_for_child)",
        "result = running('zyg-vforks', 'D')",
    ),
    residue(
        "a process whose first thread has ended",
        "
def end_first():
    if os.fork() == 0:
        import threading
        write('/proc/self/comm', 'zyg-threads')
        threading.Thread(target=signal.pause).start()
        libc.pthread_exit(None)
    until(lambda: running('zyg-threads', 'Z') == 'found')
named('zyg-threaded', end_first)",
        "result = running('zyg-threads', 'Z')",
    ),
    residue(
        "a process that reaps others' children",
        "
def adopt():
    check(libc.prctl(36, 1, 0, 0, 0))
    if os.fork() == 0:
        if os.fork() == 0:
            write('/proc/self/comm', 'zyg-adopted')
            while True:
                signal.pause()
        os._exit(0)
    os.wait()
    until(lambda: running('zyg-adopted') == 'found')
named('zyg-adopts', adopt)",
        "result = running('zyg-adopted')",
    ),
    residue(
        "a process stuck in opening a fifo",
        "os.mkfifo('/tmp/stuck')
if fork_off():
    os.setsid()
    write('/proc/self/comm', 'zyg-stuck')
    os.open('/tmp/stuck', os.O_RDONLY)
until(lambda: running('zyg-stuck', 'S') == 'found')",
        "result = running('zyg-stuck', 'S')",
    ),
    residue(
        "a process with timers",
        "
def arm():
    signal.signal(signal.SIGALRM, lambda *_: None)
    signal.setitimer(signal.ITIMER_REAL, 0.05, 0.05)
    timer = ctypes.c_void_p()
    check(libc.timer_create(1, None, ctypes.byref(timer)))
    check(libc.timer_settime(timer, 0, struct.pack('qqqq', 0, 50000000, 0, 50000000), None))
named('zyg-timers', arm)",
        "result = running('zyg-timers')",
    ),
    residue(
        "a timer to wake up by",
        "named('zyg-timerfd', lambda: check(libc.timerfd_create(1, 0)))",
        "result = held('anon_inode:[timerfd]')",
    ),
    residue(
        "a watch on a file of the host's",
        "
def watch():
    instance = check(libc.inotify_init())
    check(libc.inotify_add_watch(instance, b'/tmp/shared/file', 0xFFF))
    return instance
named('zyg-inotify', watch)",
        "result = held('anon_inode:inotify')",
    ),
    residue(
        "a watch on many files",
        "
def watch():
    instance = check(libc.fanotify_init(0x200, 0))
    check(libc.fanotify_mark(instance, 1, ctypes.c_ulong(0x100), -100, b'/tmp'))
    return instance
named('zyg-fanotify', watch)",
        "result = held('anon_inode:[fanotify]')",
    )
    .refused(FILTERED, "EPERM"),
    residue(
        "a handle of a process",
        "named('zyg-pidfd', lambda: os.pidfd_open(os.getpid()))",
        "result = found(held('anon_inode:[pidfd]') == 'found' or held('pidfd:') == 'found')",
    ),
    residue(
        "a ring of requests",
        "named('zyg-ring', lambda: call('io_uring_setup', 4, ctypes.create_string_buffer(120)))",
        "result = held('anon_inode:[io_uring]')",
    )
    .refused(FILTERED, "ENOSYS"),
    residue(
        "a handler of page faults",
        "named('zyg-faults', lambda: check(libc.syscall(ctypes.c_long(USERFAULTFD), 1)))",
        "result = held('anon_inode:[userfaultfd]')",
    )
    .refused(FILTERED, "EPERM"),
    residue(
        "a program of the kernel's",
        "attributes = struct.pack('IIII', 2, 4, 4, 1) + bytes(112)
named('zyg-bpf', lambda: call('bpf', 0, attributes, 128))",
        "result = held('anon_inode:bpf-map')",
    )
    .refused(ALL, "EPERM"),
    residue(
        "held pseudoterminals",
        "named('zyg-ptys', lambda: [os.openpty() for _ in range(5)])",
        "result = found(os.ttyname(os.openpty()[1]) != '/dev/pts/0')",
    ),
    residue(
        "changed settings of a terminal",
        "
def change_terminal():
    import termios, tty
    pair = os.openpty()
    tty.setraw(pair[1])
    termios.tcsetwinsize(pair[1], (7, 77))
    os.fchmod(pair[1], 0o606)
    return pair
named('zyg-tty', change_terminal)",
        "modes = [mode('/dev/pts/' + name) for name in os.listdir('/dev/pts') if name.isdigit()]
result = found(0o606 in modes)",
    ),
    residue(
        "a process with a terminal of its own",
        "
def take_terminal():
    import termios
    pair = os.openpty()
    fcntl.ioctl(pair[1], termios.TIOCSCTTY, 0)
    return pair
if fork_off():
    os.setsid()
    write('/proc/self/comm', 'zyg-terminal')
    kept = take_terminal()
    while True:
        signal.pause()
until(lambda: running('zyg-terminal', 'S') == 'found')",
        "result = running('zyg-terminal')",
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
        "result = 'found' if os.getpid() > 400 else 'clean' if os.getpid() == first else 'odd'",
    ),
];
