#!/bin/sh
# Builds inside the image's build stage: `build.sh dependencies`, then, with the sources there, `build.sh connector`.
set -eu

# Always the machine's own: one way for every architecture, and no cross compiler.
target="$(rustc -vV | sed -n 's/^host: //p')"
case "${TARGETARCH:-any} $target" in
    "any "* | "amd64 x86_64-"* | "arm64 aarch64-"*) ;;
    *)
        echo "the build image is for $target, and $TARGETARCH is asked for: give a build image for it" >&2
        exit 1
        ;;
esac

# Everything is linked in. The C library looks up names in files and by DNS without loading anything, since version 2.34.
# Nor can it look for `getrandom` among loaded libraries: said here, it is called at once, and no device file is needed for randomness.
export RUSTFLAGS="-C target-feature=+crt-static --cfg getrandom_backend=\"linux_getrandom\""
build() { cargo build --locked --release --target "$target" --bin apono-connector; }

# What the manifest names must exist, even where it is not built.
stub() {
    for file in "$@"; do
        [ -e "$file" ] || { mkdir -p "${file%/*}" && echo 'fn main() {}' >"$file"; }
    done
}

case "${1-}" in
    dependencies)
        stub src/lib.rs src/main.rs src/bin/apono-control-plane.rs tests/it/main.rs benches/product/main.rs
        build
        ;;
    connector)
        # A copy keeps the time of its source, which may be before the stub was built.
        find src -name '*.rs' -exec touch {} +
        build
        mkdir -p /image/etc/ssl/certs /image/var/lib /state/apono-connector
        cp "target/$target/release/apono-connector" /image/
        cp /etc/ssl/certs/ca-certificates.crt /image/etc/ssl/certs/
        chmod 755 /image /image/etc /image/etc/ssl /image/etc/ssl/certs /image/var /image/var/lib /image/apono-connector /state
        chmod 644 /image/etc/ssl/certs/ca-certificates.crt
        chmod 700 /state/apono-connector
        ;;
    *)
        echo "give \`dependencies\` or \`connector\`" >&2
        exit 1
        ;;
esac
