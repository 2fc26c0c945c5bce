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

python_environment aws-emulators scripts/aws-emulators.txt
printf 'APONO_TEST_MOTO=%s\n' "$environment/bin/moto_server"
printf 'APONO_TEST_MINISTACK=%s\n' "$environment/bin/ministack"
