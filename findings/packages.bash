# What the scripts of this directory share: packages by name and version in a temporary directory, which is gone when the
# script ends, and a word for what was seen. To be sourced.
#
#   debian SUITE PACKAGE=VERSION…   unpacks them with all that they need; their programs come first on PATH
#   pypi PACKAGE==VERSION…          installs them; `python` has them, and PATH their programs
#   crate NAME DEPENDENCY…          a program of what is on standard input, with crates such as fatfs@=0.3.6; $work/NAME
#   saw WHAT COMMAND…               fails, with the output, if the command does
#
#   until_said PATTERN QEMU…        a machine, by translation, ended as soon as its console has a line that fits; $work/console
#
# The exit status is 0 if all is as it was, 1 if something changed, 3 if a version cannot be had any more.
set -euo pipefail
export LC_ALL=C TZ=UTC QUIET=1
repository=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
work=$(mktemp -d)
machine=
trap '[ -z "$machine" ] || kill "$machine" 2> /dev/null || true; rm -rf "$work"' EXIT
export PATH=$PATH:/usr/sbin:/sbin

gone() {
    echo "gone: $*" >&2
    exit 3
}

debian() {
    local suite=$1
    shift
    "$repository/scripts/debian-suite.sh" "$suite" "$work/$suite" unpack "$@" > "$work/log" 2>&1 || {
        cat "$work/log" >&2
        gone "$* of $suite"
    }
    export PATH=$work/$suite/bin:$PATH
}

pypi() {
    python3 -m venv "$work/python"
    "$work/python/bin/pip" install --quiet --disable-pip-version-check "$@" > "$work/log" 2>&1 || {
        cat "$work/log" >&2
        gone "$*"
    }
    export PATH=$work/python/bin:$PATH
}

crate() {
    local name=$1
    shift
    mkdir -p "$work/$name-crate/src"
    cat > "$work/$name-crate/src/main.rs"
    printf '[package]\nname = "%s"\nversion = "0.0.0"\nedition = "2024"\n[workspace]\n' "$name" > "$work/$name-crate/Cargo.toml"
    (cd "$work/$name-crate" && cargo add --quiet "$@" && cargo build --quiet --target-dir "$work/$name-target") > "$work/log" 2>&1 || {
        cat "$work/log" >&2
        gone "$*"
    }
    mv "$work/$name-target/debug/$name" "$work/$name"
}

saw() {
    local what=$1
    shift
    if ! "$@" > "$work/seen" 2>&1; then
        echo "CHANGED: $what" >&2
        cat "$work/seen" >&2
        exit 1
    fi
    echo "as before: $what"
}

# For `saw`: the command fails.
fails() { ! "$@"; }
# For `saw`: the command's output has a line that fits a regular expression.
says() {
    local pattern=$1 said
    shift
    said=$("$@" 2>&1) || true
    printf '%s\n' "$said"
    grep -qE -- "$pattern" <<< "$said"
}
# For `saw`: two texts are equal.
equal() {
    [ "$1" = "$2" ] || { printf '%s\nis not\n%s\n' "$1" "$2"; return 1; }
}

# Waits for five minutes at most: the machine may be busy.
until_said() {
    local pattern=$1 end=$((SECONDS + 300)) found=1
    shift
    rm -f "$work/console" "$work/serial"
    "$@" -accel tcg -m 256 -no-reboot -display none -monitor none -net none -serial "file:$work/serial" \
        > "$work/log" 2>&1 < /dev/null &
    machine=$!
    while :; do
        # Without colours and cursor movements.
        sed 's/\x1b\[[0-9;=?]*[a-zA-Z]//g' "$work/serial" 2> /dev/null | tr -d '\r' > "$work/console" || true
        ! grep -qaE -- "$pattern" "$work/console" || found=0
        [ "$found" != 0 ] && kill -0 "$machine" 2> /dev/null && [ "$SECONDS" -lt "$end" ] || break
        sleep 0.5
    done
    kill "$machine" 2> /dev/null || true
    wait "$machine" 2> /dev/null || true
    machine=
    [ "$found" = 0 ] || cat "$work/log" "$work/console"
    return "$found"
}
