-- Who may do what on databases by their access lists; without one, what PostgreSQL gives by itself. $1 last oid seen, $2 page size,
-- $3 last holder seen.
SELECT d.oid,
       a.holder,
       CASE WHEN a.holder <> 0 THEN pg_catalog.textsend(coalesce(h.rolname::text, 'role ' || a.holder::text)) END,
       a.privileges,
       a.may_pass_on,
       pg_catalog.textsend(d.datname::text)
FROM pg_catalog.pg_database d
CROSS JOIN LATERAL (
  SELECT x.grantee AS holder,
         pg_catalog.array_agg(DISTINCT x.privilege_type) AS privileges,
         pg_catalog.array_agg(DISTINCT x.privilege_type) FILTER (WHERE x.is_grantable) AS may_pass_on
  FROM pg_catalog.aclexplode(coalesce(d.datacl, pg_catalog.acldefault('d', d.datdba))) x
  GROUP BY x.grantee
) a
LEFT JOIN pg_catalog.pg_roles h ON h.oid = a.holder
WHERE d.oid >= $1 AND (d.oid > $1 OR a.holder > $3)
  AND NOT d.datistemplate
  AND d.datname NOT IN ('rdsadmin', 'cloudsqladmin', 'azure_maintenance')
  AND a.holder <> d.datdba
  -- Ours: the name alone could be anybody's.
  AND NOT coalesce(h.rolname OPERATOR(pg_catalog.~) '_apono$'
    AND pg_catalog.shobj_description(h.oid, 'pg_authid') OPERATOR(pg_catalog.~) '^apono v', false)
ORDER BY d.oid, a.holder
LIMIT $2
