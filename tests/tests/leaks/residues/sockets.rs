//! Sockets of every other kind that the filter lets through, and those that it does not.

use crate::residue::{Residue, residue};
use crate::setting::{ALL, NETWORKED, PLAIN};

pub const SOCKETS: &[Residue] = &[
    residue(
        "an abstract socket that is listened on",
        "
def listen():
    listener = unix(socket.SOCK_STREAM, f'zyg-{key}-stream')
    listener.listen()
    return listener
named('zyg-stream', listen)",
        "
try:
    socket.socket(socket.AF_UNIX).connect(f'\\0zyg-{key}-stream')
    result = 'found'
except ConnectionRefusedError:
    result = 'clean'",
    )
    .seen_beside(NETWORKED),
    residue(
        "an abstract datagram socket with a datagram",
        "
def bind():
    bound = unix(socket.SOCK_DGRAM, f'zyg-{key}-datagram')
    bound.sendto(b'x', f'\\0zyg-{key}-datagram')
    return bound
named('zyg-datagram', bind)",
        "result = listed(f'@zyg-{key}-datagram')",
    )
    .seen_beside(NETWORKED),
    residue(
        "an abstract SEQPACKET socket with a connection that waits",
        "
def listen():
    listener = unix(socket.SOCK_SEQPACKET, f'zyg-{key}-packet')
    listener.listen()
    waiting = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    waiting.connect(f'\\0zyg-{key}-packet')
    return listener, waiting
named('zyg-packet', listen)",
        "result = listed(f'@zyg-{key}-packet')",
    )
    .seen_beside(NETWORKED),
    residue(
        "an abstract socket with descriptors in flight",
        "
def send():
    listener = unix(socket.SOCK_STREAM, f'zyg-{key}-flight')
    listener.listen()
    waiting = socket.socket(socket.AF_UNIX)
    waiting.connect(f'\\0zyg-{key}-flight')
    carried = unix(socket.SOCK_DGRAM, f'zyg-{key}-carried')
    socket.send_fds(waiting, [b'x'], [carried.fileno(), os.open('/tmp', os.O_RDONLY)])
    return listener, waiting
named('zyg-flight', send)",
        "result = listed(f'@zyg-{key}-carried')",
    )
    .seen_beside(NETWORKED),
    residue(
        "sockets that carry each other",
        "
def carry():
    one = unix(socket.SOCK_DGRAM, f'zyg-{key}-cycle')
    two = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    two.connect(f'\\0zyg-{key}-cycle')
    socket.send_fds(two, [b'x'], [one.fileno(), two.fileno()])
    return one, two
named('zyg-carry', carry)",
        "name = f'@zyg-{key}-cycle'
result = lasting(lambda: running('zyg-carry'), lambda: listed(name))",
    )
    .seen_beside(NETWORKED),
    residue(
        "a socket with a path",
        "socket.socket(socket.AF_UNIX).bind('/tmp/socket')",
        "result = exists('/tmp/socket')",
    ),
    residue(
        "a socket with a path that was removed",
        "
def bind():
    bound = socket.socket(socket.AF_UNIX)
    bound.bind(f'/tmp/zyg-{key}')
    os.unlink(f'/tmp/zyg-{key}')
    return bound
named('zyg-nopath', bind)",
        "result = listed(f'/tmp/zyg-{key}')",
    )
    .seen_beside(NETWORKED),
    residue(
        "a bound UDP port",
        "
def bind():
    bound = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    bound.bind(('127.0.0.1', base + 20))
    bound.sendto(b'x', ('127.0.0.1', base + 20))
    return bound
named('zyg-udp', bind)",
        "result = tcp(LOCAL, base + 20, '07', table='udp')",
    )
    .seen_beside(NETWORKED),
    residue(
        "a bound UDP port of IPv6",
        "
def bind():
    bound = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
    bound.bind(('::1', base + 21))
    return bound
named('zyg-udp6', bind)",
        "result = tcp(LOCAL, base + 21, '07', table='udp6')",
    )
    .seen_beside(NETWORKED),
    residue(
        "a connected UDP socket",
        "
def join():
    one = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    one.connect(('127.0.0.1', base + 22))
    return one
named('zyg-udpconn', join)",
        "result = tcp(REMOTE, base + 22, ESTABLISHED, table='udp')",
    )
    .seen_beside(NETWORKED),
    residue(
        "a bound UDP-Lite port",
        "
def bind():
    bound = socket.socket(socket.AF_INET, socket.SOCK_DGRAM, 136)
    bound.bind(('127.0.0.1', base + 23))
    return bound
named('zyg-udplite', bind)",
        "result = tcp(LOCAL, base + 23, '07', table='udplite')",
    )
    .seen_beside(NETWORKED),
    residue(
        "a member of a multicast group",
        "
def join():
    one = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    group = socket.inet_aton('239.9.8.7') + socket.inet_aton('127.0.0.1')
    one.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, group)
    return one
named('zyg-multicast', join)",
        "result = listed('070809EF', 'igmp')",
    )
    .seen_beside(NETWORKED),
    residue(
        "a netlink socket with a number",
        "
def bind():
    bound = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 0)
    bound.bind((base * 10, 1))
    return bound
named('zyg-netlink', bind)",
        "numbers = [line.split()[2] for line in read('/proc/net/netlink').splitlines()[1:]]
result = found(str(base * 10) in numbers)",
    )
    .seen_beside(NETWORKED),
    residue(
        "a raw socket",
        "named('zyg-raw', lambda: socket.socket(socket.AF_INET, socket.SOCK_RAW, 253))",
        "result = found(read('/proc/net/raw').count('\\n') > 1)",
    )
    .refused(PLAIN, "EPERM"),
    residue(
        "a ping socket",
        "
def bind():
    bound = socket.socket(socket.AF_INET, socket.SOCK_DGRAM, socket.IPPROTO_ICMP)
    bound.bind(('127.0.0.1', 777))
    return bound
named('zyg-ping', bind)",
        "result = tcp(LOCAL, 777, '07', table='icmp')",
    )
    .refused(ALL, "EACCES"),
    residue(
        "a packet socket",
        "named('zyg-packets', lambda: socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0x300))",
        "result = has_line('/proc/net/packet', ' 3 ')",
    )
    .refused(PLAIN, "EAFNOSUPPORT"),
    residue(
        "an interface to the kernel's ciphers",
        "
def bind():
    bound = socket.socket(socket.AF_ALG, socket.SOCK_SEQPACKET)
    bound.bind(('hash', 'sha256'))
    return bound
named('zyg-cipher', bind)",
        "result = running('zyg-cipher')",
    )
    .refused(ALL, "EAFNOSUPPORT"),
];
