# Owns the whole system on one machine: a private database server, a control plane, a connector. Sourced after machine.sh and
# stage.sh, never run.
# shellcheck shell=bash
# shellcheck disable=SC2154 # `stage` is made by stage.sh

# system_needs PROFILE: installs what is missing and builds; `debug` or `release`.
system_needs() {
    need_rust
    # Another server than the distribution's: name the folder of its programs.
    server_bin="${APONO_PG_BIN:-$(scripts/postgres.sh debian-only | sed -n 's/^APONO_PG_BIN=//p')}"
    need openssl openssl
    psql="$server_bin/psql"
    [ -x "$psql" ] || psql=psql
    local profile=()
    [ "$1" = debug ] || profile=("--$1")
    build "connector and control plane" cargo build --locked --features reference-plane "${profile[@]}"
    programs="${CARGO_TARGET_DIR:-target}/$1"
    port="$(free_port)" plane_port="$(free_port)" health_port="$(free_port)"
    superuser_password="$(password)" connector_password="$(password)"
}

free_port() {
    local port
    while port=$((20000 + RANDOM % 40000)); (exec 3<>"/dev/tcp/127.0.0.1/$port") 2>/dev/null; do :; done
    printf '%s' "$port"
}

password() { head -c 18 /dev/urandom | base64 | tr '+/' '-_'; }

# The server's programs refuse to run as root.
as_postgres() {
    if [ "$(id -u)" -eq 0 ]; then runuser -u postgres -- "$@"; else "$@"; fi
}

# The server that is meant: the name of its folder in the stage. `port` is its port.
server=server

# A private cluster, reached only from this machine. `start_server SETTINGS [FIRST_LINE_OF_HBA [NAME]]`: NAME is one more the
# certificate is for.
start_server() {
    local data="$stage/$server/data" owner
    mkdir "$stage/$server"
    printf '%s' "$superuser_password" >"$stage/$server/superuser"
    chmod 600 "$stage/$server/superuser"
    owner="$(as_postgres id -un)"
    [ "$(id -u)" -ne 0 ] || chown -R "$owner" "$stage/$server"
    (
        cd "$stage/$server" || exit
        as_postgres "$server_bin/initdb" -D "$data" -U postgres --pwfile="$stage/$server/superuser" \
            -A scram-sha-256 --no-sync -E UTF8 --locale=C.UTF-8 >/dev/null
        as_postgres openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=localhost \
            -addext "subjectAltName=DNS:localhost${3:+,DNS:$3}" -keyout "$data/server.key" -out "$data/server.crt" 2>/dev/null
        [ -z "${2-}" ] || as_postgres sed -i "1i $2" "$data/pg_hba.conf"
        as_postgres tee -a "$data/postgresql.conf" >/dev/null <<CONF
listen_addresses = '127.0.0.1'
port = $port
unix_socket_directories = ''
ssl = on
logging_collector = off
$1
CONF
        as_postgres "$server_bin/pg_ctl" -D "$data" -l "$stage/$server/log" -s -w start
    )
}

end_server() {
    [ -e "$stage/$server/data/postmaster.pid" ] || return 0
    (cd "$stage/$server" && as_postgres "$server_bin/pg_ctl" -D "$stage/$server/data" -s -w -m immediate stop) || true
}

# The server's own word: one value, as superuser. `ask DATABASE SQL`
ask() { as_superuser "$1" -At -c "$2"; }
answers() { [ "$(ask postgres "$1")" = "$2" ]; }
as_superuser() {
    local database="$1"
    shift
    PGPASSWORD="$superuser_password" "$psql" -Xq -v ON_ERROR_STOP=1 -h 127.0.0.1 -p "$port" -U postgres -d "$database" "$@"
}

# What a database administrator does once: a role that makes our roles, and the connector's own user.
prepare_server() {
    as_superuser postgres <<SQL
CREATE ROLE app_owner NOLOGIN;
CREATE ROLE apono_admin NOLOGIN CREATEROLE;
CREATE ROLE apono_connector LOGIN PASSWORD '$connector_password';
GRANT apono_admin TO apono_connector;
GRANT app_owner TO apono_admin;
CREATE DATABASE app OWNER app_owner;
SQL
    (umask 077 && printf '{"username": "apono_connector", "password": "%s"}\n' "$connector_password" >"$stage/secret.json")
}

plane() {
    "$programs/apono-control-plane" "$@" --url "http://127.0.0.1:$plane_port" --admin-token-file "$stage/admin.token"
}
start_plane() {
    launch control-plane "$programs/apono-control-plane" serve --listen "127.0.0.1:$plane_port" --store "$stage/plane.sqlite" \
        --connector-token-file "$stage/connector.token" --admin-token-file "$stage/admin.token"
    until_true 10 "the control plane listens" plane_listens
}
plane_listens() { (exec 3<>"/dev/tcp/127.0.0.1/$plane_port") 2>/dev/null; }
plane_is_dead() { ! plane_listens; }

start_connector() {
    [ -d "$stage/state" ] || (umask 077 && mkdir "$stage/state")
    printf 'listen = "127.0.0.1:%s"\n' "$health_port" >"$stage/connector.toml"
    launch connector connector
}
connector() {
    export APONO_URL="http://127.0.0.1:$plane_port" APONO_CONNECTOR_ID=here APONO_TOKEN
    export APONO_STATE_DIR="$stage/state" APONO_CONFIG="$stage/connector.toml"
    APONO_TOKEN="$(cat "$stage/connector.token")"
    exec "$programs/apono-connector" run
}

# register NAME: the server as an integration.
register() {
    plane integration add --connector here --name "$1" --type postgresql --setting hostname=127.0.0.1 --setting "port=$port" \
        --setting dbname=app --setting sslmode=require --secret "file:$stage/secret.json"
}
