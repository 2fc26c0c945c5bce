-- Servers this record was compared on, per connector: a fail-over, a restore or a restart makes another one of it.
CREATE TABLE apono.server (
    connector text NOT NULL,
    system_identifier text NOT NULL,             -- empty where it may not be read
    timeline text NOT NULL,                      -- empty where it may not be read
    began text NOT NULL,                         -- when the server process began, UTC
    compared_at timestamptz NOT NULL DEFAULT pg_catalog.clock_timestamp(),
    PRIMARY KEY (connector, system_identifier, timeline, began)
);
REVOKE ALL ON apono.server FROM PUBLIC;
INSERT INTO apono.meta (version) VALUES (2);
