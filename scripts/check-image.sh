#!/usr/bin/env bash
# Checks the image and the other ways onto one machine.
#
#   scripts/check-image.sh lint   the Dockerfile, its scripts and the systemd units, by static checkers
#   scripts/check-image.sh test   builds the image with buildah on a base made here, looks into it, and runs what it holds
#
# For Debian and Ubuntu. Installs what is missing; `test` needs root, and keeps its base and its layers in APONO_CACHE_DIR (default:
# /var/cache/apono-connector as root), so that a second run builds only what changed.
set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/machine.sh

# More than a base, the dependencies and a dozen versions of the sources take. Then the layers are begun anew.
largest_storage_mib=8192
# What systemd may find open in the unit, in tenths: the network, which is the connector's work.
largest_exposure=15
image=localhost/apono-connector:checked

step() { printf '\nimage: %s\n' "$1"; }

make_storage() {
    local folder="$tools_folder/image"
    # Where `RUN --mount=type=cache` keeps what it keeps; not the stage of anything else.
    cache_mounts="$folder/tmp/buildah-cache"
    mkdir -p "$cache_mounts"
    # Without overlays each layer is a whole copy.
    driver=overlay
    TMPDIR="$folder/tmp" buildah --root "$folder/overlay" --runroot "$folder/run-overlay" --storage-driver overlay info >/dev/null 2>&1 || driver=vfs
    storage="$folder/$driver" runroot="$folder/run-$driver" temporary="$folder/tmp"
    if [ -d "$storage" ] && [ "$(du -sm "$storage" | cut -f 1)" -gt "$largest_storage_mib" ]; then
        say "the kept layers are larger than $largest_storage_mib MiB: beginning anew"
        in_storage rm --all >/dev/null
        in_storage rmi --all --force >/dev/null
    fi
}
in_storage() { TMPDIR="$temporary" buildah --root "$storage" --runroot "$runroot" --storage-driver "$driver" "$@"; }

# The mirror this machine takes Debian 12 from, or Debian's own.
debian_mirror() {
    local mirror
    mirror="$(apt-get indextargets --format "\$(RELEASE) \$(REPO_URI)" 2>/dev/null | sed -n 's/^bookworm //p' | head -n 1)"
    printf '%s' "${mirror:-http://deb.debian.org/debian}"
}

# Sets `base` to an image like the official one of Rust on Debian 12, slim: the same packages, this machine's own toolchain.
make_base() {
    local container root sysroot
    sysroot="$(rustc --print sysroot)"
    base="localhost/rust-on-bookworm:$( (rustc -vV && declare -f make_base) | sha256sum | cut -c 1-12)"
    if in_storage inspect --type image "$base" >/dev/null 2>&1; then return; fi
    need debootstrap debootstrap debian-archive-keyring
    say "making $base, once"
    container="$(in_storage from scratch)"
    root="$(in_storage mount "$container")"
    debootstrap --variant=minbase --include=ca-certificates,gcc,libc6-dev \
        --keyring=/usr/share/keyrings/debian-archive-keyring.gpg bookworm "$root" "$(debian_mirror)" >"$temporary/debootstrap.log" 2>&1 ||
        { tail -n 20 "$temporary/debootstrap.log" >&2; fail "cannot make a Debian base"; }
    rm -rf "$root"/var/cache/apt/archives/*.deb "$root"/var/lib/apt/lists/*
    cp -a "$sysroot/bin" "$sysroot/lib" "$root/usr/local/"
    in_storage config --env CARGO_HOME=/usr/local/cargo "$container"
    in_storage unmount "$container" >/dev/null
    in_storage commit --quiet --rm "$container" "$base" >/dev/null
}

# The crates cargo has here already, so that the build needs no registry.
lend_crates() {
    local registry="${CARGO_HOME:-$HOME/.cargo}/registry" lent="$cache_mounts/apono-connector-registry"
    cargo fetch --quiet --locked --target "$(rustc -vV | sed -n 's/^host: //p')"
    mkdir -p "$lent"
    cp -a --update "$registry/index" "$registry/cache" "$lent/"
}

build_image() {
    local began="$SECONDS"
    lend_crates
    in_storage bud --layers --pull-never --isolation chroot --format docker --tag "$image" \
        --build-arg "BUILD_IMAGE=$base" --build-arg CARGO_NET_OFFLINE=true \
        --build-arg "REVISION=$revision" . >"$temporary/build.log" 2>&1 ||
        { tail -n 40 "$temporary/build.log" >&2; fail "the image cannot be built"; }
    say "built in $((SECONDS - began)) s; $(grep -c 'Using cache' "$temporary/build.log" || true) of $(grep -c ' STEP ' "$temporary/build.log") steps were kept"
}

# What the image holds, as a tree, as its settings and as it would be pushed, for the tests; and a control plane to run against.
test_image() {
    local container
    layout="$(mktemp -d "$temporary/layout.XXXXXX")"
    container="$(in_storage from --pull-never "$image")"
    # shellcheck disable=SC2064 # expanded now on purpose
    trap "in_storage rm '$container' >/dev/null; rm -rf '$layout'" EXIT
    in_storage inspect --type image "$image" >"$layout/config.json"
    in_storage push --quiet "$image" "oci:$layout/pushed:checked"
    cargo build --quiet --locked --features reference-plane --bin apono-control-plane
    APONO_IMAGE_TREE="$(in_storage mount "$container")" APONO_IMAGE_CONFIG="$layout/config.json" APONO_IMAGE_LAYOUT="$layout/pushed" \
        APONO_IMAGE_REVISION="$revision" APONO_IMAGE_BASE="$base" \
        APONO_CONTROL_PLANE="$(realpath "${CARGO_TARGET_DIR:-target}/debug/apono-control-plane")" \
        unshare --net --pid --fork --kill-child --mount-proc --propagation private \
        "$environment/bin/python" tests/install/image.py
}

# check_units: systemd's own reading of the units, in a folder that looks like a machine they are installed on.
check_units() {
    local machine said unit exposure
    machine="$(mktemp -d)"
    # shellcheck disable=SC2064 # expanded now on purpose
    trap "rm -rf '$machine'" EXIT
    mkdir -p "$machine"/usr/{bin,lib,local/bin} "$machine/etc/systemd/system"
    cp -a /usr/lib/systemd "$machine/usr/lib/"
    ln -s usr/lib "$machine/lib"
    install -m 755 /dev/null "$machine/usr/bin/docker"
    install -m 755 /dev/null "$machine/usr/local/bin/apono-connector"
    printf '[Service]\nExecStart=/usr/bin/docker\n' >"$machine/etc/systemd/system/docker.service"
    cp deploy/systemd/*.service "$machine/etc/systemd/system/"
    for unit in deploy/systemd/*.service; do
        # It says what it does not like, and ends well all the same.
        said="$(systemd-analyze verify --man=no --root="$machine" "${unit##*/}" 2>&1)" || fail "$said"
        [ -z "$said" ] || fail "$said"
        say "systemd-analyze verify ${unit##*/}: nothing to say"
    done
    systemd-sysusers --root="$machine" "$PWD/deploy/systemd/apono-connector.sysusers.conf" 2>/dev/null
    grep -q '^apono-connector:' "$machine/etc/passwd" || fail "the user of the unit is not made"
    say "systemd-sysusers apono-connector.sysusers.conf: makes the user"
    exposure="$(systemd-analyze security --offline=true --threshold="$largest_exposure" deploy/systemd/apono-connector.service | tail -n 1)" ||
        fail "the unit is more open than $largest_exposure tenths: $exposure"
    say "systemd-analyze security apono-connector.service: ${exposure#→ }"
}

python_environment image scripts/image-tools.txt
case "${1-}" in
    lint)
        step "hadolint Dockerfile"
        "$environment/bin/hadolint" Dockerfile
        say "hadolint: nothing to say"
        step "shellcheck deploy/image/*.sh"
        need shellcheck shellcheck
        shellcheck deploy/image/*.sh
        say "shellcheck: nothing to say"
        step "systemd units"
        need systemd-analyze systemd
        check_units
        ;;
    test)
        [ "$(id -u)" -eq 0 ] || fail "building an image here needs root: run \`sudo scripts/check-image.sh test\`"
        need_rust
        need buildah buildah
        need openssl openssl
        need strace strace
        need systemd-analyze systemd
        revision="$(git rev-parse HEAD 2>/dev/null || echo unknown)"
        make_storage
        step "a base, and the image on it"
        make_base
        build_image
        step "its contents, and a connector in it"
        test_image
        ;;
    *) fail "give \`lint\` or \`test\`" ;;
esac
