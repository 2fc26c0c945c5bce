#!/usr/bin/env bash
# The tests that have a server, on PostgreSQL 13 to 18 and on one that speaks German. Arguments go to the test program.
set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/machine.sh

need_rust
# Fetched first, so that the tests do not wait for it.
scripts/postgres.sh every >/dev/null
scripts/aws.sh >/dev/null
# Each of them ends in `::pg13` and so on; what has no server ran in `make test` already.
exec cargo test --locked --features every-server --test it ::pg -- "$@"
