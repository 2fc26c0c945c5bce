//! Owns the table from SQLSTATE to class of error. Never looks at a message's text.

use crate::domain::ErrorClass;

/// Returns the class of a server error. A code that is not listed is our own mistake until someone decides otherwise.
pub(crate) fn class(code: &str) -> ErrorClass {
    match code {
        // Not ours to do: no ADMIN, not the owner, no CONNECT. Invalid password syntax of a server policy. Data corrupted.
        // A trigger of the customer's that says no. A setting only the server's configuration may change. A file of the server's is
        // missing or in the way. Limits of the server that do not pass (54: "row is too big").
        "42501" | "22024" | "XX001" | "XX002" | "P0001" | "55P02" | "58P01" | "58P02" => {
            ErrorClass::NeedsOperator
        }
        _ if code.starts_with("54") => ErrorClass::NeedsOperator,

        // Lock time-out, deadlock, serialisation, "tuple concurrently updated", two creators of one name, exists already,
        // something still hangs on it, in use, not in the state it was in.
        "55P03" | "40P01" | "40001" | "XX000" | "23505" | "42710" | "42P04" | "42P06" | "42P07"
        | "2BP01" | "55006" | "55000" => ErrorClass::Conflict,

        // Role, database, schema, table, column, function; a database dropped under us.
        "42704" | "3D000" | "3F000" | "42P01" | "42703" | "42883" | "57P04" => ErrorClass::NotFound,

        // Wrong or expired password; login not allowed.
        "28P01" | "28000" => ErrorClass::Unauthorised,

        // The fence: the lease or the grant is over, so trying again cannot help. A membership circle means that a
        // self-grant was left behind.
        "22012" | "AP001" | "0LP01" => ErrorClass::Bug,

        // A replica, which a fail-over may turn into the primary.
        "25006" => ErrorClass::Transient,
        // The statement's time is up, or the session was ended for idling or for a long transaction.
        "57014" | "25P03" | "25P04" => ErrorClass::Transient,
        // 08 connection, 53 no room on disk, in memory or for connections, 57 starting, shutting down or ending sessions, 58 trouble of
        // its system.
        _ if ["08", "53", "57", "58"].iter().any(|c| code.starts_with(c)) => ErrorClass::Transient,

        _ => ErrorClass::Bug,
    }
}

/// Returns the usual fix of a refused log-in.
pub(crate) fn login_hint(code: &str, place: &super::Place) -> Option<String> {
    let super::Place {
        host,
        port,
        database,
        user,
    } = place;
    Some(match code {
        "28P01" => format!(
            "check `username` and `password` in the secret of `{user}`, and whether the password has expired (`VALID UNTIL`)"
        ),
        "28000" => format!(
            "let `{user}` log in to `{database}` from this machine: the role needs LOGIN, and `pg_hba.conf` a line that fits `sslmode`"
        ),
        "3D000" => format!("create database `{database}` on `{host}:{port}`, or correct `dbname`"),
        "42501" => format!(
            "GRANT CONNECT ON DATABASE \"{}\" TO \"{}\"",
            doubled(database),
            doubled(user)
        ),
        "53300" => format!(
            "raise `max_connections` of `{host}:{port}` or the connection limit of `{user}`, or end idle sessions"
        ),
        _ => return None,
    })
}

/// Returns the usual fix of a refused statement.
pub(crate) fn statement_hint(code: &str, place: &super::Place) -> Option<String> {
    let super::Place { host, port, .. } = place;
    Some(match code {
        "53100" => format!("free space on the disks of the server at `{host}:{port}`"),
        "53200" => format!(
            "give the server at `{host}:{port}` more memory, or a higher `max_locks_per_transaction` if its log asks for it"
        ),
        _ => return None,
    })
}

fn doubled(name: &str) -> String {
    name.replace('"', "\"\"")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_code_of_the_table_has_its_class() {
        let table = [
            (
                ErrorClass::NeedsOperator,
                vec!["42501", "54000", "55P02", "58P01", "58P02"],
            ),
            (
                ErrorClass::Conflict,
                vec![
                    "55P03", "55000", "55006", "40P01", "XX000", "23505", "42710", "2BP01",
                ],
            ),
            (
                ErrorClass::NotFound,
                vec!["42704", "3D000", "3F000", "42P01", "57P04"],
            ),
            (ErrorClass::Bug, vec!["22012", "AP001", "0LP01", "42601"]),
            (
                ErrorClass::Transient,
                vec![
                    "25006", "53000", "53100", "53200", "53300", "53400", "57000", "57P01",
                    "57P02", "57P03", "57P05", "58000", "58030", "25P03", "25P04", "08006",
                    "57014",
                ],
            ),
            (ErrorClass::Unauthorised, vec!["28P01", "28000"]),
        ];
        for (wanted, codes) in table {
            for code in codes {
                assert_eq!(class(code), wanted, "{code}");
            }
        }
    }
}
