//! What is written to private places.

use crate::residue::{Residue, residue};
use crate::setting::{ALL, EMPTY, PLAIN};

pub const FILES: &[Residue] = &[
    residue("a file in /tmp", "create('/tmp/residue')", "result = exists('/tmp/residue')"),
    residue(
        "a file in /var/tmp",
        "create('/var/tmp/residue')",
        "result = exists('/var/tmp/residue')",
    ),
    residue(
        "a file in /dev/shm",
        "create('/dev/shm/residue')",
        "result = exists('/dev/shm/residue')",
    ),
    residue("a file in /run", "create('/run/residue')", "result = exists('/run/residue')"),
    residue(
        "a file in /run/lock",
        "create('/run/lock/residue')",
        "result = exists('/run/lock/residue')",
    ),
    residue(
        "a file in the user's runtime directory",
        "create(f'/run/user/{os.getuid()}/residue')",
        "result = exists(f'/run/user/{os.getuid()}/residue')",
    ),
    residue("a file in home", "create(home + '/residue')", "result = exists(home + '/residue')"),
    residue(
        "a directory that nobody may enter",
        "os.makedirs('/tmp/closed/deep'); os.chmod('/tmp/closed', 0)",
        "result = exists('/tmp/closed')",
    ),
    residue(
        "a tree deeper than a path is long",
        "
os.chdir('/tmp')
for _ in range(60):
    os.mkdir('d' * 200)
    os.chdir('d' * 200)
create('residue')",
        "result = exists('/tmp/' + 'd' * 200)",
    ),
    residue(
        "a name that is no text",
        "create(b'/tmp/\\xff\\xfe')",
        "result = found(b'\\xff\\xfe' in os.listdir(b'/tmp'))",
    ),
    residue(
        "a dangling link",
        "os.symlink('/nowhere', '/tmp/link')",
        "result = exists('/tmp/link')",
    ),
    residue(
        "a second name",
        "create('/tmp/first'); os.link('/tmp/first', '/tmp/second')",
        "result = found(os.path.exists('/tmp/second') and os.stat('/tmp/second').st_nlink == 2)",
    ),
    residue("a fifo", "os.mkfifo('/tmp/fifo')", "result = exists('/tmp/fifo')"),
    residue(
        "a whiteout",
        "os.mknod('/tmp/whiteout', stat.S_IFCHR | 0o600, 0)",
        "result = exists('/tmp/whiteout')",
    ),
    residue(
        "a file with the set-user-ID bit",
        "create('/tmp/setuid'); os.chmod('/tmp/setuid', 0o6755)",
        "result = found(os.path.exists('/tmp/setuid') and mode('/tmp/setuid') == 0o6755)",
    ),
    residue(
        "an attribute",
        "create('/tmp/attributed'); os.setxattr('/tmp/attributed', 'user.zyg', b'x')",
        "result = found('user.zyg' in attributes('/tmp/attributed'))",
    ),
    residue(
        "an access control list",
        "create('/tmp/listed'); os.setxattr('/tmp/listed', 'system.posix_acl_access', acl())",
        "result = found('system.posix_acl_access' in attributes('/tmp/listed'))",
    ),
    residue(
        "a capability of a program",
        "create('/tmp/able')
os.setxattr('/tmp/able', 'security.capability', struct.pack('<IIIII', 0x02000001, 1, 0, 0, 0))",
        "result = found('security.capability' in attributes('/tmp/able'))",
    )
    .refused(PLAIN, "EPERM"),
    residue(
        "a trusted attribute",
        "create('/tmp/trusted'); os.setxattr('/tmp/trusted', 'trusted.zyg', b'x')",
        "result = found('trusted.zyg' in attributes('/tmp/trusted'))",
    )
    .refused(ALL, "EPERM"),
    residue(
        "a flag of a file",
        "create('/tmp/flagged')
file = os.open('/tmp/flagged', os.O_RDONLY)
fcntl.ioctl(file, 0x40086602, struct.pack('L', 0x40))",
        "
def flags():
    file = os.open('/tmp/flagged', os.O_RDONLY)
    return struct.unpack('L', fcntl.ioctl(file, 0x80086601, bytes(8)))[0]
result = found(os.path.exists('/tmp/flagged') and flags() & 0x40)",
    ),
    residue(
        "a file that cannot be changed",
        "create('/tmp/immutable')
file = os.open('/tmp/immutable', os.O_RDONLY)
fcntl.ioctl(file, 0x40086602, struct.pack('L', 0x10))",
        "result = exists('/tmp/immutable')",
    )
    .refused(ALL, "EPERM"),
    residue(
        "a device",
        "os.mknod('/tmp/device', stat.S_IFCHR | 0o600, os.makedev(1, 3))",
        "result = exists('/tmp/device')",
    )
    .refused(ALL, "EPERM"),
    residue(
        "a changed file of home",
        "write(fixture + '/file', 'changed!')",
        "result = found(os.path.exists(fixture) and read(fixture + '/file') != 'original')",
    )
    .refused(EMPTY, "ENOENT"),
    residue(
        "a removed file of home",
        "os.unlink(fixture + '/other')",
        "result = found(os.path.exists(fixture) and not os.path.exists(fixture + '/other'))",
    )
    .refused(EMPTY, "ENOENT"),
    residue(
        "a renamed file of home",
        "os.rename(fixture + '/third', fixture + '/fourth')",
        "result = exists(fixture + '/fourth')",
    )
    .refused(EMPTY, "ENOENT"),
    residue(
        "a file of home that a directory has replaced",
        "os.unlink(fixture + '/fifth'); os.mkdir(fixture + '/fifth')",
        "result = found(os.path.isdir(fixture + '/fifth'))",
    )
    .refused(EMPTY, "ENOENT"),
    residue(
        "a directory of home that was emptied and made anew",
        "import shutil
shutil.rmtree(fixture + '/full'); os.mkdir(fixture + '/full')",
        "result = found(os.path.exists(fixture) and not os.listdir(fixture + '/full'))",
    )
    .refused(EMPTY, "ENOENT"),
    residue(
        "a changed mode in home",
        "os.chmod(fixture + '/sixth', 0o4777)",
        "result = found(os.path.exists(fixture) and mode(fixture + '/sixth') == 0o4777)",
    )
    .refused(EMPTY, "ENOENT"),
    residue(
        "changed times in home",
        "os.utime(fixture + '/seventh', (1, 1))",
        "result = found(os.path.exists(fixture) and os.stat(fixture + '/seventh').st_mtime == 1)",
    )
    .refused(EMPTY, "ENOENT"),
    residue(
        "an attribute in home",
        "os.setxattr(fixture + '/seventh', 'user.zyg', b'x')",
        "result = found('user.zyg' in attributes(fixture + '/seventh'))",
    )
    .refused(EMPTY, "ENOENT"),
    residue(
        "an attribute that steers the layers",
        "os.setxattr(fixture + '/full', 'user.overlay.opaque', b'y')",
        "result = found('user.overlay.opaque' in attributes(fixture + '/full'))",
    )
    .refused(EMPTY, "ENOENT"),
    residue(
        "used space",
        "file = open('/tmp/large', 'wb'); file.write(bytes(8 << 20)); file.flush()",
        "space = os.statvfs('/tmp')
result = found((space.f_blocks - space.f_bfree) * space.f_frsize > 4 << 20)",
    ),
    residue(
        "many files",
        "os.mkdir('/tmp/many')
for number in range(2000):
    create(f'/tmp/many/{number}')",
        "space = os.statvfs('/tmp')
result = found(space.f_files - space.f_ffree > 1500)",
    ),
    residue(
        "space that a file without a name takes",
        "
def hold():
    file = os.open('/tmp/nameless', os.O_RDWR | os.O_CREAT, 0o600)
    os.unlink('/tmp/nameless')
    os.write(file, bytes(1 << 20))
named('zyg-nameless', hold)",
        "result = held('/tmp/nameless')",
    ),
    residue(
        "a sealed file in memory",
        "
def hold():
    file = os.memfd_create('zyg-residue', os.MFD_ALLOW_SEALING)
    os.write(file, bytes(1 << 20))
    fcntl.fcntl(file, fcntl.F_ADD_SEALS, fcntl.F_SEAL_WRITE | fcntl.F_SEAL_SEAL)
named('zyg-memfd', hold)",
        "result = held('/memfd:zyg-residue')",
    ),
    residue(
        "a file of the host's that is held",
        "named('zyg-held', lambda: os.open('/tmp/shared/file', os.O_RDONLY))",
        "result = held('/tmp/shared/file')",
    ),
];
