//! What is changed in the tree that is read-only but for `root_overlay`.

use crate::residue::{Residue, residue};
use crate::setting::{ALL, EMPTY, FIXED, HOSTS, NETWORKED, OVERLAY};

pub const TREE: &[Residue] = &[
    residue("a file in /", "create('/zyg-residue')", "result = exists('/zyg-residue')")
        .refused(FIXED, "EROFS"),
    residue(
        "a directory in /",
        "os.makedirs('/zyg-directory/deep')",
        "result = exists('/zyg-directory')",
    )
    .refused(FIXED, "EROFS"),
    residue(
        "a whiteout in /",
        "os.mknod('/zyg-whiteout', stat.S_IFCHR | 0o600, 0)",
        "result = exists('/zyg-whiteout')",
    )
    .refused(FIXED, "EROFS"),
    residue(
        "an attribute of /",
        "os.setxattr('/', 'user.zyg', b'x')",
        "result = found('user.zyg' in attributes('/'))",
    )
    .refused(FIXED, "EROFS"),
    residue("a file in /etc", "create('/etc/zyg-residue')", "result = exists('/etc/zyg-residue')")
        .refused(FIXED, "EROFS"),
    residue(
        "a file in /usr/bin",
        "create('/usr/bin/zyg-residue')",
        "result = exists('/usr/bin/zyg-residue')",
    )
    .refused(FIXED, "EROFS")
    .refused_to_user(OVERLAY, "EACCES"),
    residue(
        "a changed file of /etc",
        "write('/etc/hosts', '10.9.8.7 zyg')",
        "result = found('10.9.8.7 zyg' in read('/etc/hosts'))",
    )
    .refused_to_root(HOSTS & FIXED, "EROFS")
    .refused(EMPTY, "EACCES")
    .refused_to_user(HOSTS, "EACCES"),
    residue(
        "a removed file of /etc",
        "os.unlink('/etc/nsswitch.conf')",
        "result = found(not os.path.exists('/etc/nsswitch.conf'))",
    )
    .refused(FIXED, "EROFS"),
    residue(
        "a replaced file of /etc",
        "create('/etc/zyg-new'); os.rename('/etc/zyg-new', '/etc/group')",
        "result = found(read('/etc/group') == '')",
    )
    .refused(FIXED, "EROFS"),
    residue(
        "a directory of /usr that was removed and made anew",
        "import shutil
shutil.rmtree('/usr/share/doc/base-files'); os.mkdir('/usr/share/doc/base-files')",
        "place = '/usr/share/doc/base-files'
result = found(os.path.exists(place) and not os.listdir(place))",
    )
    .refused(FIXED, "EROFS")
    .refused_to_user(OVERLAY, "EACCES"),
    residue(
        "a removed directory of /usr",
        "import shutil
shutil.rmtree('/usr/games')",
        "result = found(os.path.exists('/usr') and not os.path.exists('/usr/games'))",
    )
    .refused(FIXED, "EROFS"),
    residue("mode of /etc", "os.chmod('/etc', 0o700)", "result = found(mode('/etc') == 0o700)")
        .refused(FIXED, "EROFS"),
    residue(
        "mode of a program",
        "os.chmod('/usr/bin/env', 0o4755)",
        "result = found(mode('/usr/bin/env') == 0o4755)",
    )
    .refused(FIXED, "EROFS")
    .refused_to_user(OVERLAY, "EPERM"),
    residue(
        "an attribute of /usr",
        "os.setxattr('/usr', 'user.zyg', b'x')",
        "result = found('user.zyg' in attributes('/usr'))",
    )
    .refused(FIXED, "EROFS"),
    residue(
        "times of a program",
        "os.utime('/usr/bin/env', (1, 1))",
        "result = found(os.stat('/usr/bin/env').st_mtime == 1)",
    )
    .refused(FIXED, "EROFS")
    .refused_to_user(OVERLAY, "EPERM"),
    residue(
        "a kernel setting",
        "write('/proc/sys/kernel/core_pattern', read('/proc/sys/kernel/core_pattern'))",
        "result = 'found' if os.access('/proc/sys/kernel/core_pattern', os.W_OK) else 'clean'",
    )
    .refused_to_root(HOSTS, "EROFS")
    .refused(EMPTY, "EACCES")
    .refused_to_user(HOSTS, "EACCES"),
    residue(
        "a setting of a cgroup",
        "write('/sys/fs/cgroup/cgroup.subtree_control', '')",
        "result = exists('/sys/fs/cgroup/cgroup.subtree_control')",
    )
    .refused(ALL, "ENOENT"),
    residue(
        "a cgroup",
        "os.mkdir('/sys/fs/cgroup/zyg-residue')",
        "result = exists('/sys/fs/cgroup/zyg-residue')",
    )
    .refused(NETWORKED, "EROFS")
    .refused(ALL, "ENOENT"),
];
