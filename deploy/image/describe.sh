#!/bin/sh
# Writes what is in the image and where it comes from, in the image's build stage: a CycloneDX list of components, and the provenance of
# the binary as an in-toto statement. Nothing here depends on the time, so that the same sources give the same files.
set -eu

folder=/image/usr/share/doc/apono-connector
binary=/image/apono-connector
target="$(rustc -vV | sed -n 's/^host: //p')"
rust="$(rustc -V | cut -d ' ' -f 2)"

written="$(sed -n '/^\[package\]/,/^\[/s/^version = "\(.*\)"$/\1/p' Cargo.toml)"
if [ "$VERSION" != "$written" ]; then
    echo "the build argument VERSION is $VERSION, and Cargo.toml says $written: they must be equal" >&2
    exit 1
fi

digest() { sha256sum "$1" | cut -d ' ' -f 1; }

# `tree EDGES`: of exactly the binary, without what only tests need.
tree() { cargo tree --locked --target "$target" --edges "$1" --prefix depth --format ' {p}|{l}'; }

# Linked in, or copied, beside the crates. NAME: a package of Debian whose version is meant.
debian() {
    dpkg-query --show --showformat "$2 \${source:Version} pkg:deb/debian/$2@\${source:Version}?arch=source;" "$1"
}

mkdir -p "$folder"
tree normal,no-proc-macro >/tmp/linked
tree normal,build >/tmp/tree
awk -v besides="$(debian libc6-dev glibc)$(debian ca-certificates ca-certificates)rust-std $rust pkg:generic/rust-std@$rust;" \
    -f deploy/image/components.awk reading=lock Cargo.lock reading=linked /tmp/linked reading=tree /tmp/tree >"$folder/sbom.cdx.json"

cat >"$folder/provenance.json" <<JSON
{
  "_type": "https://in-toto.io/Statement/v1",
  "subject": [{"name": "apono-connector", "digest": {"sha256": "$(digest "$binary")"}}],
  "predicateType": "https://slsa.dev/provenance/v1",
  "predicate": {
    "buildDefinition": {
      "buildType": "urn:apono-connector:dockerfile:v1",
      "externalParameters": {"version": "$VERSION", "target": "$target", "baseImage": "$BUILD_IMAGE"},
      "internalParameters": {
        "command": "cargo build --locked --release --target $target --bin apono-connector",
        "rustflags": "-C target-feature=+crt-static",
        "features": []
      },
      "resolvedDependencies": [
        {"name": "sources", "digest": {"gitCommit": "$REVISION"}},
        {"name": "Cargo.lock", "digest": {"sha256": "$(digest Cargo.lock)"}},
        {"name": "rustc", "annotations": {"version": "$(rustc -V)"}},
        {"name": "base", "uri": "$BUILD_IMAGE"}
      ]
    },
    "runDetails": {"builder": {"id": "$BUILDER"}}
  }
}
JSON
chmod 755 /image/usr /image/usr/share /image/usr/share/doc "$folder"
chmod 644 "$folder/sbom.cdx.json" "$folder/provenance.json"
