-- What a start and an end do to a person who is new, in the messages the connector sends; without what it reads to plan and to verify.
\set n random(1, 1000000000000)
BEGIN READ WRITE\; SET LOCAL lock_timeout = '2s'\;
INSERT INTO apono.login (name, connector, principal) VALUES ('apono_b:n', 'bench', 'b:n@example.com') ON CONFLICT DO NOTHING\;
WITH held AS (SELECT version FROM apono.login WHERE name = 'apono_b:n' AND connector = 'bench' AND principal = 'b:n@example.com' FOR UPDATE)
SELECT pg_catalog.int2(CASE WHEN (SELECT version FROM held) = 0 THEN 1 ELSE 70000 END)\;
WITH held AS (SELECT name FROM apono.access_role WHERE name = ':access' AND complete_at IS NOT NULL FOR KEY SHARE)
SELECT pg_catalog.int2(CASE WHEN (SELECT pg_catalog.count(*) FROM held) = 1 THEN 1 ELSE 70000 END)\;
CREATE ROLE "apono_b:n" LOGIN PASSWORD ':verifier' CONNECTION LIMIT 10 VALID UNTIL '2099-01-01T00:00:00Z'\;
COMMENT ON ROLE "apono_b:n" IS 'apono v1 connector=bench kind=login key=0123456789abcdef'\;
GRANT ":access" TO "apono_b:n"\;
INSERT INTO apono."grant" (id, connector, integration, login, access_role, principal, kind, path, level, expiry, lease_deadline, attempt, started_at)
VALUES (pg_catalog.lpad(pg_catalog.to_hex(:n::bigint), 32, '0')::uuid, 'bench', '00000000-0000-7000-8000-000000000000'::uuid, 'apono_b:n', ':access',
'b:n@example.com', 'postgresql-schema', ARRAY['bench', 'public']::text[], 'READ_ONLY', '2099-01-01T00:00:00Z'::timestamptz,
'2099-01-01T00:00:00Z'::timestamptz, 1, pg_catalog.clock_timestamp())\;
UPDATE apono.login SET version = version + 1, blocked_at = NULL, leftovers = '{}',
password_grant = pg_catalog.lpad(pg_catalog.to_hex(:n::bigint), 32, '0')::uuid, password_attempt = 1 WHERE name = 'apono_b:n'\;
SELECT 'started', started_at FROM apono."grant" WHERE id = pg_catalog.lpad(pg_catalog.to_hex(:n::bigint), 32, '0')::uuid\;
SELECT 1/(pg_catalog.clock_timestamp() < '2099-01-01T00:00:00Z'::timestamptz)::int\; COMMIT;

BEGIN READ WRITE\; SET LOCAL lock_timeout = '2s'\;
SELECT 'locked', name FROM apono.login WHERE name = 'apono_b:n' FOR UPDATE\;
SELECT * FROM apono."grant" WHERE id = pg_catalog.lpad(pg_catalog.to_hex(:n::bigint), 32, '0')::uuid;
UPDATE apono."grant" SET ended_at = pg_catalog.clock_timestamp(), reason = 'revoked'
WHERE id = pg_catalog.lpad(pg_catalog.to_hex(:n::bigint), 32, '0')::uuid AND ended_at IS NULL\;
REVOKE ":access" FROM "apono_b:n"\;
UPDATE apono.login SET version = version + 1 WHERE name = 'apono_b:n'\; COMMIT;

BEGIN READ WRITE\; SET LOCAL lock_timeout = '200ms'\;
SELECT 'locked', name FROM apono.login WHERE name = 'apono_b:n' FOR UPDATE\;
SELECT pg_catalog.count(*) FROM apono."grant" WHERE login = 'apono_b:n' AND ended_at IS NULL;
ALTER ROLE "apono_b:n" NOLOGIN PASSWORD NULL VALID UNTIL '-infinity'\;
UPDATE apono.login SET version = version + 1, blocked_at = pg_catalog.clock_timestamp(), password_grant = NULL, password_attempt = NULL
WHERE name = 'apono_b:n'\; COMMIT;
UPDATE apono."grant" SET closed_at = pg_catalog.clock_timestamp()
WHERE id = pg_catalog.lpad(pg_catalog.to_hex(:n::bigint), 32, '0')::uuid AND ended_at IS NOT NULL AND closed_at IS NULL;
