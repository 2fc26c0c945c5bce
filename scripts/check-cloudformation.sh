#!/usr/bin/env bash
# Checks the CloudFormation templates.
#
#   scripts/check-cloudformation.sh lint    by schema and by rules of security, without running anything
#   scripts/check-cloudformation.sh test    makes, changes and deletes every stack in emulators of AWS, and tries what its roles may do
set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/machine.sh

templates=deploy/cloudformation
# One of each partition, the oldest and a young one: not every region has every property.
regions=(us-east-1 eu-west-1 eu-central-2 us-gov-west-1 cn-north-1)

# last_line NAME COMMAND…: runs a checker, says what was run and how it ended, and all of it where it found something.
last_line() {
    local name="$1" output line
    shift
    printf 'cloudformation: %s %s\n' "$name" "${*:2}"
    if output="$("$@" 2>&1)" && ! grep -q 'Failed to run check' <<<"$output"; then
        line="$(sed '/^ *$/d' <<<"$output" | tail -n 1)"
        printf '  %s\n' "${line:-no findings}"
    else
        fail "$output"
    fi
}

lint() {
    python_environment cloudformation-checkers scripts/cloudformation-checkers.txt
    last_line cfn-lint "$environment/bin/cfn-lint" --include-checks W E --regions "${regions[@]}" -- "$templates"/*.yaml
    last_line checkov "$environment/bin/checkov" --quiet --compact --skip-download --framework cloudformation --directory "$templates"
    # Both would take their comments or settings for an order to be silent.
    if grep -rnE 'checkov:skip|cfn-lint:|cfn_nag' "$templates"; then fail 'a finding is suppressed above'; fi
    printf 'cloudformation: lint is clean, 0 findings suppressed\n'
}

run_tests() {
    python_environment aws-emulators scripts/aws-emulators.txt
    printf 'cloudformation: unittest in %s emulators\n' "$("$environment/bin/python" -c 'import importlib.metadata as m; print(" and ".join(f"{n} {m.version(n)}" for n in ("ministack", "moto")))')"
    cd tests/install
    PYTHONDONTWRITEBYTECODE=1 "$environment/bin/python" -m unittest -v cloudformation_words \
        cloudformation cloudformation_organization cloudformation_eks cloudformation_permissions cloudformation_calls
    cat <<'PROVEN'
cloudformation: not played by any emulator, and so proven by cfn-lint's schema alone: that CloudFormation itself makes the stack set and the association of EKS
  (their properties were handed to the services' APIs), auto-deployment to accounts that join, what EventBridge and SNS deliver, mounting EFS, starting a task.
PROVEN
}

case "${1-}" in
lint) lint ;;
test) run_tests ;;
*) fail 'usage: scripts/check-cloudformation.sh lint|test' ;;
esac
