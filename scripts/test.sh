#!/usr/bin/env bash
# Every test, on real PostgreSQL servers. Arguments go to cargo.
set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/machine.sh

need_rust
scripts/postgres.sh
exec cargo test --locked "$@"
