"""What residues are planted and found with, on top of what every probe has."""
import fcntl, mmap, resource, struct, time


def until(look):
    """Waits for what has no event, such as the state of a connection."""
    end = time.monotonic() + 20
    while not look():
        assert time.monotonic() < end, "it did not come about"
        os.sched_yield()


def found(whether):
    return "found" if whether else "clean"


def exists(path):
    return found(os.path.lexists(path))


def lasting(held, look):
    """Whether something lasts that the kernel clears up a little after its holder's end."""
    end = time.monotonic() + 20
    while look() == "found":
        if held() == "found" or time.monotonic() > end:
            return "found"
        os.sched_yield()
    return "clean"


def has_line(path, part):
    return found(os.path.exists(path) and part in read(path))


def set_autogroup(process):
    """The nice value of a session; whoever else sets one at the time makes that fail (sched(7))."""

    def is_set():
        try:
            write(f"/proc/{process}/autogroup", "7")
        except BlockingIOError:
            return False
        return True

    until(is_set)


def fork_off():
    """A child without any descriptor of a probe's, which would wait for it: true in the child."""
    if os.fork() != 0:
        return False
    os.closerange(0, 256)
    return True


# Processes


def named(name, setup=lambda: None):
    """A daemon by a name of at most 15 bytes (proc_pid_comm(5)). Fails as its setup does."""
    failed = mmap.mmap(-1, 4)

    def whole():
        try:
            kept = setup()
        except OSError as error:
            failed[:4] = struct.pack("i", error.errno)
            raise
        write("/proc/self/comm", name)
        return kept

    try:
        daemon(whole)
    except AssertionError:
        if failed[:4] != bytes(4):
            raise OSError(struct.unpack("i", failed[:4])[0], "") from None
        raise


def others():
    own = (1, os.getpid(), os.getppid())
    processes = [int(entry) for entry in os.listdir("/proc") if entry.isdigit()]
    return [process for process in processes if process not in own]


def state_of(process):
    """Its name, and its state as a letter (proc_pid_stat(5))."""
    head, _, tail = read(f"/proc/{process}/stat").rpartition(") ")
    return head.partition("(")[2], tail[0]


def running(name, states="RSDTtZ"):
    for process in others():
        try:
            comm, state = state_of(process)
        except OSError:
            continue
        if comm == name and state in states:
            return "found"
    return "clean"


def held(start):
    """Whether a process holds a descriptor of something whose name starts so."""
    for process in others():
        try:
            for number in os.listdir(f"/proc/{process}/fd"):
                if os.readlink(f"/proc/{process}/fd/{number}").startswith(start):
                    return "found"
        except OSError:
            pass
    return "clean"


def new_queue(name):
    """A small one: there is a bound on what all queues of a user take (mq_overview(7))."""
    flags = os.O_RDWR | os.O_CREAT
    return check(libc.mq_open(name, flags, 0o600, struct.pack("8q", 0, 1, 1, 0, 0, 0, 0, 0)))


# Sockets

LOCAL, REMOTE = 1, 2
ESTABLISHED, SYN_SENT, SYN_RECV, FIN_WAIT1, FIN_WAIT2 = "01", "02", "03", "04", "05"
TIME_WAIT, CLOSE_WAIT, LAST_ACK, LISTEN, CLOSING = "06", "08", "09", "0A", "0B"


tables_read = {}


def table_of(name):
    """A table of /proc/net, read once: the kernel walks through every bucket for it."""
    if name not in tables_read:
        path = "/proc/net/" + name
        tables_read[name] = read(path).splitlines() if os.path.exists(path) else []
    return tables_read[name]


def tcp(side, number, state, orphan=False, table="tcp"):
    """Whether there is a connection in this state with this port (proc_net(5))."""
    for line in table_of(table)[1:]:
        fields = line.split()
        port = int(fields[side].rpartition(":")[2], 16)
        if port == number and fields[3] == state and (not orphan or fields[9] == "0"):
            return "found"
    return "clean"


def reach(side, number, state, **more):
    def reached():
        tables_read.clear()
        return tcp(side, number, state, **more) == "found"

    until(reached)


def connection(number):
    """Both ends, the second of which has the port; with buffers that are soon full."""
    listener = socket.socket()
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    listener.bind(("127.0.0.1", number))
    listener.listen()
    one = socket.socket()
    one.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    one.connect(("127.0.0.1", number))
    two, _ = listener.accept()
    return one, two


def fill(end):
    """Sends until nothing more is taken."""
    end.setblocking(False)
    try:
        while True:
            end.send(bytes(1 << 16))
    except BlockingIOError:
        pass


def unix(kind, name):
    bound = socket.socket(socket.AF_UNIX, kind)
    bound.bind("\0" + name)
    return bound


def listed(name, table="unix"):
    return found(name in read("/proc/net/" + table))


# Netlink (netlink(7), rtnetlink(7))

ROUTE, NETFILTER, GENERIC = 0, 12, 16
REQUEST, ACK, EXCLUSIVE, CREATE, DUMP = 0x1, 0x4, 0x200, 0x400, 0x300


def attribute(kind, data):
    return struct.pack("HH", 4 + len(data), kind) + data + bytes(-len(data) % 4)


def message(kind, flags, body):
    return struct.pack("IHHII", 16 + len(body), kind, flags | REQUEST, 1, 0) + body


def messages(link):
    """The kind and body of each message of one datagram."""
    data = link.recv(1 << 18)
    while len(data) >= 16:
        length, kind = struct.unpack("IH", data[:6])
        yield kind, data[16:length]
        data = data[(length + 3) & ~3:]


def netlink(family, request):
    """Every answer up to the last or to the acknowledgement."""
    link = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, family)
    link.settimeout(20)
    link.send(request)
    answers = []
    while True:
        for kind, body in messages(link):
            if kind in (2, 3):
                result = struct.unpack("i", body[:4])[0] if len(body) >= 4 else 0
                if result < 0:
                    raise OSError(-result, "")
                return answers
            answers.append(body)


def change(kind, body, flags=CREATE | EXCLUSIVE):
    netlink(ROUTE, message(kind, ACK | flags, body))


def dump(kind, body):
    return netlink(ROUTE, message(kind, DUMP, body))


def lists(kind, body, needle):
    return found(any(needle in answer for answer in dump(kind, body)))


def index_of(name):
    """That of lo where there is no such link."""
    try:
        return socket.if_nametoindex(name)
    except OSError:
        return 1


def link_named(name):
    return found(os.path.exists("/proc/sys/net/ipv4/conf/" + name))


def tables():
    """The tables of nftables, by name."""
    try:
        body = struct.pack("BBH", 0, 0, 0)
        return netlink(NETFILTER, message(10 << 8 | 1, DUMP, body))
    except PermissionError:
        return []


def new_table(name):
    def edge(kind):
        return message(kind, 0, struct.pack("BBH", 0, 0, socket.htons(10)))

    body = struct.pack("BBH", socket.AF_INET, 0, 0) + attribute(1, name + b"\0")
    netlink(NETFILTER, edge(0x10) + message(10 << 8, ACK | CREATE, body) + edge(0x11))


def metrics():
    """What is remembered of former connections (tcp_metrics(8))."""
    body = struct.pack("BBH", 3, 1, 0) + attribute(2, b"tcp_metrics\0")
    family = netlink(GENERIC, message(16, ACK, body))[0]
    at = family.find(struct.pack("HH", 6, 1))
    number = struct.unpack("H", family[at + 4:at + 6])[0]
    return netlink(GENERIC, message(number, DUMP, struct.pack("BBH", 1, 1, 0)))


# Keys (keyctl(2))

THREAD, PROCESS, SESSION, USER, USER_SESSION = -1, -2, -3, -4, -5


def add_key(ring, name):
    check(libc.syscall(ctypes.c_long(ADD_KEY), b"user", name, b"x", ctypes.c_size_t(1), ring))


def search_key(ring, name):
    return found(libc.syscall(ctypes.c_long(KEYCTL), 10, ring, b"user", name, 0) >= 0)


def persistent():
    return check(libc.syscall(ctypes.c_long(KEYCTL), 22, -1, PROCESS))


# Locks


def lock(command, kind, start=7):
    """A byte of the file that all are shown."""
    file = os.open("/tmp/shared/file", os.O_RDONLY)
    fcntl.fcntl(file, command, struct.pack("hhqqi4x", kind, 0, start, 1, 0))
    return file


def locked(command, start):
    request = struct.pack("hhqqi4x", fcntl.F_WRLCK, 0, start, 1, 0)
    answer = fcntl.fcntl(os.open("/tmp/shared/file", os.O_RDONLY), command, request)
    return found(struct.unpack("h", answer[:2])[0] != fcntl.F_UNLCK)


# Access control lists (acl(5))


def acl():
    """An attribute with an entry for one user beside the three that there always are."""
    user = os.getuid()
    entries = [(tag, 5, user if tag == 2 else 0xFFFFFFFF) for tag in (1, 2, 4, 16, 32)]
    return struct.pack("I", 2) + b"".join(struct.pack("HHI", *entry) for entry in entries)


def attributes(path):
    try:
        return os.listxattr(path)
    except OSError:
        return []


def mode(path):
    return os.stat(path).st_mode & 0o7777
