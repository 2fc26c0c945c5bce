-- Who has what, who had what, and since when. Run in the home database as the connector's admin role or as a superuser.
SELECT g.principal, g.login, g.level, g.kind, array_to_string(g.path, '.') AS resource,
       CASE WHEN g.ended_at IS NULL AND g.expiry > clock_timestamp() THEN 'live'
            WHEN g.ended_at IS NULL THEN 'overdue'
            WHEN g.closed_at IS NULL THEN 'ending'
            WHEN g.clean_at IS NULL THEN 'closed'
            ELSE 'closed and clean' END AS state,
       g.started_at, g.expiry, g.ended_at, g.reason,
       (SELECT count(*) FROM pg_stat_activity a WHERE a.usename = g.login) AS sessions,
       coalesce(l.leftovers, '{}') AS leftovers,
       g.connector, g.integration, g.id
FROM (SELECT * FROM apono."grant"
      UNION ALL
      SELECT id, connector, integration, login, access_role, principal, kind, path, level, expiry, lease_deadline, attempt,
             started_at, ended_at, reason, closed_at, clean_at FROM apono.history) g
LEFT JOIN apono.login l ON l.name = g.login
ORDER BY g.ended_at IS NOT NULL, g.expiry DESC;
