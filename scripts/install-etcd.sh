#!/bin/sh
# Puts an etcd that Gantry can use on the PATH; does nothing when there is one already.
#
# Gantry needs 3.5.13 or newer: an older server answers a watch's progress request before it has sent the
# events that the answer covers. Debian 12 carries 3.4, so the program is taken from the etcd-server package
# of Debian 13, which runs on Debian 12 as it is. The package is fetched with lists of its own, from the mirror
# that this machine's apt already uses, and only /usr/bin/etcd is taken out of it: the machine's apt sources
# and package choices stay as they were, and no service is installed, let alone started.
set -eu

minimum=3.5.13
newer_suite=trixie
destination=${ETCD_INSTALL_DIR:-/usr/local/bin}
keyring=/usr/share/keyrings/debian-archive-keyring.gpg

fail() {
    echo "install-etcd: $*" >&2
    exit 1
}

version_of() {
    "$1" --version 2>/dev/null | sed -n 's/^etcd Version: *//p'
}

is_recent_enough() {
    [ -n "$1" ] && [ "$(printf '%s\n%s\n' "$minimum" "$1" | sort -V | head -n 1)" = "$minimum" ]
}

present=$(command -v etcd || true)
if [ -n "$present" ] && is_recent_enough "$(version_of "$present")"; then
    echo "install-etcd: etcd $(version_of "$present") is here already ($present)"
    exit 0
fi

command -v apt-get >/dev/null || fail "this machine has no apt; install etcd $minimum or newer and put it on the PATH"
[ -w "$destination" ] || fail "cannot write to $destination: run this as root, or set ETCD_INSTALL_DIR"

# shellcheck source=/dev/null
codename=$(. /etc/os-release && [ "${ID:-}" = debian ] && echo "${VERSION_CODENAME:-}") || codename=
case $codename in
"") fail "this is not a Debian release; install etcd $minimum or newer and put it on the PATH" ;;
bullseye | bookworm) suite=$newer_suite ;;
*) suite=$codename ;;
esac

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
trap 'exit 1' INT TERM
chmod 755 "$work"
mkdir -p "$work/lists/partial" "$work/package"
: >"$work/preferences"
# apt fetches as this user where it exists.
chown _apt "$work/lists/partial" "$work/package" 2>/dev/null || true

# apt knows every form of sources file.
mirrors=$(apt-get update --print-uris |
    sed -nE "s#^'(.*)/dists/($codename|stable|oldstable)/InRelease'.*#\1#p" | sort -u)
[ -n "$mirrors" ] || fail "apt on this machine has no source for $codename to take the mirror's address from"

private_apt() {
    apt-get -qq \
        -o Dir::Etc::sourcelist="$work/sources.list" -o Dir::Etc::sourceparts=/dev/null \
        -o Dir::Etc::preferences="$work/preferences" -o Dir::Etc::preferencesparts=/dev/null \
        -o Dir::State::lists="$work/lists" -o Dir::Cache::pkgcache= -o Dir::Cache::srcpkgcache= \
        -o Acquire::Languages=none -o APT::Update::Error-Mode=any \
        "$@"
}

options=
[ ! -e "$keyring" ] || options="[signed-by=$keyring] "
fetched=
for mirror in $mirrors; do
    echo "deb $options$mirror $suite main" >"$work/sources.list"
    echo "install-etcd: taking etcd-server of Debian $suite from $mirror"
    if private_apt update && (cd "$work/package" && private_apt download etcd-server); then
        fetched=yes
        break
    fi
done
[ -n "$fetched" ] || fail "could not fetch etcd-server of $suite from any of: $mirrors"

dpkg-deb -x "$work"/package/etcd-server_*.deb "$work/tree"
version=$(version_of "$work/tree/usr/bin/etcd")
is_recent_enough "$version" || fail "$suite carries etcd '${version:-that does not run here}', and $minimum is needed"
install -m 755 "$work/tree/usr/bin/etcd" "$destination/etcd"

found=$(command -v etcd || true)
[ "$found" = "$destination/etcd" ] || fail "etcd $version is in $destination, but the PATH leads to '${found:-nothing}'"
echo "install-etcd: etcd $version is in $destination"
