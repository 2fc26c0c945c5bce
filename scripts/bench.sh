#!/usr/bin/env bash
# Measures the release build on private PostgreSQL servers, beside plain SQL. Arguments choose measures by name.
set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/machine.sh

need_rust
scripts/postgres.sh >/dev/null
exec cargo bench --locked --quiet --bench product -- "$@"
