# The story's third part: a database in RDS that asks by its tags to be managed, and is entered by tokens of AWS IAM instead of
# passwords. The server checks the tokens; the tool for people makes its own. Sourced by demo.sh, never run.
# shellcheck shell=bash
# shellcheck disable=SC2154 # `stage` and the rest come from demo.sh

# enter_rds PERSON SQL: with a token made for PERSON just now.
enter_rds() {
    local token
    token="$("$python" scripts/ask-aws.py token "${aws[RDS_HOST]}" "$1_apono")"
    PGPASSWORD="$token" "$psql" -XqAt -v ON_ERROR_STOP=1 "host=127.0.0.1 port=$rds_port dbname=orders user=$1_apono sslmode=require" -c "$2" 2>"$stage/refusal"
}
rds_refuses() { ! enter_rds "$1" 'SELECT 1' >/dev/null && grep -qE 'authentication failed|not permitted to log in' "$stage/refusal"; }

step "A database in RDS asks by its tags to be managed"
in_rds start_server "" "hostssl all +rds_iam 127.0.0.1/32 ldap ldapserver=127.0.0.1 ldapport=${aws[TOKEN_PORT]} ldapprefix=\"uid=\"" "${aws[RDS_HOST]}"
in_rds as_superuser postgres <<SQL
CREATE ROLE rds_iam NOLOGIN;
CREATE ROLE app_owner NOLOGIN;
CREATE ROLE apono_admin NOLOGIN CREATEROLE;
CREATE ROLE apono_connector LOGIN IN ROLE rds_iam, apono_admin;
GRANT app_owner TO apono_admin;
GRANT rds_iam TO apono_admin WITH ADMIN OPTION;
CREATE DATABASE orders OWNER app_owner;
\\connect orders
SET ROLE app_owner;
CREATE TABLE public.parcels (id int PRIMARY KEY);
INSERT INTO public.parcels SELECT generate_series(1, 12);
SQL
cp "$stage/rds/data/server.crt" "$stage/rds-ca.pem"
# The address in RDS leads nowhere from here; the server is named besides.
plane integration add --connector here --name account --type aws-account --setting "region=${aws[AWS_REGION]}" \
    --setting database.username=apono_connector --setting database.admin_role=apono_admin \
    --setting database.address=127.0.0.1 --setting "database.port=$rds_port" --setting "database.ssl_root_ca=$stage/rds-ca.pem" | show
found() { plane integration discovered account >"$stage/found" 2>/dev/null && grep -q orders "$stage/found"; }
until_true 30 "the database is found" found
show <"$stage/found"
plane integration add-discovered account orders | show
plane integration check orders --wait 30s | show
ok "the connector has entered it by a token, with no password anywhere"

step "alice gets READ_ONLY on it for 15 s, and enters by a token of her own"
plane grant --integration orders --to alice@example.com --type postgresql-database --path orders --permission READ_ONLY --for 15s --wait 20s | show
expiry="$(in_rds ask postgres "SELECT extract(epoch FROM rolvaliduntil) FROM pg_roles WHERE rolname = 'alice_apono'")"
equal "she reads 12 parcels" 12 "$(enter_rds alice 'SELECT count(*) FROM parcels')"
equal "her login has no password" t "$(in_rds ask postgres "SELECT rolpassword IS NULL FROM pg_authid WHERE rolname = 'alice_apono'")"
check "a token for a user nobody made lets nobody in" rds_refuses bob

step "It runs out, and no token lets her in"
wait_until "$expiry" "her access runs out at $(time_of "$expiry")"
until_true 10 "her login is refused" rds_refuses alice
ok "a token made after that is refused"
