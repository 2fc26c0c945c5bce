-- Times are whole microseconds since 1970-01-01 UTC. Ids are hyphenated UUIDs. `who_had_what` shows them for people.
CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL) STRICT;
CREATE TABLE connectors (
    id TEXT PRIMARY KEY,
    grants_revision INTEGER NOT NULL DEFAULT 0,
    integrations_revision INTEGER NOT NULL DEFAULT 0
) STRICT;
CREATE TABLE sessions (
    id TEXT PRIMARY KEY,
    connector TEXT NOT NULL REFERENCES connectors (id),
    instance TEXT NOT NULL,
    version TEXT NOT NULL,
    host TEXT NOT NULL,
    capabilities TEXT NOT NULL,
    opened_at INTEGER NOT NULL,
    seen_at INTEGER NOT NULL,
    heartbeat TEXT,
    UNIQUE (connector, instance)
) STRICT;
CREATE TABLE integrations (
    id TEXT PRIMARY KEY,
    connector TEXT NOT NULL REFERENCES connectors (id),
    name TEXT NOT NULL,
    kind TEXT NOT NULL,
    settings TEXT NOT NULL,
    secret TEXT,
    state TEXT NOT NULL CHECK (state IN ('active', 'retiring', 'retired')),
    status TEXT NOT NULL,
    message TEXT NOT NULL,
    inventory_upload TEXT,
    inventory_revision INTEGER NOT NULL DEFAULT 0,
    inventory_at INTEGER,
    inventory_count INTEGER NOT NULL DEFAULT 0,
    -- For one that was found in the inventory of another: where, which line, what it asked for when it was added, and what is wrong with that now.
    found_in TEXT REFERENCES integrations (id),
    found_as TEXT,
    found_asking TEXT,
    found_problem TEXT NOT NULL DEFAULT '',
    revision INTEGER NOT NULL
) STRICT;
CREATE INDEX integrations_found ON integrations (found_in, found_as) WHERE found_in IS NOT NULL;
CREATE UNIQUE INDEX integration_names ON integrations (name) WHERE state <> 'retired';
CREATE INDEX integration_changes ON integrations (connector, revision);
-- Rows of an upload count only while an integration names the upload, which then is `current`. An upload with a base gives its rows to the
-- current one and is `merged`; a full one takes its place, which then is `replaced`.
CREATE TABLE uploads (
    id TEXT PRIMARY KEY,
    integration TEXT NOT NULL REFERENCES integrations (id),
    connector TEXT NOT NULL,
    state TEXT NOT NULL CHECK (state IN ('open', 'current', 'merged', 'replaced', 'dropped')),
    base_epoch TEXT,
    base_revision INTEGER,
    -- The part that is awaited, and how many lines came in those before.
    next INTEGER NOT NULL DEFAULT 0,
    lines INTEGER NOT NULL DEFAULT 0,
    revision INTEGER,
    begun_at INTEGER NOT NULL,
    touched_at INTEGER NOT NULL
) STRICT;
CREATE INDEX uploads_by_state ON uploads (state, touched_at);
CREATE TABLE inventory (
    upload TEXT NOT NULL,
    id TEXT NOT NULL,
    kind TEXT NOT NULL CHECK (kind IN ('resource', 'access')),
    place TEXT NOT NULL,
    record TEXT NOT NULL,
    first_seen_at INTEGER NOT NULL,
    changed_at INTEGER NOT NULL,
    gone_at INTEGER,
    PRIMARY KEY (upload, id)
) STRICT, WITHOUT ROWID;
CREATE INDEX inventory_places ON inventory (upload, kind, place, id) WHERE gone_at IS NULL;
CREATE INDEX inventory_discovered ON inventory (upload, place)
    WHERE gone_at IS NULL AND json_extract(record, '$.discovered') IS NOT NULL;
CREATE INDEX inventory_gone ON inventory (upload, gone_at) WHERE gone_at IS NOT NULL;
-- What an upload with a base says is gone.
CREATE TABLE inventory_deletes (
    upload TEXT NOT NULL,
    id TEXT NOT NULL,
    PRIMARY KEY (upload, id)
) STRICT, WITHOUT ROWID;
-- What an upload could not look at, or replaces as a whole: the places between two bounds.
CREATE TABLE inventory_spans (
    upload TEXT NOT NULL,
    kind TEXT NOT NULL CHECK (kind IN ('unseen', 'replaced')),
    low TEXT NOT NULL,
    high TEXT NOT NULL,
    -- When it was last looked at; nothing for never.
    seen_at INTEGER,
    PRIMARY KEY (upload, kind, low)
) STRICT, WITHOUT ROWID;
CREATE TABLE grants (
    id TEXT PRIMARY KEY,
    connector TEXT NOT NULL REFERENCES connectors (id),
    integration TEXT NOT NULL REFERENCES integrations (id),
    principal TEXT NOT NULL,
    resource_type TEXT NOT NULL,
    resource_path TEXT NOT NULL,
    permission TEXT NOT NULL,
    expiry INTEGER NOT NULL,
    wanted_expiry INTEGER,
    state TEXT NOT NULL CHECK (state IN ('requested', 'starting', 'active', 'ending', 'closed', 'ended', 'failed')),
    -- Whether it was ever handed out, and so is part of the connector's list.
    listed INTEGER NOT NULL DEFAULT 0,
    created_at INTEGER NOT NULL,
    started_at INTEGER,
    login TEXT,
    credential TEXT,
    sealed_credential TEXT,
    ended_at INTEGER,
    end_reason TEXT,
    sessions_before INTEGER,
    sessions_after INTEGER,
    clean INTEGER NOT NULL DEFAULT 0,
    leftovers TEXT NOT NULL DEFAULT '[]',
    checkpoint TEXT,
    -- Lines of the reports of its start and its end.
    details TEXT NOT NULL DEFAULT '[]',
    end_details TEXT NOT NULL DEFAULT '[]',
    failure TEXT,
    idempotency_key TEXT UNIQUE,
    request_digest TEXT NOT NULL,
    revision INTEGER NOT NULL
) STRICT;
CREATE INDEX grant_changes ON grants (connector, revision);
CREATE INDEX grants_of_integration ON grants (integration, state);
CREATE INDEX grants_to_end ON grants (min(expiry, coalesce(wanted_expiry, expiry)))
    WHERE state IN ('requested', 'starting', 'active');
CREATE TABLE tasks (
    seq INTEGER PRIMARY KEY AUTOINCREMENT,
    id TEXT NOT NULL UNIQUE,
    connector TEXT NOT NULL REFERENCES connectors (id),
    integration TEXT NOT NULL REFERENCES integrations (id),
    kind TEXT NOT NULL,
    rank INTEGER NOT NULL,
    grant_id TEXT REFERENCES grants (id),
    -- What at most one start at a time is about.
    lane TEXT,
    recipient TEXT,
    expiry INTEGER,
    issued_at INTEGER NOT NULL,
    not_before INTEGER NOT NULL,
    state TEXT NOT NULL CHECK (state IN ('queued', 'leased', 'succeeded', 'failed', 'cancelled')),
    -- Number of leases so far.
    attempt INTEGER NOT NULL DEFAULT 0,
    -- Leases of which it is not known whether they had an effect.
    unproven INTEGER NOT NULL DEFAULT 0,
    lost INTEGER NOT NULL DEFAULT 0,
    failures INTEGER NOT NULL DEFAULT 0,
    session TEXT,
    instance TEXT,
    lease_deadline INTEGER,
    cancel INTEGER NOT NULL DEFAULT 0,
    checkpoint TEXT,
    progress TEXT NOT NULL DEFAULT '',
    outcome TEXT,
    outcome_attempt INTEGER,
    finished_at INTEGER
) STRICT;
-- One start at a time per person and server, or per account of an organization: the second waits until the first has its result.
CREATE UNIQUE INDEX one_live_start ON tasks (integration, lane)
    WHERE state = 'leased' AND kind IN ('grant-access', 'reset-credentials');
CREATE UNIQUE INDEX one_open_end ON tasks (grant_id)
    WHERE state IN ('queued', 'leased') AND kind = 'revoke-access';
CREATE INDEX waiting_tasks ON tasks (connector, rank, lost, seq) WHERE state = 'queued';
CREATE INDEX leased_tasks ON tasks (lease_deadline) WHERE state = 'leased';
CREATE INDEX tasks_by_time ON tasks (not_before) WHERE state = 'queued';
CREATE INDEX waiting_starts ON tasks (issued_at)
    WHERE state = 'queued' AND kind IN ('grant-access', 'reset-credentials');
CREATE INDEX tasks_of_grant ON tasks (grant_id, kind);
CREATE INDEX finished_tasks ON tasks (finished_at) WHERE finished_at IS NOT NULL;
CREATE VIEW who_had_what AS
SELECT g.id AS grant_id, g.principal AS who, i.name AS integration,
    g.resource_type || ' ' || g.resource_path AS what, g.permission AS level, g.state,
    strftime('%Y-%m-%dT%H:%M:%fZ', g.started_at / 1e6, 'unixepoch') AS started,
    strftime('%Y-%m-%dT%H:%M:%fZ', g.expiry / 1e6, 'unixepoch') AS until,
    strftime('%Y-%m-%dT%H:%M:%fZ', g.ended_at / 1e6, 'unixepoch') AS ended,
    g.end_reason AS why, g.clean
FROM grants AS g JOIN integrations AS i ON i.id = g.integration;
