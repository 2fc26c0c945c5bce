#!/usr/bin/env bash
# Measures the release build on private PostgreSQL servers, beside plain SQL. Arguments choose measures by name.
set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/machine.sh

need_rust
features=()
servers=()
# The pace is measured on PostgreSQL 13 to 18.
case " $*" in *" pace"*) features=(--features every-server) servers=(every) ;; esac
scripts/postgres.sh "${servers[@]}" >/dev/null
exec cargo bench --locked --quiet "${features[@]}" --bench product -- "$@"
