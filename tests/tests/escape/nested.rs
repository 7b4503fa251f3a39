//! A user namespace of one's own, with every capability in it. `strict` refuses the namespace itself;
//! where it is allowed, nothing outside of it is in reach.

use crate::acts::{Act, act};

const DENIED: &[&str] = &["EPERM", "EINVAL", "EACCES", "EROFS"];
const REFUSED: &[&str] = &["EPERM"];
const HIDDEN: &[&str] = &["hidden"];
const OWN: &str = "own_mount(); umount(own, MNT_DETACH)";
const NAMED: &str = "nest(CLONE_NEWUTS); check(libc.sethostname(b'x', 1))";

pub const ACTS: &[Act] = &[
    act("make a user namespace", "unshare", "unshare(CLONE_NEWUSER)", "", &["ok"]).strict(REFUSED),
    act("make a user namespace by clone", "clone", "child = check(libc.syscall(ctypes.c_long(56), ctypes.c_ulong(CLONE_NEWUSER | 17), None, None, None, ctypes.c_long(0)))
if child == 0: os._exit(0)
os.waitpid(child, 0)", "", &["ok"]).strict(REFUSED),
    act("remount every mount, nested", "remount", "nest(); result = told(any_remounted())", "own_mount(); mount('x', own, None, MS_REMOUNT | MS_BIND | MS_RDONLY); result = told(any_remounted())", HIDDEN).strict(REFUSED),
    act("uncover every mount, nested", "umount", "nest(); result = told(any_unmounted())", OWN, HIDDEN).strict(REFUSED),
    act("mount a cgroup with a release agent", "release_agent; CVE-2022-0492", "nest(CLONE_NEWNS | CLONE_NEWCGROUP); mount('x', '/tmp', 'cgroup', 0, 'none,name=systemd'); write('/tmp/release_agent')", "nest(CLONE_NEWNS | CLONE_NEWCGROUP); mount('x', own, 'cgroup2')", &["EPERM", "ENOSPC"]),
    act("mount the host's cgroups", "cgroup", "nest(); mount('x', '/tmp', 'cgroup2')", "nest(CLONE_NEWNS | CLONE_NEWCGROUP); mount('x', own, 'cgroup2')", &["EPERM", "ENOSPC"]),
    act("mount the machine's disk", "fsconfig; CVE-2022-0185", "nest(); mount('/dev/vda', '/tmp', 'ext4')", OWN, REFUSED),
    act("mount devices", "devtmpfs", "nest(); mount('x', '/tmp', 'devtmpfs')", OWN, REFUSED),
    act("mount sysfs", "sysfs", "nest(CLONE_NEWNS | CLONE_NEWNET); mount('x', '/tmp', 'sysfs')", OWN, REFUSED),
    act("mount FUSE without a device", "FUSE", "nest(); mount('x', '/tmp', 'fuse', 0, 'fd=0,rootmode=40000,user_id=0,group_id=0')", OWN, &["EINVAL", "EPERM", "ENODEV"]),
    act("layer over the root", "overlay", "os.mkdir('/tmp/u'); os.mkdir('/tmp/w'); nest()
mount('x', '/mnt', 'overlay', 0, 'lowerdir=/,upperdir=/tmp/u,workdir=/tmp/w')", OWN, DENIED),
    act("copy a set-ID file up", "overlay; CVE-2023-0386", "os.mkdir('/tmp/u3'); os.mkdir('/tmp/w3'); os.mkdir('/tmp/m3')
if os.fork() == 0:
    step(nest); step(mount, 'x', '/tmp/m3', 'overlay', 0, 'lowerdir=/usr/bin,upperdir=/tmp/u3,workdir=/tmp/w3'); step(os.utime, '/tmp/m3/su')
    os._exit(0)
os.wait(); result = told(not os.statvfs('/tmp').f_flag & os.ST_NOSUID)", "os.chmod(made(), 0o4755); result = told(os.stat(fresh()).st_mode & stat.S_ISUID)", HIDDEN),
    act("climb out of a second chroot", "chroot", "nest(); root = os.open('/', 0); os.mkdir('/tmp/jail'); os.chroot('/tmp/jail'); os.fchdir(root)
[os.chdir('..') for _ in range(9)]; os.chroot('.'); result = told(climb())", "nest(); root = os.open('/', 0); os.chroot(own); os.fchdir(root); result = told(climb())", HIDDEN).strict(REFUSED),
    act("move a directory out of a bind", "rename; CVE-2015-2925", "nest(); os.makedirs('/tmp/a/b/c'); os.mkdir('/tmp/e'); mount('/tmp/a/b', '/tmp/e', None, MS_BIND)
os.chdir('/tmp/e/c'); os.rename('/tmp/a/b/c', '/tmp/c'); result = told(climb())", "result = told(climb())", HIDDEN).strict(REFUSED),
    act("look below a pivoted root", "pivot_root", "nest(); mount('/tmp', '/tmp', None, MS_BIND); os.mkdir('/tmp/old'); os.chdir('/tmp'); step(call, 'pivot_root', b'.', b'old')
step(umount, '/old/proc', MNT_DETACH); step(umount, '/old/tmp', MNT_DETACH); step(os.chdir, '/old')
result = told(climb() or visible(marker, '/old/proc' if os.path.isdir('/old/proc') else '/proc') == 'visible')", "result = told(climb())", HIDDEN).strict(REFUSED),
    act("see processes in a new proc", "/proc", "nest(); step(mount, 'proc', '/tmp', 'proc'); result = told(visible(marker, '/tmp') == 'visible')", "result = told(visible(marker) == 'visible')", HIDDEN).strict(REFUSED),
    act("trace init, nested", "ptrace", "nest(); call('ptrace', 0x4206, 1, None, None)", "nest(); child = os.fork()
if child == 0: signal.pause()
call('ptrace', 0x4206, child, None, None); os.kill(child, 9)", REFUSED),
    act("join init's namespaces", "setns", "nest(); call('setns', call('pidfd_open', 1, 0), CLONE_NEWNS)", NAMED, REFUSED),
    act("join a parent's namespaces", "setns", "parent = os.getppid(); nest()
kinds = ('user', 'mnt', 'net', 'ipc', 'uts', 'cgroup')
def joins(kind):
    path = f'/proc/{parent}/ns/{kind}'
    if os.stat(path).st_ino == os.stat(f'/proc/self/ns/{kind}').st_ino: return False
    call('setns', os.open(path, 0), 0); return True
result = told(any(step(joins, kind) for kind in kinds))", NAMED, HIDDEN).strict(REFUSED),
    act("rename the environment's host", "nested user namespace", "nest(); check(libc.sethostname(b'x', 1))", NAMED, REFUSED),
    act("chown a file of the system", "nested user namespace", "nest(); os.chown('/etc/passwd', os.getuid(), -1)", "os.chown(made(), os.getuid(), -1)", &["EROFS", "EPERM"]),
];
