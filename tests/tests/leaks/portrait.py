"""What a command finds around itself, alike in every lease: for what nobody has thought of."""
import re

PRIVATE = [place for place in ("/tmp", "/var/tmp", "/dev/shm", "/run") if os.path.isdir(place)]

STATUS = """Umask State Groups NSpid SigQ SigPnd ShdPnd SigBlk SigIgn SigCgt CapInh CapPrm CapEff
CapBnd CapAmb NoNewPrivs Seccomp Seccomp_filters Cpus_allowed_list THP_enabled""".split()

TABLES = """arp dev dev_mcast fib_trie icmp icmp6 if_inet6 igmp igmp6 ip6_flowlabel ipv6_route packet
raw raw6 route sockstat6 tcp tcp6 udp udp6 udplite unix""".split()

IPC = "shmmax shmall shmmni msgmax msgmnb msgmni sem hostname domainname".split()


def about(fields):
    return [line for line in read("/proc/self/status").splitlines() if line.split(":")[0] in fields]


def mounts():
    """Without the numbers of mounts and devices, which never come again, and those of slices."""
    text = re.sub(",[ug]id=[0-9]+", "", read("/proc/self/mountinfo"))
    lines = [line.split()[3:] for line in text.splitlines()]
    return sorted([field for field in line if not field.startswith("master:")] for line in lines)


def root_of(path):
    try:
        root = os.stat(path)
        kind = [root.st_mode, root.st_uid, root.st_gid, root.st_nlink]
        return [path, kind, attributes(path), sorted(os.listdir(path))]
    except OSError as error:
        return [path, errno.errorcode[error.errno]]


def space_of(path):
    space = os.statvfs(path)
    used = (space.f_blocks - space.f_bfree) * space.f_frsize >> 20
    return [path, used, space.f_files - space.f_ffree]


def settings(root, names=None):
    """The readable settings in a directory of /proc/sys."""
    values = {}
    for name in os.listdir(root) if names is None else names:
        try:
            values[f"{root}/{name}"] = read(f"{root}/{name}")
        except OSError:
            pass
    return values


def scheduling(process):
    priority = [libc.syscall(ctypes.c_long(IOPRIO_GET), 1, process), os.getpriority(0, process)]
    return priority + [os.sched_getscheduler(process), sorted(os.sched_getaffinity(process))]


def portrait():
    places = PRIVATE + ["/", "/dev", "/dev/pts", "/run/lock"]
    own = ["oom_score_adj", "timerslack_ns", "coredump_filter", "personality", "timens_offsets"]
    return {
        "status": about(STATUS),
        "limits": [resource.getrlimit(number) for number in range(16)],
        "limits of init": [resource.prlimit(1, number) for number in range(16)],
        "mounts": mounts(),
        "roots": [root_of(place) for place in places],
        "space": [space_of(place) for place in PRIVATE],
        "environment": dict(os.environ),
        "descriptors": sorted(os.listdir("/proc/self/fd")),
        "names": os.uname()[:2],
        "scheduling": [scheduling(0), scheduling(1)],
        "properties": settings("/proc/self", own),
        "numbers": [os.getpid(), os.getppid(), os.getpgrp(), os.getsid(0)],
        "processes": [state_of(process) for process in others()],
        "timers": [signal.getitimer(which) for which in (0, 1, 2)],
        "ipc": settings("/proc/sysvipc"),
        "settings of ipc": settings("/proc/sys/fs/mqueue") | settings("/proc/sys/kernel", IPC),
        "bounds": settings("/proc/sys/user"),
    }


def portrait_of_network():
    """Of one that is not the host's, where everything changes all the time."""
    return {
        "network": {name: table_of(name) for name in TABLES},
        "settings of the network": settings("/proc/sys/net/ipv4") | settings("/proc/sys/net/core"),
        "settings of lo": settings("/proc/sys/net/ipv4/conf/lo"),
        "metrics": len(metrics()),
    }
