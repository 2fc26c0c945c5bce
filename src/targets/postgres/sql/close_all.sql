-- Closes everything that connector `{connector}` made on this server. For a copy that no connector manages: a restored backup, a clone,
-- a replica that was promoted beside its primary. Run it with psql in any database of the copy, as the connector's admin role
-- (SET ROLE apono_admin;) or as a superuser. It may run again. The last statement lists what is left: no row means that all is closed.
SET search_path = pg_catalog, pg_temp;
SET lock_timeout = '1s';
SET default_transaction_read_only = off;

-- The doors: nothing a person can hold stands in the way of a REVOKE.
DO $apono$
DECLARE
    m record;
BEGIN
    FOR m IN
        SELECT r.rolname AS role, l.rolname AS login, x.grantor::regrole AS grantor
        FROM pg_catalog.pg_auth_members x
        JOIN pg_catalog.pg_roles r ON r.oid = x.roleid
        JOIN pg_catalog.pg_roles l ON l.oid = x.member
        WHERE {ours}
    LOOP
        BEGIN
            IF pg_catalog.current_setting('server_version_num')::int >= 160000 THEN
                EXECUTE pg_catalog.format('REVOKE %I FROM %I GRANTED BY %s', m.role, m.login, m.grantor);
            ELSE
                EXECUTE pg_catalog.format('REVOKE %I FROM %I', m.role, m.login);
            END IF;
        EXCEPTION WHEN insufficient_privilege THEN
            RAISE WARNING 'only a superuser can take % from %', m.role, m.login;
        END;
    END LOOP;
END
$apono$;

-- The logins, then their sessions. Each is a transaction of its own, and both come twice: a session can hold a lock on its own role.
DO $apono$
DECLARE
    login record;
BEGIN
    FOR login IN SELECT l.oid, l.rolname FROM pg_catalog.pg_roles l WHERE {ours}
    LOOP
        BEGIN
            EXECUTE pg_catalog.format('ALTER ROLE %I NOLOGIN PASSWORD NULL VALID UNTIL %L', login.rolname, '-infinity');
        EXCEPTION WHEN lock_not_available OR internal_error THEN
            RAISE NOTICE '% is locked, its sessions go first', login.rolname;
        END;
    END LOOP;
END
$apono$;
DO $apono$
DECLARE
    login record;
    superuser boolean := (SELECT rolsuper FROM pg_catalog.pg_roles WHERE rolname = current_user);
    inheriting text := CASE WHEN pg_catalog.current_setting('server_version_num')::int >= 160000
        THEN ' WITH INHERIT TRUE, SET FALSE' ELSE '' END;
BEGIN
    FOR login IN SELECT l.oid, l.rolname FROM pg_catalog.pg_roles l WHERE {ours}
    LOOP
        BEGIN
            -- Enough right to end sessions, given back at once.
            IF NOT superuser THEN EXECUTE pg_catalog.format('GRANT %I TO CURRENT_USER', login.rolname) || inheriting; END IF;
            PERFORM pg_catalog.pg_terminate_backend(a.pid) FROM pg_catalog.pg_stat_activity a WHERE a.usesysid = login.oid;
            IF NOT superuser THEN EXECUTE pg_catalog.format('REVOKE %I FROM CURRENT_USER', login.rolname); END IF;
        EXCEPTION WHEN insufficient_privilege OR lock_not_available OR internal_error THEN
            RAISE WARNING 'the sessions of % could not be ended', login.rolname;
        END;
    END LOOP;
    PERFORM pg_catalog.pg_sleep(0.3);
END
$apono$;
{again}
SELECT 'can log in: ' || l.rolname AS "left" FROM pg_catalog.pg_roles l
WHERE l.rolcanlogin AND {ours}
UNION ALL
SELECT 'is a member of ' || r.rolname || ': ' || l.rolname FROM pg_catalog.pg_auth_members x
JOIN pg_catalog.pg_roles r ON r.oid = x.roleid JOIN pg_catalog.pg_roles l ON l.oid = x.member
WHERE {ours}
UNION ALL
SELECT 'has a session: ' || l.rolname FROM pg_catalog.pg_stat_activity a JOIN pg_catalog.pg_roles l ON l.oid = a.usesysid
WHERE {ours};
