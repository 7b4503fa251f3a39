//! What is changed at the roots of mounts, which are made anew, not emptied.

use crate::residue::{Residue, residue};
use crate::setting::{ALL, EMPTY, FIXED, HOSTS, PLAIN, STRICT};

pub const ROOTS: &[Residue] = &[
    residue(
        "an attribute of /tmp",
        "os.setxattr('/tmp', 'user.zyg', b'x')",
        "result = found('user.zyg' in attributes('/tmp'))",
    ),
    residue(
        "an attribute of /run",
        "os.setxattr('/run', 'user.zyg', b'x')",
        "result = found('user.zyg' in attributes('/run'))",
    ),
    residue(
        "an attribute of /dev/shm",
        "os.setxattr('/dev/shm', 'user.zyg', b'x')",
        "result = found('user.zyg' in attributes('/dev/shm'))",
    ),
    residue(
        "an attribute of home",
        "os.setxattr(home, 'user.zyg', b'x')",
        "result = found('user.zyg' in attributes(home))",
    ),
    residue(
        "an inherited access control list of /var/tmp",
        "os.setxattr('/var/tmp', 'system.posix_acl_default', acl())",
        "result = found('system.posix_acl_default' in attributes('/var/tmp'))",
    ),
    residue(
        "an access control list of /tmp",
        "os.setxattr('/tmp', 'system.posix_acl_access', acl())",
        "result = found('system.posix_acl_access' in attributes('/tmp'))",
    ),
    residue("mode of /tmp", "os.chmod('/tmp', 0)", "result = found(mode('/tmp') == 0)"),
    residue("mode of /dev/shm", "os.chmod('/dev/shm', 0)", "result = found(mode('/dev/shm') == 0)"),
    residue("mode of /run", "os.chmod('/run', 0)", "result = found(mode('/run') == 0)"),
    residue(
        "mode of /var/tmp",
        "os.chmod('/var/tmp', 0o1500)",
        "result = found(mode('/var/tmp') == 0o1500)",
    ),
    residue("mode of home", "os.chmod(home, 0o1700)", "result = found(mode(home) == 0o1700)"),
    residue(
        "mode of /dev/pts",
        "os.chmod('/dev/pts', 0o700)",
        "result = found(mode('/dev/pts') == 0o700)",
    )
    .refused(STRICT, "EOVERFLOW")
    .refused_to_user(HOSTS & PLAIN, "EOVERFLOW"),
    residue("mode of /dev", "os.chmod('/dev', 0o700)", "result = found(mode('/dev') == 0o700)")
        .refused(ALL, "EROFS"),
    residue(
        "mode of /dev/null",
        "os.chmod('/dev/null', 0o600)",
        "result = found(mode('/dev/null') == 0o600)",
    )
    .refused(ALL, "EROFS"),
    residue("mode of /", "os.chmod('/', 0o700)", "result = found(mode('/') == 0o700)")
        .refused(FIXED, "EROFS"),
    residue("mode of /proc", "os.chmod('/proc', 0o700)", "result = found(mode('/proc') == 0o700)")
        .refused(EMPTY, "EPERM")
        .refused_to_user(HOSTS, "EPERM"),
    residue(
        "owner of /var/tmp",
        "os.chown('/var/tmp', os.getuid() + 1, os.getgid() + 1)",
        "result = found(os.stat('/var/tmp').st_uid == os.getuid() + 1)",
    )
    .refused(ALL, "EINVAL"),
    residue(
        "times of /var/tmp",
        "os.utime('/var/tmp', (1, 1))",
        "result = found(os.stat('/var/tmp').st_mtime == 1)",
    ),
    residue(
        "times of /dev/shm",
        "os.utime('/dev/shm', (1, 1))",
        "result = found(os.stat('/dev/shm').st_mtime == 1)",
    ),
    residue(
        "times of home",
        "os.utime(home, (1, 1))",
        "result = found(os.stat(home).st_mtime == 1)",
    ),
];
