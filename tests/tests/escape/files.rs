//! Files of the host. `default` and `networked` show what the user may read, and what is written in
//! home is discarded: after each profile the host's files are compared with what they were.

use crate::acts::{Act, act};

const ABSENT: &[&str] = &["ENOENT"];
const OK: &[&str] = &["ok"];
const HIDDEN: &[&str] = &["hidden"];

pub const ACTS: &[Act] = &[
    act("read a file in /tmp", "path", "read(secret)", "", ABSENT),
    act("read a file by a symbolic link", "symlink", "os.symlink(secret, '/tmp/link'); read('/tmp/link')", "os.symlink(secret, fresh()); read(fresh())", ABSENT),
    act("read above the root", "path", "result = told(climb())", "", HIDDEN),
    act("read above /proc/self/root", "/proc", "os.chdir('/proc/self/root/'); os.chdir('..'); result = told(climb())", "", HIDDEN),
    act("read through left descriptors", "leaked descriptors; CVE-2024-21626", "found = False
for number in range(1024):
    if step(os.chdir, f'/proc/self/fd/{number}') is None:
        found |= climb()
result = told(found)", "kept = os.open('/', 0); os.chdir(f'/proc/self/fd/{kept}'); result = told(climb())", HIDDEN),
    act("enter left descriptors", "leaked descriptors; CVE-2016-9962", "directories = [number for number in range(1024)
    if (found := step(os.fstat, number)) and stat.S_ISDIR(found.st_mode)]
result = told(directories)", "os.open('/', 0)
directories = [number for number in range(1024)
    if (found := step(os.fstat, number)) and stat.S_ISDIR(found.st_mode)]
result = told(directories)", HIDDEN),
    act("read a private file in home", "path", "read(home + '/secret')", "", OK).strict(ABSENT),
    act("read an open file in home", "path", "read(home + '/open')", "", OK).strict(ABSENT),
    act("write a file in home", "path", "write(home + '/open', 'changed!')", "write(made())", OK).strict(ABSENT),
    act("remove a file in home", "path", "os.unlink(home + '/secret')", "os.unlink(made())", OK).strict(ABSENT),
    act("make a file in home", "path", "create(home + '/new')", "create(fresh())", OK).strict(ABSENT),
    act("read the host's users", "information", "result = told(set(users) & {line.split(':')[0] for line in read('/etc/passwd').splitlines()})", "", OK).strict(HIDDEN),
    act("read the host's password hashes", "information", "read('/etc/shadow')", "read('/etc/passwd')", &["EACCES", "ok"]).strict(ABSENT),
    act("write a file of the system", "path", "write('/etc/passwd')", "write(made())", &["EROFS", "EACCES"]),
    act("write a file in every mount", "mounts", "name, made_in = f'/.zyg-made-{marker}', []
for point, options, kind in mounts():
    if os.path.isdir(point) and kind not in ('tmpfs', 'overlay', 'devpts') and not step(create, point + name):
        if os.path.exists(point + name): made_in.append(point)
result = told(made_in)", "create(fresh())", HIDDEN),
    act("write through a swapped link", "symlink race; CVE-2018-15664", "os.mkdir('/tmp/race-1'); tmp = '/tmp/race-1'; result = told(race_to_write(tmp, '/etc/passwd', 300))", "os.mkdir(fresh()); target = own + '/t' + str(os.getpid()); create(target)
result = told(race_to_write(fresh(), target, 200000))", HIDDEN),
    act("link through a swapped link", "hard link race", "os.mkdir('/tmp/race-2'); tmp = '/tmp/race-2'; result = told(race_to_link(tmp, '/etc/passwd', 300))", "os.mkdir(fresh()); target = own + '/t' + str(os.getpid()); create(target)
result = told(race_to_link(fresh(), target, 200000))", HIDDEN),
    act("link a file of the system", "hard link", "os.link('/etc/passwd', '/tmp/hard')", "os.link(made(), fresh() + '-2')", &["EXDEV", "EPERM"]),
    act("write a read-only file through a private mapping", "copy on write; CVE-2016-5195", "import mmap
number = os.open('/etc/passwd', 0); before = os.read(number, 1)
mapped = mmap.mmap(number, 16, mmap.MAP_PRIVATE, mmap.PROT_READ | mmap.PROT_WRITE)
mapped[0:1] = b'#'
result = told(os.pread(number, 1, 0) != before)", "write(made())", HIDDEN),
    act("make a device", "mknod", "os.mknod('/tmp/node', stat.S_IFBLK | 0o600, os.makedev(254, 0))", "os.mknod(fresh(), stat.S_IFIFO)", &["EPERM"]),
    act("make a device with regained capabilities", "mknod", "nest(); os.mknod('/tmp/node2', stat.S_IFCHR | 0o600, os.makedev(1, 1))", "os.mknod(fresh(), stat.S_IFIFO)", &["EPERM"]),
    act("open a device of the machine", "devices", "names = ('mem', 'kmsg', 'fuse', 'kvm', 'vsock', 'loop-control', 'vda', 'sda', 'nvme0', 'net/tun')
result = told(any(os.path.exists('/dev/' + name) for name in names))", "result = told(os.path.exists('/dev/null'))", HIDDEN),
    act("open a file by its handle", "open_by_handle_at; CVE-2014-9357", "handle = struct.pack('IiII', 8, 1, 2, 0) + bytes(128)
call('open_by_handle_at', os.open('/etc', 0), handle, 0)", "handle = ctypes.create_string_buffer(struct.pack('Ii', 128, 0) + bytes(128)); number = ctypes.c_int()
check(libc.name_to_handle_at(-100, b'/etc', handle, ctypes.byref(number), 0))", &["EPERM"]),
];
