-- Our own record: which login, which shared role, which grant. Readable by nobody but the admin role.
CREATE TABLE apono.meta (
    version integer NOT NULL,
    changed_at timestamptz NOT NULL DEFAULT pg_catalog.clock_timestamp()
);

-- One row per database user we made. Its lock is the lock of the login: nobody else can take it.
CREATE TABLE apono.login (
    name text PRIMARY KEY,
    connector text NOT NULL,
    principal text NOT NULL,
    version bigint NOT NULL DEFAULT 0,           -- counts every change; a plan made from an older one is refused
    made_at timestamptz NOT NULL DEFAULT pg_catalog.clock_timestamp(),
    password_grant uuid,                         -- which grant the present password was made for
    password_attempt integer,                    -- and by which delivery of its task
    blocked_at timestamptz,                      -- since when nobody may log in
    last_session_at timestamptz,                 -- when a session was last seen
    leftovers text[] NOT NULL DEFAULT '{}',      -- what a person must remove before the role can go
    UNIQUE (connector, principal)
);

-- One row per shared role that holds the privileges of one level on one resource.
CREATE TABLE apono.access_role (
    name text PRIMARY KEY,
    connector text NOT NULL,
    database text,                               -- none for an existing role, which belongs to the whole server
    kind text NOT NULL,
    path text[] NOT NULL,
    level text NOT NULL,
    made_at timestamptz NOT NULL DEFAULT pg_catalog.clock_timestamp(),
    complete_at timestamptz                      -- when its privileges were last seen complete
);

-- One row per grant. The row is the expiry. An ended row stays as a tombstone, so that the grant never starts again.
CREATE TABLE apono."grant" (
    id uuid PRIMARY KEY,
    connector text NOT NULL,
    integration uuid NOT NULL,
    login text NOT NULL,
    access_role text NOT NULL,
    principal text NOT NULL,
    kind text NOT NULL,
    path text[] NOT NULL,
    level text NOT NULL,
    expiry timestamptz NOT NULL,
    lease_deadline timestamptz,
    attempt integer NOT NULL DEFAULT 0,
    started_at timestamptz,
    ended_at timestamptz,
    reason text,
    closed_at timestamptz,                       -- when nobody could use it any more, sessions included
    clean_at timestamptz                         -- when nothing of it was left
);
CREATE INDEX grant_live ON apono."grant" (login) WHERE ended_at IS NULL;
CREATE INDEX grant_unclean ON apono."grant" (login) WHERE clean_at IS NULL;
CREATE INDEX grant_access_role ON apono."grant" (access_role);

-- Ended grants after a day, for 30 days.
CREATE TABLE apono.history (LIKE apono."grant", moved_at timestamptz NOT NULL DEFAULT pg_catalog.clock_timestamp(), PRIMARY KEY (id));

REVOKE ALL ON ALL TABLES IN SCHEMA apono FROM PUBLIC;
INSERT INTO apono.meta (version) VALUES (1);
