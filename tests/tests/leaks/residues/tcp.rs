//! TCP connections in every state (tcp(7), RFC 9293), held by a process that does not end; those
//! that no process holds are at the end.

use crate::residue::{Residue, residue};
use crate::setting::NETWORKED;

pub const TCP: &[Residue] = &[
    residue(
        "a TCP port that is bound",
        "
def bind():
    bound = socket.socket()
    bound.bind(('127.0.0.1', base))
    return bound
named('zyg-bound', bind)",
        "
one = socket.socket()
one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
try:
    one.bind(('127.0.0.1', base))
    result = 'clean'
except OSError:
    result = 'found'",
    )
    .seen_beside(NETWORKED),
    residue(
        "a TCP port that is listened on",
        "named('zyg-listen', lambda: socket.create_server(('127.0.0.1', base + 1)))",
        "result = tcp(LOCAL, base + 1, LISTEN)",
    )
    .seen_beside(NETWORKED),
    residue(
        "a TCP server that answers",
        "named('zyg-server', lambda: socket.create_server(('127.0.0.1', base + 2)))",
        "
try:
    socket.create_connection(('127.0.0.1', base + 2))
    result = 'found'
except ConnectionRefusedError:
    result = 'clean'",
    )
    .seen_beside(NETWORKED),
    residue(
        "a TCP port of IPv6 that is listened on",
        "
named('zyg-listen6', lambda: socket.create_server(('::1', base + 3), family=socket.AF_INET6))",
        "result = tcp(LOCAL, base + 3, LISTEN, table='tcp6')",
    )
    .seen_beside(NETWORKED),
    residue(
        "a Multipath TCP port that is listened on",
        "
def listen():
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM, 262)
    listener.bind(('127.0.0.1', base + 4))
    listener.listen()
    return listener
named('zyg-mptcp', listen)",
        "result = tcp(LOCAL, base + 4, LISTEN)",
    )
    .seen_beside(NETWORKED),
    residue(
        "a connection that was never accepted",
        "
def queued():
    listener = socket.create_server(('127.0.0.1', base + 5))
    return listener, socket.create_connection(listener.getsockname())
named('zyg-queued', queued)",
        "result = tcp(LOCAL, base + 5, ESTABLISHED)",
    )
    .seen_beside(NETWORKED),
    residue(
        "SYN_SENT",
        "
def full():
    listener = socket.create_server(('127.0.0.1', base + 6), backlog=0)
    kept = [listener]
    for _ in range(4):
        kept.append(socket.socket())
        kept[-1].setblocking(False)
        kept[-1].connect_ex(('127.0.0.1', base + 6))
    reach(REMOTE, base + 6, SYN_SENT)
    return kept
named('zyg-synsent', full)",
        "result = tcp(REMOTE, base + 6, SYN_SENT)",
    )
    .seen_beside(NETWORKED),
    residue(
        "SYN_RECV",
        "
def deferred():
    listener = socket.create_server(('127.0.0.1', base + 7))
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_DEFER_ACCEPT, 60)
    one = socket.create_connection(('127.0.0.1', base + 7))
    reach(LOCAL, base + 7, SYN_RECV)
    return listener, one
named('zyg-synrecv', deferred)",
        "result = tcp(LOCAL, base + 7, SYN_RECV)",
    )
    .seen_beside(NETWORKED),
    residue(
        "ESTABLISHED",
        "named('zyg-establish', lambda: connection(base + 8))",
        "result = tcp(LOCAL, base + 8, ESTABLISHED)",
    )
    .seen_beside(NETWORKED),
    residue(
        "ESTABLISHED, with data that nobody reads",
        "
def unread():
    one, two = connection(base + 9)
    fill(one)
    return one, two
named('zyg-unread', unread)",
        "result = tcp(REMOTE, base + 9, ESTABLISHED)",
    )
    .seen_beside(NETWORKED),
    residue(
        "FIN_WAIT1",
        "
def finish():
    one, two = connection(base + 10)
    fill(one)
    one.shutdown(socket.SHUT_WR)
    reach(REMOTE, base + 10, FIN_WAIT1)
    return one, two
named('zyg-finwait1', finish)",
        "result = tcp(REMOTE, base + 10, FIN_WAIT1)",
    )
    .seen_beside(NETWORKED),
    residue(
        "FIN_WAIT2",
        "
def finish():
    one, two = connection(base + 11)
    one.shutdown(socket.SHUT_WR)
    reach(REMOTE, base + 11, FIN_WAIT2)
    return one, two
named('zyg-finwait2', finish)",
        "result = tcp(REMOTE, base + 11, FIN_WAIT2)",
    )
    .seen_beside(NETWORKED),
    residue(
        "CLOSE_WAIT",
        "
def finish():
    one, two = connection(base + 12)
    one.shutdown(socket.SHUT_WR)
    reach(LOCAL, base + 12, CLOSE_WAIT)
    return one, two
named('zyg-closewait', finish)",
        "result = tcp(LOCAL, base + 12, CLOSE_WAIT)",
    )
    .seen_beside(NETWORKED),
    residue(
        "LAST_ACK",
        "
def finish():
    one, two = connection(base + 13)
    one.shutdown(socket.SHUT_WR)
    reach(LOCAL, base + 13, CLOSE_WAIT)
    fill(two)
    two.close()
    reach(LOCAL, base + 13, LAST_ACK)
    return one
named('zyg-lastack', finish)",
        "result = tcp(LOCAL, base + 13, LAST_ACK)",
    )
    .seen_beside(NETWORKED),
    residue(
        "CLOSING",
        "
def finish():
    one, two = connection(base + 14)
    fill(one)
    one.shutdown(socket.SHUT_WR)
    two.shutdown(socket.SHUT_WR)
    reach(REMOTE, base + 14, CLOSING)
    return one, two
named('zyg-closing', finish)",
        "result = tcp(REMOTE, base + 14, CLOSING)",
    )
    .seen_beside(NETWORKED),
    residue(
        "FIN_WAIT1 that no process holds, with data that was not sent",
        "
def abandon():
    one, two = connection(base + 15)
    fill(one)
    one.close()
    reach(REMOTE, base + 15, FIN_WAIT1, orphan=True)
    return two
named('zyg-orphan', abandon)",
        "result = tcp(REMOTE, base + 15, FIN_WAIT1, orphan=True)",
    )
    .seen_beside(NETWORKED),
    residue(
        "FIN_WAIT2 that no process holds",
        "
def abandon():
    one, two = connection(base + 16)
    one.close()
    reach(REMOTE, base + 16, FIN_WAIT2, orphan=True)
    return two
named('zyg-orphan2', abandon)",
        "result = tcp(REMOTE, base + 16, FIN_WAIT2, orphan=True)",
    )
    .seen_beside(NETWORKED),
    residue(
        "TIME_WAIT",
        "one, two = connection(base + 17)
one.close()
two.close()
reach(REMOTE, base + 17, TIME_WAIT)",
        "result = tcp(REMOTE, base + 17, TIME_WAIT)",
    )
    .hosts(NETWORKED),
    residue(
        "many in TIME_WAIT",
        "
listener = socket.create_server(('127.0.0.1', base + 18), backlog=64)
for _ in range(200):
    one = socket.create_connection(('127.0.0.1', base + 18))
    two, _ = listener.accept()
    two.close()
    one.close()",
        "result = tcp(LOCAL, base + 18, TIME_WAIT)",
    )
    .hosts(NETWORKED),
    residue(
        "what is remembered of a connection's end",
        "
listener = socket.create_server(('127.0.0.1', base + 19))
one = socket.create_connection(('127.0.0.1', base + 19))
two, _ = listener.accept()
for _ in range(50):
    one.sendall(bytes(1 << 16))
    left = 1 << 16
    while left:
        left -= len(two.recv(left))
one.close()
two.close()",
        "result = found(metrics())",
    )
    .hosts(NETWORKED),
];
