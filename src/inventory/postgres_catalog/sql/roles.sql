-- Existing roles, with the first thing that forbids lending each one out: its own power, or that of a role it reaches.
-- $1 last oid seen, $2 page size, $3 the role the connector acts as.
SELECT r.oid,
       pg_catalog.textsend(r.rolname::text),
       NULL::bytea,
       pg_catalog.substring(pg_catalog.textsend(pg_catalog.shobj_description(r.oid, 'pg_authid')), 1, 4000),
       b.oid = r.oid,
       pg_catalog.textsend(b.rolname::text),
       b.power,
       -- Before 16, CREATEROLE may give membership of any role that is not a superuser.
       pg_catalog.current_setting('server_version_num')::int < 160000
         OR coalesce(pg_catalog.pg_has_role($3, r.oid, 'MEMBER WITH ADMIN OPTION'), false),
       r.rolcanlogin
FROM pg_catalog.pg_roles r
LEFT JOIN LATERAL (
  WITH RECURSIVE up AS (
    SELECT r.oid
    UNION
    SELECT m.roleid FROM pg_catalog.pg_auth_members m JOIN up ON m.member = up.oid
  )
  SELECT e.oid, e.rolname,
         CASE WHEN e.rolsuper THEN 'is a superuser'
              WHEN e.rolcreaterole THEN 'may create roles'
              WHEN e.rolcreatedb THEN 'may create databases'
              WHEN e.rolreplication THEN 'may replicate the whole server'
              WHEN e.rolbypassrls THEN 'bypasses row security'
              WHEN e.rolname OPERATOR(pg_catalog.~) '^pg_' THEN 'has server-wide power'
              WHEN e.rolname OPERATOR(pg_catalog.~) '_apono$' THEN 'is made and removed by a connector'
              ELSE 'is what the connector itself acts as' END AS power
  FROM up JOIN pg_catalog.pg_roles e ON e.oid = up.oid
  WHERE e.rolsuper OR e.rolcreaterole OR e.rolcreatedb OR e.rolreplication OR e.rolbypassrls
     OR e.rolname OPERATOR(pg_catalog.~) '^pg_' OR e.rolname OPERATOR(pg_catalog.~) '_apono$'
     OR e.oid = $3 OR e.rolname = session_user
  ORDER BY e.oid = r.oid DESC, e.oid
  LIMIT 1
) b ON true
WHERE r.oid > $1
  AND r.rolname OPERATOR(pg_catalog.!~) '^pg_'
  AND r.rolname OPERATOR(pg_catalog.!~) '_apono$'
ORDER BY r.oid
LIMIT $2
