-- Schemas people work in. $1 last oid seen, $2 page size.
SELECT n.oid,
       pg_catalog.textsend(n.nspname::text),
       pg_catalog.textsend(o.rolname::text),
       pg_catalog.substring(pg_catalog.textsend(pg_catalog.obj_description(n.oid, 'pg_namespace')), 1, 4000)
FROM pg_catalog.pg_namespace n
LEFT JOIN pg_catalog.pg_roles o ON o.oid = n.nspowner
WHERE n.oid > $1
  AND n.nspname OPERATOR(pg_catalog.!~) '^pg_'
  AND n.nspname NOT IN ('information_schema', 'apono')
ORDER BY n.oid
LIMIT $2
