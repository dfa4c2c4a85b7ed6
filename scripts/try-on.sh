#!/usr/bin/env bash
# What a newcomer on another Debian does: in a fresh root of bookworm, trixie or sid, clones the last commit and calls
# `make demo`, `make test` or both, then sets up once more, without a network. Prints the minutes that it took; its
# exit status is the run's.
#
# Rust comes from outside: this machine's toolchain is visible in the root, read-only. Debian's packages come from the
# mirror in TRY_ON_MIRROR, or else from this machine's own. The root is made below TRY_ON_DIRECTORY, or else below
# target/try-on, and removed at the end, if TRY_ON_KEEP is not set. Needs debootstrap, root and 15 GB of disk.
set -euo pipefail
cd "$(dirname "$0")/.."
here=$PWD
export LC_ALL=C

say() { echo "try-on: $*" >&2; }

usage() {
    echo "usage: $0 bookworm|trixie|sid [demo|test]" >&2
    exit 2
}

suite=${1:-}
case $#-$suite-${2:-} in
    1-bookworm- | 1-trixie- | 1-sid-) targets=(demo test) ;;
    2-bookworm-demo | 2-trixie-demo | 2-sid-demo | 2-bookworm-test | 2-trixie-test | 2-sid-test) targets=("$2") ;;
    *) usage ;;
esac
if [ "$(id -u)" != 0 ] || ! command -v debootstrap > /dev/null; then
    say "this needs root, and debootstrap"
    exit 1
fi

# The root is made and removed here. All mounts and processes are in namespaces of their own, which end with the run,
# however it ends.
if [ -z "${TRY_ON_ROOT:-}" ]; then
    mkdir -p "${TRY_ON_DIRECTORY:-target/try-on}"
    root=$(mktemp -d "$(realpath "${TRY_ON_DIRECTORY:-target/try-on}")/$suite.XXXXXX")
    chmod 755 "$root"
    inside=
    clean_up() {
        status=$?
        trap - EXIT
        [ -z "$inside" ] || kill -KILL "$inside" 2> /dev/null || true
        wait 2> /dev/null
        rm -f "$root.log"
        if [ -n "${TRY_ON_KEEP:-}" ]; then
            say "kept: $root"
        else
            # The last processes may still be ending.
            rm -rf --one-file-system "$root" 2> /dev/null || { sleep 5; rm -rf --one-file-system "$root"; }
        fi
        exit "$status"
    }
    trap clean_up EXIT
    trap 'exit 130' INT
    trap 'exit 143' HUP TERM
    TRY_ON_ROOT=$root unshare --mount --pid --fork --kill-child --propagation private "$0" "$@" &
    inside=$!
    status=0
    wait "$inside" || status=$?
    exit "$status"
fi
root=$TRY_ON_ROOT

mirror=${TRY_ON_MIRROR:-$(apt-get indextargets --format '$(RELEASE) $(REPO_URI)' 'Identifier: Packages' 'Component: main' |
    sed -n '/security/!s/^[^ ]* //p' | head -n 1)}
[ -n "$mirror" ] || { say "apt is given no mirror here; please name one in TRY_ON_MIRROR"; exit 1; }
toolchain=$(rustc --print sysroot)

started=$SECONDS
minutes() { printf '%d:%02d minutes' $(((SECONDS - $1) / 60)) $(((SECONDS - $1) % 60)); }

say "making a root of $suite in $root"
if ! debootstrap --variant=minbase --include=ca-certificates,git,make "$suite" "$root" "$mirror" > "$root.log" 2>&1; then
    tail -n 40 "$root.log" >&2
    say "debootstrap failed"
    exit 1
fi
# How this machine reaches its mirror holds there too.
apt-config dump --format '%F "%v";%n' Acquire::http Acquire::https Acquire::Check-Valid-Until Acquire::Check-Date |
    sed '/::Proxy-Auto-Detect/d' > "$root/etc/apt/apt.conf.d/80outside"
cp --dereference /etc/resolv.conf /etc/hosts "$root/etc/"

mount -t proc proc "$root/proc"
mount --rbind /sys "$root/sys"
mount --rbind /dev "$root/dev"
mkdir -p "$root/opt/rust" "$root/opt/outside" "$root/home/newcomer/shared"
mount --bind "$toolchain" "$root/opt/rust"
mount -o remount,bind,ro "$root/opt/rust"
git clone --quiet --no-local "file://$here" "$root/home/newcomer/nix-imagegen"
[ "$(git rev-parse HEAD)" = "$(git -C "$root/home/newcomer/nix-imagegen" rev-parse HEAD)" ]
# What is beside the clone, or beside the clone that this is a worktree of.
for shared in "$here/../shared" "$(git rev-parse --path-format=absolute --git-common-dir)/../../shared"; do
    [ -d "$shared" ] || continue
    mount --bind "$shared" "$root/home/newcomer/shared"
    mount -o remount,bind,ro "$root/home/newcomer/shared"
    break
done

# Nothing of this machine's environment is kept but how it reaches the network.
environment=(HOME=/root USER=root "PATH=/opt/rust/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin")
for name in http_proxy https_proxy no_proxy HTTP_PROXY HTTPS_PROXY NO_PROXY PIP_INDEX_URL CARGO_HTTP_MULTIPLEXING; do
    [ -z "${!name:-}" ] || environment+=("$name=${!name}")
done
certificates=${SSL_CERT_FILE:-/etc/ssl/certs/ca-certificates.crt}
if [ -e "$certificates" ]; then
    cp --dereference "$certificates" "$root/opt/outside/certificates.crt"
    for name in SSL_CERT_FILE CARGO_HTTP_CAINFO PIP_CERT; do
        environment+=("$name=/opt/outside/certificates.crt")
    done
fi
within() { env --ignore-environment "${environment[@]}" "$@"; }
# The root becomes that of all processes here, and not of some only: so they may have namespaces of their own, as on a
# machine.
cat > "$root/opt/outside/run" << 'END'
set -e
cd /home/newcomer/nix-imagegen
make "$1" < /dev/null
said=$(unshare --net scripts/setup.sh "$1" 2>&1 < /dev/null)
[ -z "$said" ] || { echo "try-on: the second set-up should have had nothing to do, but: $said" >&2; exit 1; }
END
within_root='mount --rbind "$1" "$1"; cd "$1"; mkdir -p mnt; pivot_root . mnt; umount --lazy /mnt; exec bash /opt/outside/run "$2"'

say "the root is there after $(minutes $started); Linux here is $(uname -r)"
for target in "${targets[@]}"; do
    started=$SECONDS
    status=0
    within unshare --mount --propagation private bash -ec "$within_root" within "$root" "$target" || status=$?
    say "make $target on $suite: exit status $status after $(minutes $started)"
    [ "$status" = 0 ] || exit "$status"
done
