#!/usr/bin/env bash
# What the product is installed with, checked road by road. Each road's script installs its own tools.
#
#   scripts/check-install.sh lint   what can be found without running anything
#   scripts/check-install.sh test   made, changed, run and removed: in emulators, by the real Helm and Terraform, as a real image
set -euo pipefail
cd "$(dirname "$0")/.."

case "${1-}" in
lint | test) ;;
*)
    printf 'usage: scripts/check-install.sh lint|test\n' >&2
    exit 2
    ;;
esac
for road in cloudformation terraform helm image; do
    printf '\n%s: %s\n' "$1" "$road"
    "scripts/check-$road.sh" "$1"
done
