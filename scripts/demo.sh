#!/usr/bin/env bash
# The story: access is ordered, appears, is used, extended, overlaps, is revoked, and ends on time while the control plane is
# dead. Every check asks the database server itself. Everything happens in a temporary folder that is removed at the end.
set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/machine.sh
. scripts/stage.sh
. scripts/system.sh
. scripts/organization.sh

steps_total="$(cat "scripts/${0##*/}" scripts/demo-aws.sh scripts/demo-rds.sh | grep -c '^step "')"
steps_begun=0
steps_ok=0

# step "SENTENCE": the step before this one is over, and is counted.
step() {
    [ "$steps_begun" -eq 0 ] || steps_ok=$((steps_ok + 1))
    steps_begun=$((steps_begun + 1))
    headline "$steps_begun. $1"
}
before_leaving() { end_server; in_rds end_server; }
last_words() {
    local status="$1"
    if [ "$status" -eq 0 ]; then steps_ok=$((steps_ok + 1)); fi
    printf '\ndemo: %d of %d steps ok\n' "$steps_ok" "$steps_total"
    if [ "$status" -eq 0 ] && [ "$steps_ok" -ne "$steps_total" ]; then status=1; fi
    return "$status"
}

system_needs debug
organization_needs
began="$(now)"

# A person at psql, with the credential she unsealed. `as PERSON DATABASE SQL`; the person's credential is in a file.
as() {
    (
        set -a
        # shellcheck source=/dev/null
        . "$stage/$1.env"
        PGDATABASE="$2" PGAPPNAME=psql exec "$psql" -XqAt -v ON_ERROR_STOP=1 -v VERBOSITY=sqlstate -c "$3"
    )
}
refused() {
    local said
    if said="$(as "$2" "$3" "$4" 2>&1)"; then return 1; fi
    [[ "$said" == *"$1"* ]]
}
login_refused() { ! as "$1" app 'SELECT 1' >/dev/null 2>&1; }

# grant_to PERSON ARGUMENTS…: orders access, keeps the credential in the person's file and the id in `grant_id`.
grant_to() {
    local person="$1"
    shift
    plane grant --integration shop --to "$person@example.com" "$@" --wait 10s --format env >"$stage/answer"
    grant_id="$(sed -n "s/^\(export \)\?APONO_GRANT='\?\([^']*\)'\?\$/\2/p" "$stage/answer")"
    if grep -q PGPASSWORD "$stage/answer"; then mv "$stage/answer" "$stage/$person.env"; fi
    [ -n "$grant_id" ]
}

# What the catalogs say: levels of the access roles a login is a member of.
members_of_ours="FROM pg_auth_members m JOIN pg_roles r ON r.oid = m.roleid JOIN pg_roles u ON u.oid = m.member
    WHERE r.rolname ~ '^a_[0-9a-f]{16}_apono\$' AND u.rolname <> 'apono_admin'"
memberships() { ask postgres "SELECT count(*) $members_of_ours AND u.rolname = '$1'"; }
sessions() { ask postgres "SELECT count(*) FROM pg_stat_activity WHERE usename = '$1'"; }
expiry_of() { ask postgres "SELECT coalesce(extract(epoch FROM rolvaliduntil), 0) FROM pg_roles WHERE rolname = '$1'"; }
time_of() { date -u -d "@$1" +%H:%M:%S; }

step "A private database server, a control plane and a connector start"
start_server "log_statement = 'all'"
prepare_server
as_superuser app <<SQL
CREATE DATABASE billing OWNER app_owner;
SET ROLE app_owner;
CREATE SCHEMA sales;
CREATE TABLE sales.orders (id int PRIMARY KEY, customer text NOT NULL);
CREATE TABLE sales.invoices (id int PRIMARY KEY, amount numeric NOT NULL);
INSERT INTO sales.orders SELECT n, 'customer ' || n FROM generate_series(1, 100) n;
RESET ROLE;
\connect billing
SET ROLE app_owner;
CREATE SCHEMA ledger;
CREATE TABLE ledger.accounts (id int PRIMARY KEY);
SQL
start_plane
start_connector
equal "PostgreSQL $(ask postgres 'SHOW server_version') answers on port $port, TLS on" on "$(ask postgres 'SHOW ssl')"
equal "the connector's role is no superuser" f "$(ask postgres "SELECT bool_or(rolsuper) FROM pg_roles WHERE rolname LIKE 'apono%'")"

step "The server is registered as integration \`shop\`"
register shop | show
connector_is_in() { [ "$(sessions apono_connector)" -gt 0 ] || [ -n "$(ask app "SELECT 1 FROM pg_namespace WHERE nspname = 'apono'")" ]; }
until_true 15 "the connector finds the server" connector_is_in
ok "the connector has logged in to the server"

step "The inventory arrives"
inventory_is_complete() { plane inventory shop --tree >"$stage/tree" 2>/dev/null && grep -q accounts "$stage/tree" && grep -q invoices "$stage/tree"; }
until_true 15 "the inventory" inventory_is_complete
show <"$stage/tree"
for table in $(ask app "SELECT relname FROM pg_class WHERE relkind = 'r' AND relnamespace = 'sales'::regnamespace ORDER BY 1"); do
    check "table \`$table\` of the catalog is in the tree" grep -qw "$table" "$stage/tree"
done

step "alice gets READ_ONLY on schema \`sales\` for 20 s"
grant_to alice --type postgresql-schema --path app --path sales --permission READ_ONLY --for 20s || wrong "no credential came"
first_grant="$grant_id"
equal "she logs in with psql and the credential only she could unseal" alice_apono "$(as alice app 'SELECT session_user')"
equal "she reads 100 orders" 100 "$(as alice app 'SELECT count(*) FROM sales.orders')"
check "a write is refused by the server (42501)" refused 42501 alice app "INSERT INTO sales.orders VALUES (101, 'x')"
equal "the catalogs hold one membership for her" 1 "$(memberships alice_apono)"
equal "and her login carries no privilege of its own" 0 "$(ask app "SELECT count(*) FROM pg_class c, aclexplode(c.relacl) x JOIN pg_roles r ON r.oid = x.grantee WHERE r.rolname = 'alice_apono'")"

step "A table made after the grant is readable too"
ask app "SET ROLE app_owner; CREATE TABLE sales.refunds (id int); INSERT INTO sales.refunds VALUES (1)"
equal "she reads the new table" 1 "$(as alice app 'SELECT count(*) FROM sales.refunds')"

step "A second, overlapping grant: READ_WRITE, with a session left open"
grant_to alice --type postgresql-schema --path app --path sales --permission READ_WRITE --for 60s || wrong "the grant did not come"
second_grant="$grant_id"
as alice app "INSERT INTO sales.orders VALUES (101, 'by alice')"
equal "the row she wrote is there" 'by alice' "$(ask app 'SELECT customer FROM sales.orders WHERE id = 101')"
equal "the catalogs hold two memberships" 2 "$(memberships alice_apono)"
writer="$(ask app "SELECT r.rolname $members_of_ours AND u.rolname = 'alice_apono' AND has_table_privilege(r.oid, 'sales.orders', 'INSERT')")"
# Up to PostgreSQL 15 a member may act as the shared role itself; from 16 on the server refuses it.
role_changed=''
[ "$(ask postgres 'SHOW server_version_num')" -ge 160000 ] || role_changed=' and a changed role'
mkfifo "$stage/keyboard"
(
    set -a
    # shellcheck source=/dev/null
    . "$stage/alice.env"
    PGDATABASE=app PGAPPNAME=left-open exec "$psql" -Xq <"$stage/keyboard" >"$stage/open-session.log" 2>&1
) &
running[open-session]=$!
exec 4>"$stage/keyboard"
printf 'SET ROLE "%s";\nBEGIN;\nDECLARE rows CURSOR FOR SELECT * FROM sales.orders;\nFETCH 1 FROM rows;\n' "$writer" >&4
left_open() { answers "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'left-open' AND state = 'idle in transaction'" 1; }
until_true 5 "her session is open" left_open
ok "a session of hers sits in a transaction, with an open cursor$role_changed"

step "The READ_WRITE grant is revoked; reading stays"
plane revoke "$second_grant" --wait 10s | show
equal "the session left open is gone" 0 "$(ask postgres "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'left-open'")"
exec 4>&-
wait "${running[open-session]}" 2>/dev/null || true
unset 'running[open-session]'
check "writing is refused again (42501)" refused 42501 alice app "INSERT INTO sales.orders VALUES (102, 'x')"
equal "reading still works" 101 "$(as alice app 'SELECT count(*) FROM sales.orders')"
equal "one membership is left" 1 "$(memberships alice_apono)"

step "The READ_ONLY grant is extended"
before="$(expiry_of alice_apono)"
plane extend "$first_grant" --for 24s --wait 10s | show
expiry="$(expiry_of alice_apono)"
check "the login's expiry on the server moved from $(time_of "$before") to $(time_of "$expiry")" holds "$expiry > $before + 1"

step "bob gets ADMIN on database \`billing\`, and nothing on \`app\`"
grant_to bob --type postgresql-database --path billing --permission ADMIN --for 120s || wrong "no credential came"
bobs_grant="$grant_id"
as bob billing 'CREATE TABLE ledger.drafts (id int); INSERT INTO ledger.accounts VALUES (1)'
equal "he creates a table of his own and writes in \`billing\`" bob_apono "$(ask billing "SELECT tableowner FROM pg_tables WHERE tablename = 'drafts'")"
check "reading in \`app\` is refused (42501)" refused 42501 bob app 'SELECT * FROM sales.orders'

step "The connector is killed (SIGKILL) and started again"
slay connector
equal "alice still reads while it is dead" 101 "$(as alice app 'SELECT count(*) FROM sales.orders')"
start_connector
plane revoke "$bobs_grant" --wait 15s | show
check "the new process ends a grant of the old one: bob's login is refused" login_refused bob
equal "no membership of his is left" 0 "$(memberships bob_apono)"

step "The control plane is killed while alice has a session open"
(
    set -a
    # shellcheck source=/dev/null
    . "$stage/alice.env"
    PGDATABASE=app PGAPPNAME=working exec "$psql" -XqAt -c 'SELECT count(*) FROM sales.orders' -c 'SELECT pg_sleep(300)' >"$stage/working.log" 2>&1
) &
running[working]=$!
working() { answers "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'working' AND wait_event = 'PgSleep'" "$1"; }
until_true 5 "her session is open" working 1
slay control-plane
check "nothing answers on the control plane's port" plane_is_dead
ok "it is $(time_of "$(now)"); her access ends at $(time_of "$expiry")"

step "At the expiry her access ends, with the control plane still dead"
wait_until "$(calc "$expiry - 0.6")" "her access runs out at $(time_of "$expiry")"
check "shortly before, her session is alive" working 1
until_true 10 "her session ends" working 0
session_gone="$(now)"
until_true 10 "her login is refused" login_refused alice
login_gone="$(now)"
session_late="$(calc "$session_gone - $expiry")" login_late="$(calc "$login_gone - $expiry")"
check "her session ended $session_late s after the expiry, and not before it" holds "$session_late > 0 && $session_late < 1"
check "her login was refused $login_late s after the expiry" holds "$login_late < 1"
wait "${running[working]}" 2>/dev/null || true
unset 'running[working]'
check "nothing answers on the control plane's port" plane_is_dead

step "The control plane comes back and learns of the end"
start_plane
ended_by_expiry() { plane grants --all >"$stage/grants" 2>/dev/null && grep "$first_grant" "$stage/grants" | grep -q expired; }
until_true 40 "the connector reports" ended_by_expiry
grep "$first_grant" "$stage/grants" | show
ended="$(grep "$first_grant" "$stage/grants" | grep -oE "$(date -u -d "@${expiry%.*}" +%Y-%m-%d)T[0-9:.]+Z" | tail -n 1)"
check "the end has its true time, $ended" holds "$(date -u -d "$ended" +%s.%N) - $expiry < 1 && $(date -u -d "$ended" +%s.%N) - $expiry > -0.1"

step "Who had what, when, and what is left"
show <"$stage/grants"
equal "the catalogs hold no membership of ours" 0 "$(ask postgres "SELECT count(*) $members_of_ours")"
equal "no login of ours can log in" 0 "$(ask postgres "SELECT count(*) FROM pg_roles WHERE rolname ~ '^(alice|bob)_apono\$' AND rolcanlogin")"
equal "no session of theirs is left" 0 "$(ask postgres "SELECT count(*) FROM pg_stat_activity WHERE usename IN ('alice_apono', 'bob_apono')")"
passwords="$(sed -n "s/^\(export \)\?PGPASSWORD='\?\([^']*\)'\?\$/\2/p" "$stage"/alice.env "$stage"/bob.env)"
no_password_found() { [ -n "$passwords" ] && ! grep -raqF "$passwords" "$stage/server/log" "$stage/state" "$stage"/*.log "$stage"/plane.sqlite*; }
check "no password stands in any log, in the ledger or in the control plane's store" no_password_found
. scripts/demo-aws.sh
. scripts/demo-rds.sh

printf '\nthe story took %.0f s\n' "$(calc "$(now) - $began")"
