# The story's second part: an organization in AWS, seen, entered and left. Every check asks AWS itself, with a client of its own.
# Sourced by demo.sh, never run.
# shellcheck shell=bash
# shellcheck disable=SC2154 # `stage` and the rest come from demo.sh

step "An AWS organization is there, and the connector gets a key of its management account"
start_organization
slay connector
start_connector
plane integration add --connector here --name cloud --type aws-organization --setting "sso_region=${aws[AWS_REGION]}" \
    --setting sso_portal=https://d-1234567890.awsapps.com/start --setting "management_role_arn=${aws[ROLE_ARN]}" \
    --setting "exclude_ou_ids=${aws[EXCLUDED_UNIT]}" | show
plane integration check cloud --wait 30s | show

step "The inventory of the organization arrives"
organization_is_complete() { plane inventory cloud --tree >"$stage/tree" 2>/dev/null && grep -q warehouse "$stage/tree" && grep -q Operators "$stage/tree"; }
until_true 30 "the inventory" organization_is_complete
show <"$stage/tree"
accounts="$(ask_aws organizations list_accounts | grep -o '"Id": "[0-9]*"' | tr -dc '0-9\n')"
equal "AWS lists four accounts" 4 "$(wc -w <<<"$accounts")"
for account in $accounts; do
    [ "$account" != "${aws[EXCLUDED]}" ] || continue
    check "account \`$account\` is in the tree" grep -qw "$account" "$stage/tree"
done
not_in_tree() { ! grep -qw "$1" "$stage/tree"; }
check "account \`${aws[EXCLUDED]}\`, in an excluded unit, is not" not_in_tree "${aws[EXCLUDED]}"
check "and account \`warehouse\` hangs below Production and Logistics" grep -qE '^    warehouse' "$stage/tree"

step "alice gets permission set \`ReadOnly\` in account \`shop\` for 15 s"
equal "before, AWS lists no assignment of hers" 0 "$(assigned "${aws[SHOP]}" "${aws[READ_ONLY_SET]}" USER "${aws[ALICE]}")"
plane grant --integration cloud --to alice@example.com --type aws-organization-account --path "${aws[SHOP]}" \
    --permission ReadOnly --for 15s --wait 20s | tee "$stage/answer" | show
grant_id="$(grep -oE '[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}' "$stage/answer" | head -n 1)"
equal "AWS lists her assignment" 1 "$(assigned "${aws[SHOP]}" "${aws[READ_ONLY_SET]}" USER "${aws[ALICE]}")"
check "the answer says where to sign in" grep -q 'awsapps.com/start' "$stage/answer"

step "It runs out, and the assignment is gone"
gone() { [ "$(assigned "${aws[SHOP]}" "${aws[READ_ONLY_SET]}" USER "${aws[ALICE]}")" = 0 ]; }
until_true 30 "her assignment ends" gone
ok "AWS lists no assignment of hers"
closed() { plane grants --all >"$stage/grants" 2>/dev/null && grep "$grant_id" "$stage/grants" | grep -q expired; }
until_true 20 "the connector reports" closed
grep "$grant_id" "$stage/grants" | show

step "What stood before a grant still stands after it"
standing() { assigned "${aws[WAREHOUSE]}" "${aws[READ_ONLY_SET]}" GROUP "${aws[OPERATORS]}"; }
equal "the group Operators has \`ReadOnly\` in \`warehouse\` from before" 1 "$(standing)"
plane grant --integration cloud --to group:Operators --type aws-organization-account --path "${aws[WAREHOUSE]}" \
    --permission ReadOnly --for 60s --wait 20s | tee "$stage/answer" | show
grant_id="$(grep -oE '[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}' "$stage/answer" | head -n 1)"
plane revoke "$grant_id" --wait 20s | show
equal "after the grant AWS lists it as before" 1 "$(standing)"
