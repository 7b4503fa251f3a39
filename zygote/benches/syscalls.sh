#!/usr/bin/env bash
# Which system calls client and server make for one acquire and its release, the next environment's
# birth included, by strace: `bash zygote/benches/syscalls.sh`. With --trace also the server's in
# their order.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."

times=50
cargo build --quiet --locked --release -p zyg
cargo build --quiet --locked --release -p zygote-client --example acquires
target=${CARGO_TARGET_DIR:-target}/$(rustc --print host-tuple)/release

scratch=$(mktemp -d)
server=
finish() {
    [[ -z $server ]] || { kill "$server" && wait "$server" || true; }
    rm -rf "$scratch"
}
trap finish EXIT

printf '%s\n' '[profile.default.pool]' 'min = 4' 'learn = false' >"$scratch/zyg.toml"
"$target/zyg" serve --socket "$scratch/s.sock" --config "$scratch/zyg.toml" 2>"$scratch/log" &
server=$!
until [[ -S $scratch/s.sock ]]; do sleep 0.01; done
"$target/examples/acquires" "$scratch/s.sock" 5

# traced NAME N: the calls of both sides while N environments are taken and given back.
traced() {
    strace -o "$scratch/server.$1" -p "$server" 2>"$scratch/attached" &
    local tracer=$!
    until grep -q attached "$scratch/attached"; do sleep 0.01; done
    strace -o "$scratch/client.$1" "$target/examples/acquires" "$scratch/s.sock" "$2"
    sleep 0.5
    kill "$tracer"
    wait "$tracer" || true
}

traced once 1
traced many $((times + 1))
for side in client server; do
    echo "$side, for one acquire and its release:"
    for run in once many; do
        sed -n 's/^\([a-z0-9_]*\)(.*/\1/p' "$scratch/$side.$run" | sort | uniq -c >"$scratch/$run"
    done
    awk -v times="$times" '
        NR == FNR { once[$2] = $1; next }
        { each = ($1 - once[$2]) / times; if (each > 0.05) { printf "%8.2f  %s\n", each, $2; all += each } }
        END { printf "%8.2f  in all\n", all }' "$scratch/once" "$scratch/many"
done
if [[ ${1:-} == --trace ]]; then
    echo "the server, for one:"
    cat "$scratch/server.once"
fi
