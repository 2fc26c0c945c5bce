-- Who may do what on whatever holds rows by its access list, but for its owner. $1 last oid seen, $2 page size, $3 last holder seen.
SELECT c.oid,
       a.holder,
       CASE WHEN a.holder <> 0 THEN pg_catalog.textsend(coalesce(h.rolname::text, 'role ' || a.holder::text)) END,
       a.privileges,
       a.may_pass_on,
       pg_catalog.textsend(c.relname::text),
       pg_catalog.textsend(n.nspname::text)
FROM pg_catalog.pg_class c
JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
CROSS JOIN LATERAL (
  SELECT x.grantee AS holder,
         pg_catalog.array_agg(DISTINCT x.privilege_type) AS privileges,
         pg_catalog.array_agg(DISTINCT x.privilege_type) FILTER (WHERE x.is_grantable) AS may_pass_on
  FROM pg_catalog.aclexplode(c.relacl) x
  GROUP BY x.grantee
) a
LEFT JOIN pg_catalog.pg_roles h ON h.oid = a.holder
WHERE c.oid >= $1 AND (c.oid > $1 OR a.holder > $3)
  AND c.relacl IS NOT NULL
  AND c.relkind IN ('r', 'p', 'v', 'm', 'f')
  AND n.nspname OPERATOR(pg_catalog.!~) '^pg_'
  AND n.nspname NOT IN ('information_schema', 'apono')
  AND a.holder <> c.relowner
  AND NOT coalesce(h.rolname OPERATOR(pg_catalog.~) '_apono$'
    AND pg_catalog.shobj_description(h.oid, 'pg_authid') OPERATOR(pg_catalog.~) '^apono v', false)
ORDER BY c.oid, a.holder
LIMIT $2
