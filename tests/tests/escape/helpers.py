import fcntl, struct, subprocess, threading
MS_NOSUID, MS_NODEV, MS_NOEXEC = 2, 4, 8


def told(reached):
    return "ok" if reached else "hidden"


def fresh():
    """A path of one's own, for controls."""
    return f"{own}/{os.getpid()}"


def made(text="original"):
    """A file of one's own, for controls."""
    path = fresh()
    with open(path, "w") as file:
        file.write(text)
    return path


def tolerate(names, act):
    """For controls of calls that some kernels or machines refuse to everybody."""
    try:
        return act()
    except OSError as error:
        if errno.errorcode[error.errno] not in names:
            raise


def climb():
    """Whether the hidden file of the host is found from here upwards."""
    return any(os.path.exists("../" * height + secret.lstrip("/")) for height in range(24)) or os.path.exists(secret)


def step(act, *arguments):
    """One step of a trick: what counts is what is reached in the end."""
    try:
        return act(*arguments)
    except OSError:
        return None


def mounts():
    """The uppermost mount at each point: the point, its options, its type."""
    found = {}
    for line in read("/proc/self/mountinfo").splitlines():
        fields, rest = line.split(" - ")
        point = fields.split()[4].replace("\\040", " ")
        found[point] = (point, fields.split()[5].split(","), rest.split()[0])
    return found.values()


def any_unmounted():
    """Whether any mount can be taken away."""
    count = len(read("/proc/self/mountinfo").splitlines())
    for point, *_ in list(mounts()):
        step(umount, point, MNT_DETACH)
    return len(read("/proc/self/mountinfo").splitlines()) < count


def race(swap, attack, rounds):
    """Swaps in one process, attacks in another."""
    swapper = os.fork()
    if swapper == 0:
        while os.getppid() != 1:
            swap()
        os._exit(0)
    try:
        for _ in range(rounds):
            if step(attack):
                return True
        return False
    finally:
        os.kill(swapper, 9)
        os.waitpid(swapper, 0)


def swap_links(place, mine, target):
    """A name that is one's own file at one moment, and a link to the target at the next."""
    links = [(place + "/link-mine", mine), (place + "/link-target", target)]

    def swap():
        for name, goal in links:
            os.symlink(goal, name)
            os.rename(name, place + "/name")
    return swap


def same(path, number):
    there, here = os.stat(path), os.fstat(number) if isinstance(number, int) else os.stat(number)
    return (there.st_dev, there.st_ino) == (here.st_dev, here.st_ino)


def race_to_write(place, target, rounds):
    mine = place + "/mine"
    create(mine)

    def attack():
        number = os.open(place + "/name", os.O_WRONLY)
        try:
            return same(target, number)
        finally:
            os.close(number)
    return race(swap_links(place, mine, target), attack, rounds)


def race_to_link(place, target, rounds):
    mine = place + "/mine"
    create(mine)

    def attack():
        hard = place + "/hard"
        check(libc.linkat(-100, encoded(place + "/name"), -100, encoded(hard), 0x400))
        try:
            return same(target, hard)
        finally:
            os.unlink(hard)
    return race(swap_links(place, mine, target), attack, rounds)


def set_mtu():
    """Of the loopback device; by an ioctl that needs CAP_NET_ADMIN over the net namespace."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
        fcntl.ioctl(any_socket, 0x8922, struct.pack("16si12x", b"lo", 65536))


def any_writable(top):
    for place, _, files in os.walk(top):
        for name in files:
            path = os.path.join(place, name)
            try:
                mode = os.lstat(path).st_mode
                if stat.S_ISREG(mode) and not mode & 0o002:
                    os.close(os.open(path, os.O_WRONLY | os.O_NONBLOCK))
                    return True
            except OSError:
                pass
    return False


def terminal():
    """A terminal that controls this process."""
    os.setsid()
    master, slave = os.openpty()
    fcntl.ioctl(slave, 0x540E, 0)
    return slave


def request(number, code, argument):
    check(libc.ioctl(number, ctypes.c_ulong(code), argument))


def rdonly(options):
    flags = {"nosuid": MS_NOSUID, "nodev": MS_NODEV, "noexec": MS_NOEXEC, "noatime": 1024, "nodiratime": 2048,
             "relatime": 1 << 21}
    return sum(flags.get(option, 0) for option in options)


def any_remounted():
    """Whether a read-only mount can be made writable, each flag but that one kept."""
    def tried(point, options):
        kept = rdonly(options)
        attributes = (ctypes.c_uint64 * 4)(0, 1, 0, 0)
        for act in (lambda: mount("x", point, None, MS_REMOUNT | MS_BIND | kept),
                    lambda: mount("x", point, None, MS_REMOUNT | kept),
                    lambda: check(libc.syscall(ctypes.c_long(442), -100, encoded(point), 0, attributes, ctypes.c_long(32)))):
            try:
                act()
                return True
            except OSError:
                pass
        return False
    return [point for point, options, _ in list(mounts()) if "ro" in options and tried(point, options)]


def own_mount():
    nest()
    mount("x", own, "tmpfs")
