#!/usr/bin/env bash
# Checks the Terraform modules.
#
#   scripts/check-terraform.sh lint     form, rules of security, and every type and argument against the schema of the provider
#   scripts/check-terraform.sh test     makes, plans again and removes everything in an emulator of AWS; its SQL on PostgreSQL servers
#   scripts/check-terraform.sh schema   takes the schema in the repository anew from the provider on this machine
#
# Terraform itself comes from PyPI, pinned in terraform.txt. The provider hashicorp/aws comes from no registry we use: it is taken from where the machine
# has it, a folder as `filesystem_mirror` wants it, or the one APONO_TERRAFORM_MIRROR names. Without it `test` does less, and its last line says so.
set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/machine.sh

modules=deploy/terraform
provider=registry.terraform.io/hashicorp/aws

# last_line COMMAND…: runs a checker, says what was run and how it ended, and all of it where it found something.
last_line() {
    local output shown
    shown="$(basename "$1") ${*:2}"
    printf 'terraform: %s\n' "$shown"
    # checkov passes over a file it cannot read.
    if ! output="$("$@" 2>&1)" || grep -qi 'error parsing\|failed to parse' <<<"$output"; then fail "$output"; fi
    # checkov ends with the list of what was looked at, its count stands before.
    output="$(grep 'Passed checks' <<<"$output" || grep -v '^ *$' <<<"$output" | tail -n 1 || true)"
    printf '  %s\n' "${output:-no findings}"
}

# Sets `mirror` to a folder that holds the provider for this machine, or to nothing.
find_mirror() {
    local folder
    mirror="${APONO_TERRAFORM_MIRROR-}"
    if [ -n "$mirror" ]; then
        [ -d "$mirror/$provider" ] || fail "\`$mirror\` of APONO_TERRAFORM_MIRROR holds no $provider"
        return
    fi
    folder="$(find "${HOME:-/nonexistent}/.terraform.d" /usr/share /usr/local/share /opt -maxdepth 5 -type d -path "*/$provider" 2>/dev/null | head -n 1 || true)"
    mirror="${folder%"/$provider"}"
}

use_terraform() {
    python_environment terraform scripts/terraform.txt
    python="$environment/bin/python"
    export CHECKPOINT_DISABLE=1 PYTHONDONTWRITEBYTECODE=1
}

lint() {
    use_terraform
    # The settings of whoever runs this are not ours.
    TF_CLI_CONFIG_FILE=/dev/null last_line "$python" tests/install/terraform_cli.py fmt -check -recursive "$modules"
    last_line "$python" tests/install/terraform_schema.py check "$modules"
    python_environment checkov scripts/checkov.txt
    last_line "$environment/bin/checkov" --directory "$modules" --framework terraform --compact --skip-download
    printf 'terraform: lint is clean, %s suppressed\n' "$(grep -rc 'checkov:skip' "$modules" --include '*.tf' | awk -F: '{n += $2} END {print n == 1 ? n " finding" : n " findings"}')"
}

run_tests() {
    local servers
    use_terraform
    find_mirror
    servers="$(scripts/postgres.sh)"
    while IFS= read -r line; do export "${line?}"; done <<<"$servers"
    servers="$(scripts/aws.sh)"
    while IFS= read -r line; do export "${line?}"; done <<<"$servers"
    printf 'terraform: unittest with %s\n' "$(TF_CLI_CONFIG_FILE=/dev/null "$python" tests/install/terraform_cli.py version | head -n 1)"
    (cd tests/install && APONO_TERRAFORM_MIRROR="$mirror" "$python" -m unittest -v terraform)
    if [ -n "$mirror" ]; then
        printf 'terraform: modules and examples were planned, applied and destroyed with hashicorp/aws %s in an emulator of AWS\n' "$(find "$mirror/$provider" -mindepth 1 -maxdepth 1 -type d -printf '%f\n' | sort -V | tail -n 1)"
    else
        printf 'terraform: NOT planned and NOT applied: the provider hashicorp/aws is not on this machine; parsed, and every type and argument compared with its schema\n'
    fi
}

take_schema() {
    local work
    use_terraform
    find_mirror
    [ -n "$mirror" ] || fail "the provider hashicorp/aws is not on this machine"
    work="$(mktemp -d)"
    # shellcheck disable=SC2064 # expanded now on purpose: `work` is local
    trap "rm -rf '$work'" EXIT
    printf 'provider_installation {\n filesystem_mirror {\n path = "%s"\n }\n}\n' "$mirror" >"$work/settings"
    cp "$modules"/member-account/versions.tf "$work"
    (
        export TF_CLI_CONFIG_FILE="$work/settings"
        cli="$PWD/tests/install/terraform_cli.py"
        cd "$work"
        "$python" "$cli" init -no-color >/dev/null
        "$python" "$cli" providers schema -json >"$work/schema.json"
    )
    "$python" tests/install/terraform_schema.py extract "$work/schema.json" "$modules"
}

case "${1-}" in
lint) lint ;;
test) run_tests ;;
schema) take_schema ;;
*) fail 'usage: scripts/check-terraform.sh lint|test|schema' ;;
esac
