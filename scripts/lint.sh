#!/usr/bin/env bash
# Everything that can be found without running the product. Ends at the first finding.
set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/machine.sh

cargo_deny_version=0.20.2
# Longest wait for the advisory database, which closed machines cannot reach.
advisories_seconds=60

step() { printf '\nlint: %s\n' "$1"; }

need_rust

step "format"
cargo fmt --all --check

step "clippy, the connector as shipped"
cargo clippy --locked -- -D warnings
step "clippy, all targets"
cargo clippy --locked --all-targets --features reference-plane,test-util -- -D warnings

step "documentation"
RUSTDOCFLAGS="-D warnings" cargo doc --locked --no-deps --features reference-plane

step "shell scripts"
need shellcheck shellcheck
shellcheck --external-sources scripts/*.sh deploy/image/*.sh .ci/run

step "what the product is installed with"
scripts/check-install.sh lint

step "dependencies"
cargo_deny="$tools_folder/bin/cargo-deny"
if [ "$("$cargo_deny" --version 2>/dev/null)" != "cargo-deny $cargo_deny_version" ]; then
    say "installing cargo-deny $cargo_deny_version into $tools_folder, once; takes some minutes"
    CARGO_TARGET_DIR="$tools_folder/build" cargo install --quiet --locked --root "$tools_folder" "cargo-deny@$cargo_deny_version"
    rm -rf "$tools_folder/build"
fi
"$cargo_deny" --locked --log-level error check licenses bans sources
if database_log=$(timeout "$advisories_seconds" "$cargo_deny" --locked --log-level error fetch db 2>&1); then
    "$cargo_deny" --locked --log-level error check --disable-fetch advisories
    advisories="checked against a database fetched just now"
else
    say "$database_log" | tail -n 1
    advisories="NOT checked: the advisory database cannot be reached from here"
fi

printf '\nlint: all clean; advisories %s\n' "$advisories"
