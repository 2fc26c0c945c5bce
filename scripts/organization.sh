# Owns an AWS organization on this machine, played for the demo. Sourced after system.sh, never run.
# shellcheck shell=bash
# shellcheck disable=SC2034 # `running` is read by stage.sh
# shellcheck disable=SC2154 # `stage` is made by stage.sh, `programs` by system.sh

# What the organization says of itself: where it is, a key, ids.
declare -A aws=()

# Installs what the emulators need and builds the organization, as debug.
organization_needs() {
    local places
    places="$(scripts/aws.sh)"
    python="$(sed -n 's/^APONO_TEST_MOTO=\(.*\)\/moto_server$/\1\/python/p' <<<"$places")"
    rds_port="$(free_port)"
    build "a small organization" cargo build --locked --example organization
}

# Starts it, and lets everything started afterwards reach it. It ends with its input.
start_organization() {
    mkfifo "$stage/organization.in"
    "$programs/examples/organization" <"$stage/organization.in" >"$stage/organization.env" 2>"$stage/organization.log" &
    running[organization]=$!
    exec 5>"$stage/organization.in"
    until_true 20 "the organization answers" grep -q '^END' "$stage/organization.env"
    local name value
    while IFS='=' read -r name value; do
        aws[$name]="$value"
        case "$name" in AWS_*) export "$name=$value" ;; esac
    done <"$stage/organization.env"
    # For boto3, which reads no other name.
    export AWS_EC2_METADATA_DISABLED=true "AWS_DEFAULT_REGION=${aws[AWS_REGION]}"
}

# The word of AWS itself. `ask_aws SERVICE OPERATION NAME=VALUE…`
ask_aws() { "$python" scripts/ask-aws.py "$@"; }

# assigned ACCOUNT SET TYPE ID: 1 if somebody has a permission set in an account, 0 if not.
assigned() {
    ask_aws sso-admin list_account_assignments "InstanceArn=${aws[INSTANCE_ARN]}" "AccountId=$1" "PermissionSetArn=$2" |
        "$python" -c 'import json, sys
who = sys.argv[1:]
rows = json.load(sys.stdin)["AccountAssignments"]
print(sum([row["PrincipalType"], row["PrincipalId"]] == who for row in rows))' "$3" "$4"
}

# in_rds COMMAND…: about the server that plays the one in RDS.
in_rds() {
    # shellcheck disable=SC2034 # read by what is called
    local server=rds port="$rds_port"
    "$@"
}
