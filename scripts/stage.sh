# Owns the stage: a temporary folder, the processes in it, waiting with a sign of life, leaving nothing behind. Sourced, never run.
# shellcheck shell=bash

stage="$(mktemp -d "${TMPDIR:-/tmp}/apono-stage.XXXXXX")"
chmod 711 "$stage"
# Processes of ours, by name, so that only these are ever ended.
declare -A running=()

if [ -t 1 ]; then bold=$'\e[1m' green=$'\e[32m' red=$'\e[31m' dim=$'\e[2m' plain=$'\e[0m' wipe=$'\r\e[K'
else bold='' green='' red='' dim='' plain='' wipe=''; fi

headline() { printf '\n%s%s%s\n' "$bold" "$1" "$plain"; }
ok() { printf '%s    %sok%s   %s\n' "$wipe" "$green" "$plain" "$1"; }
show() { sed "s/^/         $dim| /; s/\$/$plain/"; }

wrong() {
    printf '%s    %sNOT%s  %s\n' "$wipe" "$red" "$plain" "$1" >&2
    local log
    for log in "$stage"/*.log; do
        [ -s "$log" ] && { printf '\n%s, last lines:\n' "${log##*/}"; tail -n 25 "$log"; } >&2
    done
    exit 1
}

# check "SENTENCE" COMMAND…: must succeed.
check() {
    local sentence="$1"
    shift
    "$@" || wrong "$sentence"
    ok "$sentence"
}

# equal "SENTENCE" EXPECTED GOT
equal() {
    [ "$2" = "$3" ] || wrong "$1: expected \`$2\`, got \`$3\`"
    ok "$1"
}

now() { date +%s.%N; }
# Moments are seconds since 1970 with a fraction.
calc() { awk "BEGIN { printf \"%.3f\", ($1) }"; }
holds() { awk "BEGIN { exit !($1) }"; }

# progress WHAT SINCE: one line on a terminal, nothing elsewhere.
progress() {
    [ -z "$wipe" ] || printf '%s         %s… %s, %.0f s%s' "$wipe" "$dim" "$1" "$(calc "$(now) - $2")" "$plain"
}

# A process that should go on and has not is said at once, not after a wait.
servers_alive() {
    local name
    for name in control-plane connector; do
        [ -z "${running[$name]-}" ] || kill -0 "${running[$name]}" 2>/dev/null || wrong "the $name ended by itself"
    done
}

# until_true SECONDS "WHAT" COMMAND…: waits for the command to succeed.
until_true() {
    local seconds="$1" what="$2" since
    since="$(now)"
    shift 2
    until "$@"; do
        servers_alive
        holds "$(now) - $since < $seconds" || wrong "waited $seconds s: $what"
        progress "$what" "$since"
        sleep 0.05
    done
    printf '%s' "$wipe"
}

# wait_until EPOCH "WHAT": waits for a moment.
wait_until() {
    local since
    since="$(now)"
    [ -n "$wipe" ] || printf '         … %s, %.0f s\n' "$2" "$(calc "$1 - $since")"
    while holds "$(now) < $1"; do
        progress "$2" "$since"
        sleep 0.1
    done
    printf '%s' "$wipe"
}

# build NAME COMMAND…: shows that it goes on, and the log only when it fails.
build() {
    local name="$1" since shown
    since="$(now)" shown=15
    shift
    printf 'building %s; minutes the first time\n' "$name"
    "$@" >"$stage/build.log" 2>&1 &
    running[build]=$!
    while kill -0 "${running[build]}" 2>/dev/null; do
        local units
        units="$(grep -c Compiling "$stage/build.log" || true)"
        progress "$units packages compiled" "$since"
        if [ -z "$wipe" ] && holds "$(now) - $since > $shown"; then
            printf '… %s packages compiled, %d s\n' "$units" "$shown"
            shown=$((shown + 15))
        fi
        sleep 0.3
    done
    printf '%s' "$wipe"
    wait "${running[build]}" || wrong "\`$*\` failed"
    unset 'running[build]'
    rm -f "$stage/build.log"
}

# launch NAME COMMAND…: in the background, output to NAME.log.
launch() {
    local name="$1"
    shift
    "$@" >>"$stage/$name.log" 2>&1 </dev/null &
    running[$name]=$!
}

# slay NAME: SIGKILL, no farewell.
slay() {
    kill -KILL "${running[$1]}"
    wait "${running[$1]}" 2>/dev/null || true
    unset "running[$1]"
}

# A script may have something to end before the folder goes, and something to say afterwards; it says with which status to leave.
before_leaving() { :; }
last_words() { return "$1"; }

leave() {
    local status=$? name
    trap - EXIT INT TERM
    for name in "${!running[@]}"; do
        kill -KILL "${running[$name]}" 2>/dev/null || true
    done
    wait 2>/dev/null || true
    before_leaving
    rm -rf "$stage"
    last_words "$status" || exit "$?"
    exit "$status"
}
trap leave EXIT
trap 'exit 130' INT
trap 'exit 143' TERM
