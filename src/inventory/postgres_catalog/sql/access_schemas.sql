-- Who may do what on schemas by their access lists, but for their owners. $1 last oid seen, $2 page size, $3 last holder seen.
SELECT n.oid,
       a.holder,
       CASE WHEN a.holder <> 0 THEN pg_catalog.textsend(coalesce(h.rolname::text, 'role ' || a.holder::text)) END,
       a.privileges,
       a.may_pass_on,
       pg_catalog.textsend(n.nspname::text)
FROM pg_catalog.pg_namespace n
CROSS JOIN LATERAL (
  SELECT x.grantee AS holder,
         pg_catalog.array_agg(DISTINCT x.privilege_type) AS privileges,
         pg_catalog.array_agg(DISTINCT x.privilege_type) FILTER (WHERE x.is_grantable) AS may_pass_on
  FROM pg_catalog.aclexplode(n.nspacl) x
  GROUP BY x.grantee
) a
LEFT JOIN pg_catalog.pg_roles h ON h.oid = a.holder
WHERE n.oid >= $1 AND (n.oid > $1 OR a.holder > $3)
  AND n.nspacl IS NOT NULL
  AND n.nspname OPERATOR(pg_catalog.!~) '^pg_'
  AND n.nspname NOT IN ('information_schema', 'apono')
  AND a.holder <> n.nspowner
  AND NOT coalesce(h.rolname OPERATOR(pg_catalog.~) '_apono$'
    AND pg_catalog.shobj_description(h.oid, 'pg_authid') OPERATOR(pg_catalog.~) '^apono v', false)
ORDER BY n.oid, a.holder
LIMIT $2
