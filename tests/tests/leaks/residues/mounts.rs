//! Mounts and other namespaces of a command's own, held by a process.

use crate::residue::{Residue, residue};
use crate::setting::{ALL, HOSTS, NESTED, PLAIN, STRICT};

pub const MOUNTS: &[Residue] = &[
    residue(
        "a mount",
        "mount('zyg-mounted', '/tmp', 'tmpfs')",
        "result = found('zyg-mounted' in read('/proc/self/mountinfo'))",
    )
    .refused(ALL, "EPERM"),
    residue(
        "a mount in a namespace of its own",
        "nest()
mount('zyg-nested', '/var/tmp', 'tmpfs')",
        "result = found('zyg-nested' in read('/proc/self/mountinfo'))",
    )
    .refused(STRICT, "EPERM"),
    residue(
        "a mount in a namespace of a daemon's own",
        "
def mount_there():
    nest()
    mount('zyg-held', '/var/tmp', 'tmpfs')
named('zyg-mounts', mount_there)",
        "result = running('zyg-mounts')",
    )
    .refused(STRICT, "EPERM"),
    residue(
        "a layer in a namespace of its own",
        "
for name in ('lower', 'upper', 'work'):
    os.mkdir('/run/' + name)
nest()
options = 'lowerdir=/run/lower,upperdir=/run/upper,workdir=/run/work,userxattr'
mount('zyg-layer', '/run/lower', 'overlay', 0, options)",
        "result = found('zyg-layer' in read('/proc/self/mountinfo'))",
    )
    .refused_to_root(HOSTS & PLAIN, "EACCES")
    .refused(STRICT, "EPERM"),
    residue(
        "an unmounted place",
        "nest()
umount('/dev/pts', MNT_DETACH)",
        "result = found(' /dev/pts ' not in read('/proc/self/mountinfo'))",
    )
    .refused(NESTED, "EINVAL")
    .refused(STRICT, "EPERM"),
    residue(
        "a host name in a namespace of its own",
        "nest(CLONE_NEWUTS)
socket.sethostname('zyg-nested')",
        "result = found(os.uname().nodename == 'zyg-nested')",
    )
    .refused(STRICT, "EPERM"),
    residue(
        "System V's objects in a namespace of its own",
        "
def make():
    nest(CLONE_NEWIPC)
    check(libc.shmget(key + 7, 4096, 0o1600))
named('zyg-ipc', make)",
        "result = running('zyg-ipc')",
    )
    .refused(STRICT, "EPERM"),
    residue(
        "a network in a namespace of its own",
        "
def make():
    nest(CLONE_NEWNET)
    change(16, struct.pack('BxHiII', 0, 0, 1, 1, 1), 0)
    return socket.create_server(('127.0.0.1', base + 30))
named('zyg-network', make)",
        "result = running('zyg-network')",
    )
    .refused(STRICT, "EPERM"),
    residue(
        "processes in a namespace of its own",
        "
def make():
    nest(CLONE_NEWPID)
    if os.fork() == 0:
        write('/proc/self/comm', 'zyg-nestedpid')
        signal.pthread_sigmask(signal.SIG_BLOCK, range(1, 65))
        while True:
            signal.pause()
    until(lambda: running('zyg-nestedpid') == 'found')
named('zyg-pids', make)",
        "result = running('zyg-nestedpid')",
    )
    .refused(STRICT, "EPERM"),
    residue(
        "another time in a namespace of its own",
        "nest(0x80)
write('/proc/self/timens_offsets', 'monotonic 77 0')",
        "result = found(' 77 ' in read('/proc/self/timens_offsets'))",
    )
    .refused(STRICT, "EPERM"),
    residue(
        "a namespace held open",
        "
def inside():
    try:
        nest(CLONE_NEWNET | CLONE_NEWUTS)
    except OSError as error:
        os._exit(error.errno)
    write('/proc/self/comm', 'zyg-inside')
    signal.pause()
def hold():
    child = os.fork()
    if child == 0:
        inside()
    ended = lambda: os.waitid(os.P_PID, child, os.WEXITED | os.WNOHANG | os.WNOWAIT)
    until(lambda: running('zyg-inside', 'S') == 'found' or ended())
    if ended():
        raise OSError(ended().si_status, '')
    return os.open(f'/proc/{child}/ns/net', os.O_RDONLY)
named('zyg-holder', hold)",
        "result = held('net:[')",
    )
    .refused(STRICT, "EPERM"),
    residue(
        "a cgroup namespace",
        "nest(CLONE_NEWCGROUP)",
        "result = found('/..' in read('/proc/self/cgroup'))",
    )
    .refused(NESTED, "ENOSPC")
    .refused(STRICT, "EPERM"),
];
