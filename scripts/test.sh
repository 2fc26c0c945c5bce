#!/usr/bin/env bash
# Every test, on real PostgreSQL servers and the AWS emulators. Arguments go to cargo.
set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/machine.sh

need_rust
# Lines of the form NAME=path: where the tests find their servers.
servers="$(scripts/postgres.sh)"
emulators="$(scripts/aws.sh)"
while IFS= read -r line; do export "${line?}"; done <<<"$servers"$'\n'"$emulators"
exec cargo test --locked "$@"
