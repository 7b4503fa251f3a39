"""Many copies at once of servers that insist on one port: each in an environment of its own none
disturbs another, and outside two are one too many.

A copy is a program that says `up` when its server answers, and for each line that it is told says
`mine` if what it then sees is its own."""

import argparse
import os
import pathlib
import select
import subprocess
import sys
import time

HERE = pathlib.Path(__file__).parent
DEADLINE_S = 120

# Starts `server`, waits until `ask` is answered with "$1", and asks again for each line of input.
# Nothing sleeps: each turn of the loop is an attempt, and an attempt takes a connection.
SHELL = """
token=$1
cd "$(mktemp -d)"
{prepare}
{server} >log 2>&1 </dev/null &
server=$!
trap 'kill $server 2>/dev/null; wait; rm -rf "$PWD"' EXIT
ask() {{ {ask}; }}
end=$((SECONDS + 60))
until ready=$({ready} 2>/dev/null) && [ "$ready" = "{expect}" ]; do
    # Only a running one: what answers may be another copy's.
    if ! kill -0 $server 2>/dev/null || [ $SECONDS -ge $end ]; then
        cat log >&2
        exit 1
    fi
done
{after}
echo up
while read -r _; do
    answer=$(ask 2>&1)
    if [ "$answer" = "$token" ] && kill -0 $server; then echo mine; else echo "$answer"; fi
done
"""

REDIS = SHELL.format(
    prepare="",
    server="redis-server",
    ready="grep -o 'Ready to accept connections' log",
    expect="Ready to accept connections",
    after='redis-cli set whose "$token" >/dev/null',
    ask="redis-cli get whose",
)

# bash's own TCP, so that nothing more must be installed.
HTTP = SHELL.format(
    prepare='echo "$token" >whose',
    server="python3 -m http.server 80",
    ready="ask",
    expect="$token",
    after="",
    ask="exec 3<>/dev/tcp/127.0.0.1/80; printf 'GET /whose HTTP/1.0\\r\\n\\r\\n' >&3; tail -n 1 <&3",
)

PROGRAMS = {
    "a server on 127.0.0.1:8080 with /tmp/server.pid": [
        "python3",
        "-c",
        (HERE / "greeter.py").read_text(),
    ],
    "redis-server on its default port": ["bash", "-c", REDIS, "redis"],
    "python3 -m http.server 80": ["bash", "-c", HTTP, "http"],
}


class Copy:
    """One running copy."""

    def __init__(self, runner, program, token):
        self.token = token
        self.process = subprocess.Popen(
            [*runner, *program, token],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )

    def line(self, end):
        """What it says next, without its newline; nothing if it says no more."""
        said = b""
        while not said.endswith(b"\n"):
            ready, _, _ = select.select([self.process.stdout], [], [], max(0, end - time.time()))
            if not ready:
                return f"{said.decode()} (and then nothing until the deadline)"
            byte = os.read(self.process.stdout.fileno(), 1)
            if not byte:
                break
            said += byte
        return said.decode().rstrip("\n")

    def ask(self):
        try:
            self.process.stdin.write(b"whose\n")
            self.process.stdin.flush()
        except BrokenPipeError:
            pass

    def finish(self):
        """Ends it by the end of its input; its exit code and what it said on stderr."""
        try:
            _, complaint = self.process.communicate(timeout=60)
        except subprocess.TimeoutExpired:
            self.process.kill()
            _, complaint = self.process.communicate()
            complaint += b"(still there a minute after the end of its input)"
        return self.process.returncode, complaint.decode(errors="replace").strip()


def run(runner, program, count, name):
    """How many came up and how many, asked when all were, saw only their own; and complaints."""
    start = time.time()
    end = start + DEADLINE_S
    copies = [Copy(runner, program, f"{name}-{number}") for number in range(count)]
    complaints = []
    up = []
    for copy in copies:
        said = copy.line(end)
        if said == "up":
            up.append(copy)
        elif said:
            complaints.append(f"{copy.token}: {said}")
    all_up_s = time.time() - start
    # All are asked before any answer is read: they look at the same time.
    for copy in up:
        copy.ask()
    undisturbed = 0
    for copy in up:
        said = copy.line(end)
        undisturbed += said == "mine"
        if said != "mine":
            complaints.append(f"{copy.token}: {said}")
    for copy in copies:
        code, complaint = copy.finish()
        if code != 0 or complaint and copy not in up:
            complaints.append(f"{copy.token}: exit code {code}: {complaint}")
    return len(up), undisturbed, all_up_s, complaints


def show_conflict(title, program):
    """The control: outside, two copies cannot both have what they want."""
    _, undisturbed, _, complaints = run([], program, 2, "bare")
    text = "\n".join(complaints)
    reasons = {
        "in use": "the address is in use",
        "ermission denied": "permission is denied",
        "bare-0: bare-1": "one sees what is the other's",
        "bare-1: bare-0": "one sees what is the other's",
    }
    shown = [reason for sign, reason in reasons.items() if sign in text]
    if undisturbed == 2 or not shown:
        print(f"{title}: two copies outside do not conflict, so nothing is shown:\n{text}")
        return False
    print(f"{title}: outside, {undisturbed} of 2 copies undisturbed ({shown[0]})")
    return True


def show_isolation(title, program, zyg, count):
    """All at once, each in its own environment."""
    up, undisturbed, all_up_s, complaints = run([zyg, "run", "--"], program, count, "zyg")
    print(f"{title}: in zyg, {undisturbed} of {count} copies at once undisturbed", end="")
    print(f" ({up} up after {all_up_s:.1f} s)")
    for complaint in complaints[:10]:
        print(f"  {complaint}")
    return up == undisturbed == count and not complaints


def main():
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--zyg", help="the program under test; without, only the controls run")
    arguments.add_argument("--copies", type=int, default=40)
    options = arguments.parse_args()
    pid_file = pathlib.Path("/tmp/server.pid")
    if pid_file.exists():
        sys.exit(f"{pid_file} is there already, and this test would write over it")
    good = True
    for title, program in PROGRAMS.items():
        try:
            good &= show_conflict(title, program)
        finally:
            pid_file.unlink(missing_ok=True)
        if options.zyg:
            good &= show_isolation(title, program, options.zyg, options.copies)
            if pid_file.exists():
                print(f"{pid_file} has come out of an environment")
                good = False
        sys.stdout.flush()
    if not good:
        sys.exit("not as it should be")


main()
