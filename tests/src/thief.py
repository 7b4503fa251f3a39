"""Does one thing that takes another process than the test's, and passes on what it got, as
descriptors over the socket that is its standard input.

    take PID        stop that process and take every descriptor that it has (pidfd_getfd(2))
    connect UID PATH    connect to that socket as that user
"""
import ctypes, errno, os, signal, socket, sys

SYS_PIDFD_GETFD = 438
link = socket.socket(fileno=0)


def tell(text, *descriptors):
    socket.send_fds(link, [text.encode()], list(descriptors))


def stopped(pid):
    with open(f"/proc/{pid}/stat") as stat:
        return stat.read().rsplit(")", 1)[1].split()[0] == "T"


def take(pid):
    libc = ctypes.CDLL(None, use_errno=True)
    pidfd = os.pidfd_open(pid)
    signal.pidfd_send_signal(pidfd, signal.SIGSTOP)
    while not stopped(pid):
        os.sched_yield()
    tell("process", pidfd)
    # Its directory in /proc cannot be listed where it may not be traced: all numbers are tried.
    for name in range(256):
        number = libc.syscall(SYS_PIDFD_GETFD, pidfd, name, 0)
        if number < 0:
            error = ctypes.get_errno()
            if error == errno.EBADF:
                continue
            signal.pidfd_send_signal(pidfd, signal.SIGCONT)
            raise OSError(error, "")
        tell(f"{name} {os.readlink(f'/proc/self/fd/{number}')}", number)
        os.close(number)


def connect(uid, path):
    if uid != os.getuid():
        os.setgroups([])
        os.setresgid(uid, uid, uid)
        os.setresuid(uid, uid, uid)
    connected = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    connected.connect(path)
    tell("connected", connected.fileno())


try:
    if sys.argv[1] == "take":
        take(int(sys.argv[2]))
    else:
        connect(int(sys.argv[2]), sys.argv[3])
except OSError as error:
    tell("failed " + errno.errorcode[error.errno])
