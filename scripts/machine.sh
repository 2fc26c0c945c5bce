# Owns what the scripts ask of the machine: a compiler, Debian packages, a place for tools. Sourced, never run.
# shellcheck shell=bash

# Downloads and builds that outlive a checkout go here, so that a second run is fast; the same place as in postgres.sh.
# shellcheck disable=SC2034 # read by the scripts that source this one
if [ -n "${APONO_CACHE_DIR-}" ]; then tools_folder="$APONO_CACHE_DIR"
elif [ "$(id -u)" -eq 0 ]; then tools_folder=/var/cache/apono-connector
else tools_folder="${HOME:?HOME is not set}/.cache/apono-connector"; fi

say() { printf '%s\n' "$*"; }
fail() { printf '%s\n' "$*" >&2; exit 1; }

as_root() {
    if [ "$(id -u)" -eq 0 ]; then
        "$@"
    elif command -v sudo >/dev/null; then
        sudo "$@"
    else
        fail "\`$*\` needs root: run as root, or install sudo"
    fi
}

# need COMMAND PACKAGE…: installs Debian packages when the command is missing.
need() {
    local command="$1"
    shift
    command -v "$command" >/dev/null && return
    command -v apt-get >/dev/null || fail "\`$command\` is missing, and there is no apt-get to install it with: install $*"
    say "installing $* for \`$command\`"
    as_root apt-get update -qq </dev/null >/dev/null || true
    as_root env DEBIAN_FRONTEND=noninteractive apt-get install -qq -y --no-install-recommends "$@" </dev/null >/dev/null
    command -v "$command" >/dev/null || fail "\`$command\` is still missing after installing $*"
}

# What every build needs: cargo itself, and a C compiler for the cryptography and SQLite.
need_rust() {
    need cc gcc libc6-dev
    command -v cargo >/dev/null || PATH="${CARGO_HOME:-${HOME:-}/.cargo}/bin:$PATH"
    command -v cargo >/dev/null || fail "\`cargo\` is missing: install Rust 1.95.0, for example with rustup"
}
