-- Databases people work in, with what we need to say why one cannot be entered. $1 last oid seen, $2 page size.
SELECT d.oid,
       pg_catalog.textsend(d.datname::text),
       pg_catalog.textsend(o.rolname::text),
       -- Comments have no limit of their own; the rest is cut away before it travels.
       pg_catalog.substring(pg_catalog.textsend(pg_catalog.shobj_description(d.oid, 'pg_database')), 1, 4000),
       d.datallowconn,
       pg_catalog.has_database_privilege(d.oid, 'CONNECT')
FROM pg_catalog.pg_database d
LEFT JOIN pg_catalog.pg_roles o ON o.oid = d.datdba
WHERE d.oid > $1
  AND NOT d.datistemplate
  -- The providers' own.
  AND d.datname NOT IN ('rdsadmin', 'cloudsqladmin', 'azure_maintenance')
ORDER BY d.oid
LIMIT $2
