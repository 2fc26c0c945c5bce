#!/usr/bin/env bash
# Makes sure that the AWS emulators are there for tests and the demo, and says where, as KEY=path lines.
#
#   scripts/aws.sh   moto's server and MiniStack
#
# Both come from PyPI, pinned in aws-emulators.txt, into a Python virtual environment in APONO_CACHE_DIR (default:
# /var/cache/apono-connector as root, else ~/.cache/apono-connector). Nothing is installed into the system's Python; where that
# cannot make virtual environments, Debian's package for it is installed, as root or with sudo. Starts nothing.
set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/machine.sh

# The standard output is for the places alone.
say() { printf 'aws.sh: %s\n' "$*" >&2; }
fail() { say "$*"; exit 1; }

makes_environments() { [ -x "$python" ] && "$python" -c 'import ensurepip, venv' 2>/dev/null; }

# Sets `python` to one that can make virtual environments: the system's, because others come and go with their owner.
python_with_environments() {
    python=/usr/bin/python3
    if makes_environments; then return; fi
    if command -v apt-get >/dev/null; then
        say 'installing python3-venv'
        as_root apt-get update -qq </dev/null >/dev/null || true
        as_root env DEBIAN_FRONTEND=noninteractive apt-get install -qq -y --no-install-recommends python3-venv </dev/null >/dev/null ||
            say 'cannot install python3-venv'
        if makes_environments; then return; fi
    fi
    python="$(command -v python3 || true)"
    makes_environments || fail 'no Python 3 here can make virtual environments: install Python 3.11 or later with its module venv'
}

umask 022
pinned=scripts/aws-emulators.txt
# Another list is another environment, so that two checkouts do not fight.
environment="$tools_folder/aws-emulators-$(sha256sum "$pinned" | cut -c 1-12)"
# Written last. An interpreter that was removed since leaves a file here and nothing that runs.
complete="$environment/complete"
is_complete() { [ -f "$complete" ] && "$environment/bin/python" -c '' 2>/dev/null; }

if ! is_complete; then
    mkdir -p "$tools_folder"
    # Two test runs may start at once.
    exec 9>"$tools_folder/aws-lock"
    flock 9
    if ! is_complete; then
        python_with_environments
        say "installing $(grep -cv '^ *\(#\|$\)' "$pinned") packages from PyPI into $environment, once"
        rm -rf "$environment"
        "$python" -m venv "$environment"
        # Wheels only: nothing is compiled, and no package's own installer runs.
        "$environment/bin/pip" install --quiet --disable-pip-version-check --no-input --only-binary :all: \
            --no-deps --requirement "$pinned" >&2 || fail 'cannot install the AWS emulators from PyPI'
        "$environment/bin/pip" check --disable-pip-version-check >&2 || fail "$pinned does not fit together"
        : >"$complete"
    fi
    exec 9>&-
fi

printf 'APONO_TEST_MOTO=%s\n' "$environment/bin/moto_server"
printf 'APONO_TEST_MINISTACK=%s\n' "$environment/bin/ministack"
