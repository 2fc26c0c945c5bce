-- Who is a member of which role, but for what is ours. $1 last role seen, $2 page size, $3 last member seen.
SELECT r.oid,
       m.oid,
       pg_catalog.textsend(m.rolname::text),
       CASE WHEN a.of_use THEN ARRAY['MEMBER'] END,
       CASE WHEN a.may_pass_on THEN ARRAY['MEMBER'] END,
       pg_catalog.textsend(r.rolname::text)
FROM (
  SELECT x.roleid, x.member,
         pg_catalog.bool_or(x.admin_option) AS may_pass_on,
         -- Since 16 a membership may be of no use but to give it to others. Several grantors may have given it.
         pg_catalog.bool_or(coalesce((pg_catalog.to_jsonb(x) ->> 'inherit_option')::bool, true)
           OR coalesce((pg_catalog.to_jsonb(x) ->> 'set_option')::bool, true)) AS of_use
  FROM pg_catalog.pg_auth_members x
  WHERE x.roleid >= $1 AND (x.roleid > $1 OR x.member > $3)
  GROUP BY x.roleid, x.member
) a
JOIN pg_catalog.pg_roles r ON r.oid = a.roleid
JOIN pg_catalog.pg_roles m ON m.oid = a.member
WHERE NOT coalesce(r.rolname OPERATOR(pg_catalog.~) '_apono$'
    AND pg_catalog.shobj_description(r.oid, 'pg_authid') OPERATOR(pg_catalog.~) '^apono v', false)
  AND NOT coalesce(m.rolname OPERATOR(pg_catalog.~) '_apono$'
    AND pg_catalog.shobj_description(m.oid, 'pg_authid') OPERATOR(pg_catalog.~) '^apono v', false)
  -- Those of PostgreSQL's own roles in each other.
  AND m.rolname OPERATOR(pg_catalog.!~) '^pg_'
ORDER BY r.oid, m.oid
LIMIT $2
