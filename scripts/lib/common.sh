# common.sh - what the shell scripts here share; sourced, not run.

set -euo pipefail

ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
cd "$ROOT"

say() {
    printf '%s: %s\n' "$(basename "$0")" "$*" >&2
}

fail() {
    say "$*"
    exit 1
}

# bookworm, trixie, ...
debian_codename() {
    sed -n 's/^VERSION_CODENAME=//p' /etc/os-release
}

# Run a command as root: as it is, or through sudo.
as_root() {
    if [ "$(id -u)" = 0 ]; then
        "$@"
    elif command -v sudo >/dev/null; then
        sudo "$@"
    else
        fail "this must install packages: run it as root, or install sudo"
    fi
}

# The mirror of the Debian archive that this machine uses, as "URI KEYRING"
# (the keyring may be empty). Read from apt itself, so any form of source
# file will do. Other vendors use Debian's suite names as well; what tells
# the archive is its origin, or that the same place has the "-updates" suite.
debian_mirror() {
    local codename=$1 format found
    format='$(REPO_URI)|$(RELEASE)|$(CODENAME)|$(COMPONENT)|$(ORIGIN)|$(SIGNED_BY)'
    found=$(apt-get indextargets --format "$format" 'Created-By: Packages' |
        awk -F'|' -v c="$codename" '
            $4 != "main" { next }
            $2 == c "-updates" || $3 == c "-updates" { updates[$1] = 1 }
            $2 == c || $3 == c {
                n++; uri[n] = $1; origin[n] = $5; key[n] = $6
            }
            END {
                for (i = 1; i <= n; i++)
                    if (origin[i] == "Debian") { print uri[i] "|" key[i]; exit }
                for (i = 1; i <= n; i++)
                    if (updates[uri[i]]) { print uri[i] "|" key[i]; exit }
                if (n == 1) print uri[1] "|" key[1]
            }')
    [ -n "$found" ] || return 1
    tr '|' ' ' <<<"$found"
}

# Let apt work on a list of its own: private_apt DIR "deb|deb-src SUITE..."...
# writes DIR/sources.list from the machine's mirror. After it, "apt_private
# DIR apt-get ..." uses that list only and leaves the machine's lists alone.
private_apt() {
    local dir=$1 codename mirror uri keyring kind suite line
    shift
    codename=$(debian_codename)
    mirror=$(debian_mirror "$codename") ||
        fail "found no source of the Debian archive ($codename) in apt's lists"
    read -r uri keyring <<<"$mirror"
    if [ -z "$keyring" ] || [ ! -r "$keyring" ]; then
        keyring=/usr/share/keyrings/debian-archive-keyring.gpg
    fi
    mkdir -p "$dir/lists/partial" "$dir/archives/partial"
    : >"$dir/sources.list"
    for line in "$@"; do
        read -r kind suite <<<"$line"
        if [ -r "$keyring" ]; then
            kind="$kind [signed-by=$keyring]"
        fi
        printf '%s %s %s main\n' "$kind" "$uri" "$suite" >>"$dir/sources.list"
    done
}

apt_private() {
    local dir=$1
    shift
    "$1" -o Dir::Etc::SourceList="$dir/sources.list" \
        -o Dir::Etc::SourceParts=- \
        -o Dir::State::Lists="$dir/lists" \
        -o Dir::Cache::pkgcache= -o Dir::Cache::srcpkgcache= \
        -o APT::Sandbox::User=root \
        "${@:2}"
}
