# What is run beside cargo, and how it is installed. To be sourced.

# The Debian package of each program.
declare -A packages=(
    [python3]=python3 [newuidmap]=uidmap [bwrap]=bubblewrap [ps]=procps [pgrep]=procps
    [ss]=iproute2 [strace]=strace [setpriv]=util-linux [unshare]=util-linux [cc]=build-essential
    [go]=golang-go [redis-server]=redis-server [redis-cli]=redis-tools
    [valgrind]=valgrind
)

install_packages() {
    local code=0 policy=
    # A package that brings a daemon must not start it (Debian policy 9.3.3.1).
    if [[ ! -e /usr/sbin/policy-rc.d ]]; then
        policy=/usr/sbin/policy-rc.d
        install -m 755 /dev/stdin "$policy" <<<$'#!/bin/sh\nexit 101'
    fi
    apt-get update -qq && DEBIAN_FRONTEND=noninteractive \
        apt-get install -qq -y --no-install-recommends "$@" || code=$?
    [[ -z $policy ]] || rm "$policy"
    return "$code"
}

# need PROGRAM…: installs those that are missing; as an ordinary user it says what root has to.
need() {
    local program missing=()
    for program in "$@"; do
        command -v "$program" >/dev/null || missing+=("${packages[$program]}")
    done
    if ((${#missing[@]} > 0)); then
        if [[ $(id -u) != 0 ]]; then
            echo "missing, and only root can install them: ${missing[*]}" >&2
            return 1
        fi
        if ! command -v apt-get >/dev/null; then
            echo "missing, by the names that Debian gives the packages: ${missing[*]}" >&2
            return 1
        fi
        install_packages "${missing[@]}"
    fi
}

# need_cargo COMMAND…: the same for programs that cargo installs.
need_cargo() {
    local program
    for program in "$@"; do
        command -v "$program" >/dev/null || cargo install --locked --quiet "$program"
    done
}
