//! Sockets and network devices of the host. `networked` is in the host's network by its purpose: its
//! ports, its abstract sockets and its devices are in reach there, and only they.

use crate::acts::{Act, act};

const CONNECT: &str = "socket.create_connection(('127.0.0.1', port)).close()";
const OK: &[&str] = &["ok"];
const HIDDEN: &[&str] = &["hidden"];
const DENIED: &[&str] = &["EPERM"];
const FILTERED: &[&str] = &["EAFNOSUPPORT"];
const OWN: &str = "nest(CLONE_NEWNET); set_mtu()";

pub const ACTS: &[Act] = &[
    act("connect to a socket in /tmp", "socket by path", "socket.socket(socket.AF_UNIX).connect(sockets[0])", "", &["ENOENT"]),
    act("connect to a socket in /var/tmp", "socket by path", "socket.socket(socket.AF_UNIX).connect(sockets[1])", "", &["ENOENT"]),
    act("connect to a socket in /dev/shm", "socket by path", "socket.socket(socket.AF_UNIX).connect(sockets[2])", "", &["ENOENT"]),
    act("connect to a socket in /run", "socket by path", "socket.socket(socket.AF_UNIX).connect(sockets[3])", "", &["ENOENT"]),
    act("connect to a socket in home", "socket by path", "socket.socket(socket.AF_UNIX).connect(sockets[4])", "", &["ECONNREFUSED", "EACCES"]).strict(&["ENOENT"]),
    act("connect to an abstract socket", "abstract socket; CVE-2020-15257", "socket.socket(socket.AF_UNIX).connect(abstract)", "", &["ECONNREFUSED"]).networked(OK),
    act("connect to a port", "loopback", CONNECT, "", &["ECONNREFUSED"]).networked(OK),
    act("send a datagram to a port", "loopback", "with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as one:
    one.connect(('127.0.0.1', udp)); one.send(b'x'); one.settimeout(0.05)
    try: one.recv(1)
    except TimeoutError: pass", "", &["ECONNREFUSED"]).networked(OK),
    act("list ports", "information", "result = told(f':{port:04X} ' in read('/proc/self/net/tcp'))", "", HIDDEN).networked(OK),
    act("be among the host's devices", "information", "result = told(os.readlink('/proc/self/ns/net') == net)", "", HIDDEN).networked(OK),
    act("change a device", "network", "set_mtu()", OWN, DENIED),
    act("change a device with regained capabilities", "nested user namespace", "nest(); set_mtu()", OWN, DENIED),
    act("replace the packet filter with regained capabilities", "netfilter; CVE-2021-22555", "nest()
socket.socket().setsockopt(0, 64, bytes(128))", OWN, DENIED),
    act("reach a port from a nested network", "nested net namespace; CVE-2021-22555", "nest(CLONE_NEWNET)
socket.create_connection(('127.0.0.1', port), 1).close()", CONNECT, &["ENETUNREACH", "ECONNREFUSED"]).strict(DENIED),
    act("open a raw socket", "raw socket", "socket.socket(socket.AF_INET, socket.SOCK_RAW, 1)", "nest(CLONE_NEWNET); socket.socket(socket.AF_INET, socket.SOCK_RAW, 1)", DENIED),
    act("open a raw socket with regained capabilities", "raw socket", "nest(); socket.socket(socket.AF_INET, socket.SOCK_RAW, 1)", "nest(CLONE_NEWNET); socket.socket(socket.AF_INET, socket.SOCK_RAW, 1)", DENIED),
    act("open a packet socket", "packet socket", "socket.socket(17, socket.SOCK_RAW)", "tolerate(['EAFNOSUPPORT'], lambda: (nest(CLONE_NEWNET), socket.socket(17, socket.SOCK_RAW)))", FILTERED),
    act("open a packet socket in a nested network", "packet socket; CVE-2020-14386", "nest(CLONE_NEWNET); socket.socket(17, socket.SOCK_RAW)", "tolerate(['EAFNOSUPPORT'], lambda: (nest(CLONE_NEWNET), socket.socket(17, socket.SOCK_RAW)))", FILTERED).strict(DENIED),
    act("open a vsock", "the machine's own host", "socket.socket(40, socket.SOCK_STREAM)", "tolerate(['EAFNOSUPPORT'], lambda: socket.socket(40, socket.SOCK_STREAM))", FILTERED),
    act("open a socket of the kernel's cryptography", "AF_ALG; CVE-2019-8912", "socket.socket(38, socket.SOCK_SEQPACKET)", "tolerate(['EAFNOSUPPORT'], lambda: socket.socket(38, socket.SOCK_SEQPACKET))", FILTERED),
];
