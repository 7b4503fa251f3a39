#!/usr/bin/env bash
# How many instructions the pieces of the hot path take, by callgrind, against the bounds in
# instructions.txt: `bash zygote/benches/instructions.sh`. More than 20 % above one fails, which
# leaves room for another compiler.
#
#   --update   writes what is measured as the new bounds
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."

# Says why nothing can be checked, which is a failure under ZYG_TEST_STRICT=1.
skip() {
    echo "NOT CHECKED: instructions, $1"
    [[ ${ZYG_TEST_STRICT:-} != 1 ]] || exit 1
    exit 0
}
[[ $(uname -m) == x86_64 ]] || skip "whose bounds are those of x86-64"
command -v valgrind >/dev/null || skip "which takes valgrind"

bounds=zygote/benches/instructions.txt
slack_percent=20
times=200
update=${1:-}

scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT

cargo bench --quiet --locked -p zygote --bench pieces --no-run --message-format=json \
    >"$scratch/built"
program=$(grep -o '"executable":"[^"]*/pieces-[^"]*"' "$scratch/built" | tail -n 1 | cut -d'"' -f4)

# count PIECE N: instructions that N of them take, the first included, which prepares.
count() {
    valgrind --tool=callgrind --callgrind-out-file="$scratch/out" \
        --toggle-collect='*counted*' "$program" --count "$1" "$2" 2>"$scratch/said" >&2 ||
        { cat "$scratch/said" >&2 && return 1; }
    awk '$1 == "summary:" || $1 == "totals:" { print $2; exit }' "$scratch/out"
}

measured() {
    local piece once many
    for piece in encode_acquire decode_acquire encode_granted decode_granted encode_exec \
        decode_exec lease_of_10 lease_of_1000; do
        once=$(count "$piece" 1)
        many=$(count "$piece" $((times + 1)))
        echo "$piece $(((many - once) / times))"
    done
}

measured >"$scratch/measured"
if [[ $update == --update ]]; then
    {
        sed '/^[^#]/,$d' "$bounds" 2>/dev/null || true
        cat "$scratch/measured"
    } >"$scratch/bounds"
    cp "$scratch/bounds" "$bounds"
fi

awk -v slack="$slack_percent" '
    NR == FNR { if ($1 !~ /^#/) bound[$1] = $2; next }
    {
        bad = !($1 in bound) || $2 > bound[$1] * (1 + slack / 100)
        failed += bad
        printf "%-18s %8d instructions, bound %s%s\n", $1, $2,
            ($1 in bound) ? bound[$1] " + " slack " %" : "none", bad ? "   EXCEEDED" : ""
    }
    END { exit failed > 0 }' "$bounds" "$scratch/measured" || {
    echo "more instructions than $bounds allows; if that is meant to be:" >&2
    echo "    bash zygote/benches/instructions.sh --update" >&2
    exit 1
}
