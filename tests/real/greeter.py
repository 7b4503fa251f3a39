"""A server as careless as many: a fixed port, a fixed pid file.

Says `up` when it listens. For each line on standard input it says whether pid file and answer are
its own; at the end of the input it leaves."""

import os
import socket
import sys
import threading

ADDRESS, PID_FILE = ("127.0.0.1", 8080), "/tmp/server.pid"
mine = f"{os.getpid()} {sys.argv[1]}"

with open(PID_FILE, "w") as pid_file:
    pid_file.write(mine)
listener = socket.socket()
listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
listener.bind(ADDRESS)
listener.listen()


def answer():
    while True:
        connection, _ = listener.accept()
        with connection:
            connection.sendall(mine.encode())


threading.Thread(target=answer, daemon=True).start()
print("up", flush=True)
for _ in sys.stdin:
    with open(PID_FILE) as pid_file:
        written = pid_file.read()
    with socket.create_connection(ADDRESS) as connection:
        answered = connection.makefile().read()
    undisturbed = written == answered == mine
    print("mine" if undisturbed else f"pid file {written!r}, answer {answered!r}", flush=True)
