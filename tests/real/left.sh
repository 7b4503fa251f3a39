# Sourced. left MARK PREFIX…: the processes, one a line, that have MARK (`NAME=value`) in their
# environment or run a program whose path begins with a PREFIX; without this shell and its own.
# What has ended and waits to be reaped is not counted. A template is executed from a mount of its own,
# where its program has no path: it is known by the file.
left() {
    local mark=$1 process pid exe prefix found zyg
    shift
    local -a binaries
    mapfile -t binaries < <(find "$@" -maxdepth 5 -type f -name zyg 2>/dev/null)
    for process in /proc/[0-9]*; do
        pid=${process#/proc/}
        [[ $pid != "$$" && $pid != "$BASHPID" ]] || continue
        found=
        exe=$(readlink "$process/exe" 2>/dev/null) || continue
        for prefix in "$@"; do
            [[ $exe != "$prefix"* ]] || found=1
        done
        if [[ $exe == / ]]; then
            for zyg in "${binaries[@]}"; do
                [[ ! $process/exe -ef $zyg ]] || found=1
            done
        fi
        if [[ -n $found ]] || grep -qzsFx "$mark" "$process/environ" 2>/dev/null; then
            echo "$pid $(tr '\0' ' ' 2>/dev/null <"$process/cmdline")"
        fi
    done
}

# none_left SECONDS MARK PREFIX…: waits until `left` finds nothing, for the kernel takes
# environments down in its own time; false, with the list on stderr, if that takes longer.
none_left() {
    local end=$((SECONDS + $1))
    shift
    while [[ -n $(left "$@") ]]; do
        if ((SECONDS >= end)); then
            echo "processes are left:" >&2
            left "$@" >&2
            return 1
        fi
    done
}
