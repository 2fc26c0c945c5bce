//! Owns what people leave behind: one row each, and how it comes about.

use Act::{Hers, HersIn, Root, RootIn, Stays};

/// A step on the way to a leftover. In every text, `{her}` is her login, `{third}` another role, `{owner}` the owner of the
/// database, `{stranger}` one we may not act for, and `{second}`, `{shut}`, `{private}`, `{foreign}` are other databases.
pub(super) enum Act {
    /// A superuser, in the home database.
    Root(&'static str),
    /// A superuser, in another database.
    RootIn(&'static str, &'static str),
    /// She, in a session that ends at once.
    Hers(&'static str),
    /// She, in another database.
    HersIn(&'static str, &'static str),
    /// She, in a session that stays open during her end.
    Stays(&'static str),
}

/// One row of the page.
pub(super) struct Leftover {
    pub(super) name: &'static str,
    /// The versions in which it can come about.
    pub(super) versions: std::ops::RangeInclusive<u32>,
    pub(super) acts: &'static [Act],
}

const fn row(name: &'static str, acts: &'static [Act]) -> Leftover {
    Leftover {
        name,
        versions: 13..=u32::MAX,
        acts,
    }
}

impl Leftover {
    const fn until(mut self, version: u32) -> Self {
        self.versions = 13..=version;
        self
    }

    const fn since(mut self, version: u32) -> Self {
        self.versions = version..=u32::MAX;
        self
    }
}

const THINGS: &str = "CREATE SCHEMA hers; CREATE TABLE hers.t (id serial, note text); SELECT lo_create(0);
    CREATE FUNCTION hers.f() RETURNS bigint LANGUAGE sql SECURITY DEFINER AS 'SELECT count(*) FROM hers.t';
    GRANT ALL ON hers.t TO PUBLIC; ALTER DEFAULT PRIVILEGES GRANT ALL ON TABLES TO PUBLIC";

/// Every kind, in the order of the page.
pub(super) const ROWS: &[Leftover] = &[
    row("tables, with indexes, rules, triggers and partitions", &[Hers(
        "CREATE TABLE shop.own (id int GENERATED ALWAYS AS IDENTITY PRIMARY KEY, note text);
         CREATE INDEX ON shop.own (note); CREATE RULE r AS ON DELETE TO shop.own DO INSTEAD NOTHING;
         CREATE FUNCTION shop.tf() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END';
         CREATE TRIGGER tr BEFORE INSERT ON shop.own FOR EACH ROW EXECUTE FUNCTION shop.tf();
         CREATE TABLE shop.parted (id int) PARTITION BY RANGE (id);
         CREATE TABLE shop.part PARTITION OF shop.parted FOR VALUES FROM (1) TO (9)",
    )]),
    row("views and materialised views", &[Hers(
        "CREATE VIEW shop.seen AS SELECT * FROM shop.orders; CREATE MATERIALIZED VIEW shop.kept AS SELECT * FROM shop.orders",
    )]),
    row("functions, procedures and aggregates", &[Hers(
        "CREATE FUNCTION shop.df() RETURNS bigint LANGUAGE sql SECURITY DEFINER AS 'SELECT count(*) FROM shop.orders';
         CREATE PROCEDURE shop.p() LANGUAGE sql AS 'SELECT 1'; CREATE AGGREGATE shop.a (int) (SFUNC = int4pl, STYPE = int)",
    )]),
    row("types and domains", &[Hers(
        "CREATE TYPE shop.pair AS (a int, b int); CREATE TYPE shop.mood AS ENUM ('ok'); CREATE DOMAIN shop.small AS int CHECK (VALUE < 9);
         CREATE TYPE shop.span AS RANGE (SUBTYPE = int)",
    )]),
    row("sequences", &[Hers("CREATE SEQUENCE shop.counter")]),
    row("large objects", &[Hers("SELECT lo_create(0), lo_create(0)")]),
    row("schemas", &[Hers("CREATE SCHEMA room; CREATE TABLE room.t (id int)")]),
    row("operators, collations, text search, statistics", &[Hers(
        "CREATE OPERATOR shop.=== (LEFTARG = int, RIGHTARG = int, FUNCTION = int4eq); CREATE COLLATION shop.c FROM \"C\";
         CREATE TEXT SEARCH CONFIGURATION shop.s (COPY = simple); CREATE TABLE shop.st (a int, b int); CREATE STATISTICS shop.x ON a, b FROM shop.st",
    )]),
    row("an extension", &[Hers("CREATE EXTENSION hstore SCHEMA shop")]),
    row("publications", &[Hers("CREATE TABLE shop.told (id int); CREATE PUBLICATION news FOR TABLE shop.told")]),
    row("a subscription given to her", &[Root(
        "CREATE SUBSCRIPTION s CONNECTION 'host=nowhere password=x' PUBLICATION p WITH (connect = false)"),
        Root("ALTER SUBSCRIPTION s OWNER TO {her}"),
    ]).since(16),
    row("a database given to her", &[Root("ALTER DATABASE {given} OWNER TO {her}")]),
    row("a foreign server and a foreign table", &[
        Root("CREATE FOREIGN DATA WRAPPER nothing; GRANT USAGE ON FOREIGN DATA WRAPPER nothing TO {her}"),
        Hers("CREATE SERVER far FOREIGN DATA WRAPPER nothing; CREATE FOREIGN TABLE shop.distant (id int) SERVER far"),
    ]),
    row("a function in somebody else's schema", &[
        Root("CREATE SCHEMA strange_room AUTHORIZATION {stranger}; GRANT USAGE, CREATE ON SCHEMA strange_room TO {her}"),
        Hers("CREATE FUNCTION strange_room.f() RETURNS int LANGUAGE sql AS 'SELECT 1'"),
    ]),
    row("default privileges of hers", &[Hers(
        "ALTER DEFAULT PRIVILEGES GRANT ALL ON TABLES TO PUBLIC; ALTER DEFAULT PRIVILEGES IN SCHEMA shop GRANT EXECUTE ON FUNCTIONS TO {third}",
    )]),
    row("grants of the owner, passed on with grant option", &[
        Root("SET ROLE {owner}; CREATE TABLE shop.shared (id int, note text); GRANT SELECT, UPDATE (note) ON shop.shared TO {her} WITH GRANT OPTION"),
        Hers("GRANT SELECT, UPDATE (note) ON shop.shared TO {third}"),
    ]),
    row("grants of somebody else, passed on with grant option", &[
        Root("CREATE SCHEMA strange AUTHORIZATION {stranger}; SET ROLE {stranger}; GRANT USAGE ON SCHEMA strange TO {her}, {third};
              CREATE TABLE strange.t (id int, note text); GRANT SELECT, UPDATE (note) ON strange.t TO {her} WITH GRANT OPTION"),
        Hers("GRANT SELECT ON strange.t TO {third}"),
    ]),
    row("a grant by a third person who has the grant option", &[Root(
        "CREATE SCHEMA odd AUTHORIZATION {stranger}; SET ROLE {stranger}; CREATE TABLE odd.t (id int); GRANT USAGE ON SCHEMA odd TO {third};
         GRANT SELECT ON odd.t TO {third} WITH GRANT OPTION; SET ROLE {third}; GRANT SELECT ON odd.t TO {her}",
    )]),
    row("grants of somebody else on a function, type, sequence, large object, language, database", &[Root(
        "CREATE SCHEMA wide; CREATE FUNCTION wide.f(int) RETURNS int LANGUAGE sql AS 'SELECT 1'; CREATE TYPE wide.y AS (a int); CREATE SEQUENCE wide.s;
         CREATE PROCEDURE wide.p() LANGUAGE sql AS 'SELECT 1'; SELECT lo_create(4711);
         GRANT EXECUTE ON FUNCTION wide.f(int) TO {her}; GRANT EXECUTE ON PROCEDURE wide.p() TO {her}; GRANT USAGE ON TYPE wide.y TO {her};
         GRANT USAGE ON SEQUENCE wide.s TO {her}; GRANT SELECT ON LARGE OBJECT 4711 TO {her};
         GRANT USAGE ON LANGUAGE plpgsql TO {her}; GRANT CREATE ON DATABASE {foreign} TO {her}",
    )]),
    row("a grant on a setting of the server", &[Root("GRANT SET ON PARAMETER log_min_duration_statement TO {her}")]).since(15),
    row("policies that name her, of the owner and of somebody else", &[Root(
        "CREATE SCHEMA ruled; GRANT ALL ON SCHEMA ruled TO {owner}, {stranger}; SET ROLE {owner}; CREATE TABLE ruled.a (id int);
         CREATE POLICY only_her ON ruled.a TO {her} USING (true); CREATE POLICY shared ON ruled.a TO {her}, {third} USING (true);
         RESET ROLE; SET ROLE {stranger}; CREATE TABLE ruled.b (id int); CREATE POLICY only_her ON ruled.b TO {her} USING (true)",
    )]),
    row("a user mapping", &[
        Root("CREATE FOREIGN DATA WRAPPER plain; GRANT USAGE ON FOREIGN DATA WRAPPER plain TO {owner}; SET ROLE {owner};
              CREATE SERVER near FOREIGN DATA WRAPPER plain; GRANT USAGE ON FOREIGN SERVER near TO {her}"),
        Hers("CREATE USER MAPPING FOR CURRENT_USER SERVER near OPTIONS (secret 'x')"),
    ]),
    row("prepared transactions", &[
        Hers("BEGIN; CREATE TABLE shop.unborn (id int); PREPARE TRANSACTION 'with a table'"),
        Hers("BEGIN; SELECT 1; LOCK TABLE shop.orders IN ACCESS SHARE MODE; PREPARE TRANSACTION 'with a lock'"),
    ]),
    row("temporary tables", &[Stays("CREATE TEMP TABLE mine (id int); INSERT INTO mine VALUES (1)")]),
    row("open cursors", &[
        Stays("BEGIN; DECLARE c CURSOR WITH HOLD FOR SELECT * FROM shop.orders; COMMIT"),
        Stays("BEGIN; DECLARE c CURSOR FOR SELECT * FROM shop.orders; FETCH c"),
    ]),
    row("held locks, on a table of hers, on her own role, advisory", &[
        Hers("CREATE TABLE shop.locked (id int)"),
        Stays("BEGIN; LOCK TABLE shop.locked; SELECT pg_advisory_lock(1)"),
        Stays("BEGIN; ALTER ROLE CURRENT_USER PASSWORD 'mine'"),
    ]),
    row("settings of her role", &[Hers("ALTER ROLE CURRENT_USER SET search_path = 'shop'; ALTER ROLE CURRENT_USER SET role = 'none'")]),
    row("things in three databases", &[Hers(THINGS), HersIn("{second}", THINGS), HersIn("{third_database}", THINGS)]),
    row("things in a database that takes no connections any more", &[
        HersIn("{shut}", THINGS),
        RootIn("postgres", "ALTER DATABASE {shut} ALLOW_CONNECTIONS false"),
    ]),
    row("things in a database we may not enter", &[
        RootIn("postgres", "REVOKE CONNECT ON DATABASE {private} FROM PUBLIC; GRANT CONNECT, CREATE ON DATABASE {private} TO {her}"),
        HersIn("{private}", THINGS),
    ]),
    row("her own role, lent to somebody", &[Hers("GRANT {her} TO {third}")]).until(14),
    row("her role, lent by somebody with CREATEROLE", &[
        Root("CREATE ROLE {maker} CREATEROLE; SET ROLE {maker}; GRANT {her} TO {third}"),
    ]).until(15),
    row("a membership she gave to somebody", &[
        Root("CREATE ROLE {club}; GRANT {club} TO {her} WITH ADMIN OPTION"),
        Hers("GRANT {club} TO {third}"),
    ]),
    // The last one: what these owners make after it would be hers to read.
    row("default privileges that name her, of the owner and of somebody else", &[Root(
        "ALTER DEFAULT PRIVILEGES FOR ROLE {owner} GRANT SELECT ON TABLES TO {her};
         ALTER DEFAULT PRIVILEGES FOR ROLE {stranger} GRANT SELECT ON TABLES TO {her}",
    )]),
];
