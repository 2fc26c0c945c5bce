-- Everything in those schemas that holds rows. $1 last oid seen, $2 page size.
SELECT c.oid,
       pg_catalog.textsend(c.relname::text),
       pg_catalog.textsend(o.rolname::text),
       pg_catalog.substring(pg_catalog.textsend(pg_catalog.obj_description(c.oid, 'pg_class')), 1, 4000),
       pg_catalog.textsend(n.nspname::text),
       c.relkind::text
FROM pg_catalog.pg_class c
JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
LEFT JOIN pg_catalog.pg_roles o ON o.oid = c.relowner
WHERE c.oid > $1
  AND c.relkind IN ('r', 'p', 'v', 'm', 'f')
  AND n.nspname OPERATOR(pg_catalog.!~) '^pg_'
  AND n.nspname NOT IN ('information_schema', 'apono')
ORDER BY c.oid
LIMIT $2
