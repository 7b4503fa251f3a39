//! What is set in a network namespace, by whoever holds `CAP_NET_ADMIN` over it (netlink(7)), and
//! what the kernel itself remembers there.

use crate::residue::{Residue, residue};
use crate::setting::{HOSTS, NETWORKED, PLAIN, STRICT};

pub const NETWORK: &[Residue] = &[
    residue(
        "a flow label of IPv6 that lingers",
        "
def label():
    one = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
    request = socket.inet_pton(socket.AF_INET6, '::1') + struct.pack('!I', 0x54321)
    one.setsockopt(41, 32, request + struct.pack('BBHHHI', 0, 255, 1, 60, 60, 0))
label()",
        "result = listed('54321', 'ip6_flowlabel')",
    )
    .hosts(NETWORKED),
    residue(
        "counted bytes",
        "one = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
for _ in range(64):
    one.sendto(bytes(1 << 15), ('127.0.0.1', 9))",
        "lines = [line.split() for line in read('/proc/net/dev').splitlines()]
result = found(any(line[0] == 'lo:' and int(line[1]) > 1 << 20 for line in lines))",
    )
    .hosts(NETWORKED),
    residue(
        "an address",
        "change(20, struct.pack('BBBBI', 2, 32, 0, 0, 1) + attribute(2, bytes((10, 9, 8, 7))))",
        "result = lists(22, struct.pack('BBBBI', 2, 0, 0, 0, 0), bytes((10, 9, 8, 7)))",
    )
    .refused(PLAIN, "EPERM"),
    residue(
        "an address of IPv6",
        "address = socket.inet_pton(socket.AF_INET6, 'fd09::7')
change(20, struct.pack('BBBBI', 10, 128, 0, 0, 1) + attribute(2, address))",
        "address = socket.inet_pton(socket.AF_INET6, 'fd09::7')
result = lists(22, struct.pack('BBBBI', 10, 0, 0, 0, 0), address)",
    )
    .refused(PLAIN, "EPERM"),
    residue(
        "a route",
        "body = struct.pack('BBBBBBBBI', 2, 24, 0, 0, 254, 4, 253, 1, 0)
change(24, body + attribute(1, bytes((10, 77, 66, 0))) + attribute(4, struct.pack('I', 1)))",
        "result = listed('00424D0A', 'route')",
    )
    .refused(PLAIN, "EPERM"),
    residue(
        "a route to nowhere",
        "body = struct.pack('BBBBBBBBI', 2, 32, 0, 0, 254, 4, 0, 6, 0)
change(24, body + attribute(1, bytes((10, 77, 66, 55))))",
        "body = struct.pack('BBBBBBBBI', 2, 0, 0, 0, 0, 0, 0, 0, 0)
result = lists(26, body, bytes((10, 77, 66, 55)))",
    )
    .refused(PLAIN, "EPERM"),
    residue(
        "a rule of routing",
        "body = struct.pack('BBBBBBBBI', 2, 0, 0, 0, 254, 0, 0, 1, 0)
change(32, body + attribute(6, struct.pack('I', 7777)))",
        "body = struct.pack('BBBBBBBBI', 2, 0, 0, 0, 0, 0, 0, 0, 0)
result = lists(34, body, struct.pack('HHI', 8, 6, 7777))",
    )
    .refused(PLAIN, "EPERM"),
    residue(
        "an answer for a neighbour",
        "body = struct.pack('BxxxiHBB', 2, 1, 0, 8, 0)
change(28, body + attribute(1, bytes((10, 9, 8, 6))))",
        "result = lists(30, struct.pack('BxxxiHBB', 2, 0, 0, 8, 0), bytes((10, 9, 8, 6)))",
    )
    .refused(PLAIN, "EPERM"),
    residue(
        "a pair of links",
        "body = struct.pack('BxHiII', 0, 0, 0, 0, 0)
change(16, body + attribute(3, b'zyg-veth\\0') + attribute(18, attribute(1, b'veth\\0')))",
        "result = link_named('zyg-veth')",
    )
    .refused(PLAIN, "EPERM"),
    residue(
        "a neighbour",
        "body = struct.pack('BxxxiHBB', 2, index_of('zyg-veth'), 0x80, 0, 0)
change(28, body + attribute(1, bytes((10, 9, 8, 5))) + attribute(2, bytes((2, 0, 0, 0, 0, 1))))",
        "result = lists(30, struct.pack('BxxxiHBB', 2, 0, 0, 0, 0), bytes((10, 9, 8, 5)))",
    )
    .refused(PLAIN, "EPERM"),
    residue(
        "a bridge",
        "body = struct.pack('BxHiII', 0, 0, 0, 0, 0)
change(16, body + attribute(3, b'zyg-bridge\\0') + attribute(18, attribute(1, b'bridge\\0')))",
        "result = link_named('zyg-bridge')",
    )
    .refused(PLAIN, "EPERM"),
    residue(
        "a queueing discipline",
        "body = struct.pack('BxxxiIII', 0, 1, 0x10000, 0xFFFFFFFF, 0)
change(36, body + attribute(1, b'pfifo\\0') + attribute(2, struct.pack('I', 777)))",
        "result = lists(38, struct.pack('BxxxiIII', 0, 1, 0, 0, 0), b'pfifo\\0')",
    )
    .refused(PLAIN, "EPERM"),
    residue(
        "a name of a namespace",
        "file = os.open('/proc/self/ns/net', os.O_RDONLY)
change(88, bytes(4) + attribute(3, struct.pack('I', file)) + attribute(1, struct.pack('i', 77)))",
        "result = lists(90, bytes(4), struct.pack('i', 77))",
    )
    .refused(PLAIN, "EPERM"),
    residue(
        "a table of nftables",
        "new_table(b'zyg')",
        "result = found(any(b'zyg' in table for table in tables()))",
    )
    .refused(PLAIN, "EPERM"),
    residue(
        "a setting of IPv4",
        "write('/proc/sys/net/ipv4/ip_default_ttl', '77')",
        "result = found(read('/proc/sys/net/ipv4/ip_default_ttl').strip() == '77')",
    )
    .refused_to_root(HOSTS, "EROFS")
    .refused(STRICT, "EACCES")
    .refused_to_user(HOSTS & PLAIN, "EACCES"),
    residue(
        "a setting of TCP",
        "write('/proc/sys/net/ipv4/tcp_syn_retries', '3')",
        "result = found(read('/proc/sys/net/ipv4/tcp_syn_retries').strip() == '3')",
    )
    .refused_to_root(HOSTS, "EROFS")
    .refused(STRICT, "EACCES")
    .refused_to_user(HOSTS & PLAIN, "EACCES"),
    residue(
        "a setting of the interface",
        "write('/proc/sys/net/ipv4/conf/lo/forwarding', '1')",
        "result = found(read('/proc/sys/net/ipv4/conf/lo/forwarding').strip() == '1')",
    )
    .refused_to_root(HOSTS, "EROFS")
    .refused(STRICT, "EACCES")
    .refused_to_user(HOSTS & PLAIN, "EACCES")
    .hosts(NETWORKED),
    residue(
        "the first port that everybody may bind",
        "write('/proc/sys/net/ipv4/ip_unprivileged_port_start', '77')",
        "result = found(read('/proc/sys/net/ipv4/ip_unprivileged_port_start').strip() == '77')",
    )
    .refused_to_root(HOSTS, "EROFS")
    .refused(STRICT, "EACCES")
    .refused_to_user(HOSTS & PLAIN, "EACCES"),
    residue(
        "the largest packet of lo",
        "body = struct.pack('BxHiII', 0, 0, 1, 0, 0)
change(16, body + attribute(4, struct.pack('I', 1400)), 0)",
        "result = found(struct.pack('HHI', 8, 4, 1400) in dump(18, bytes(16))[0])",
    )
    .refused(PLAIN, "EPERM"),
    residue(
        "lo taken down",
        "change(16, struct.pack('BxHiII', 0, 0, 1, 0, 1), 0)",
        "flags = struct.unpack('BxHiI', dump(18, bytes(16))[0][:12])[3]
result = found(not flags & 1)",
    )
    .refused(PLAIN, "EPERM"),
];
