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

makes_environments() { [ -x "$python" ] && "$python" -c 'import ensurepip, venv' 2>/dev/null; }

# Sets `python` to one that can make virtual environments: the system's, because others come and go with their owner.
python_with_environments() {
    python=/usr/bin/python3
    if makes_environments; then return; fi
    if command -v apt-get >/dev/null; then
        say 'installing python3-venv' >&2
        as_root apt-get update -qq </dev/null >/dev/null || true
        as_root env DEBIAN_FRONTEND=noninteractive apt-get install -qq -y --no-install-recommends python3-venv </dev/null >/dev/null ||
            say 'cannot install python3-venv' >&2
        if makes_environments; then return; fi
    fi
    python="$(command -v python3 || true)"
    makes_environments || fail 'no Python 3 here can make virtual environments: install Python 3.11 or later with its module venv'
}

# Written last. An interpreter that was removed since leaves a file here and nothing that runs.
is_complete() { [ -f "$environment/complete" ] && "$environment/bin/python" -c '' 2>/dev/null; }

# python_environment NAME LIST: sets `environment` to a virtual environment in tools_folder that holds exactly the pinned packages of the file
# LIST, made on first use. Another list is another environment, so that two checkouts do not fight. Says what it does on standard error.
python_environment() {
    local name="$1" pinned="$2" kept_umask
    environment="$tools_folder/$name-$(sha256sum "$pinned" | cut -c 1-12)"
    if is_complete; then return; fi
    mkdir -p "$tools_folder"
    # Two runs may start at once.
    exec 9>"$tools_folder/$name-lock"
    flock 9
    if ! is_complete; then
        python_with_environments
        say "installing $(grep -cv '^ *\(#\|$\)' "$pinned") packages from PyPI into $environment, once" >&2
        rm -rf "$environment"
        # Whoever else runs tests here must be able to read it.
        kept_umask="$(umask)"
        umask 022
        "$python" -m venv "$environment"
        # Wheels only: nothing is compiled, and no package's own installer runs.
        "$environment/bin/pip" install --quiet --disable-pip-version-check --no-input --only-binary :all: \
            --no-deps --requirement "$pinned" >&2 || fail "cannot install the packages of \`$pinned\` from PyPI"
        "$environment/bin/pip" check --disable-pip-version-check >&2 || fail "\`$pinned\` does not fit together"
        : >"$environment/complete"
        umask "$kept_umask"
    fi
    exec 9>&-
}
