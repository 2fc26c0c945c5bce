//! Owns what is printed: the one place of the reference control plane that writes to the terminal.

use super::CommandError;
use crate::control::protocol::{PrincipalSpec, ResourceRecord};
use crate::domain::shown;
use crate::reference_plane::admin::{
    DiscoveredView, GrantView, InstanceView, IntegrationView, InventoryEntry, StandingAccess,
};
use jiff::Timestamp;
use serde::Serialize;
use std::error::Error;
use std::io::Write;

/// Prints a result.
pub(super) fn say(text: &str) -> Result<(), CommandError> {
    let mut out = std::io::stdout().lock();
    out.write_all(text.as_bytes())?;
    out.flush()?;
    Ok(())
}

/// Prints trouble.
pub(super) fn complain(text: &str) {
    // Where even this cannot be written, the exit status still tells.
    writeln!(std::io::stderr().lock(), "{text}").unwrap_or_default();
}

/// Writes trouble, with its causes and what to do about it.
pub(super) fn trouble(error: &dyn Error, hint: Option<&str>) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let line = error.to_string();
        if !text.ends_with(&line) {
            text = format!("{text}: {line}");
        }
        cause = error.source();
    }
    match hint {
        Some(hint) => format!("{}\nhint: {}", plain(&text), plain(hint)),
        None => plain(&text),
    }
}

/// Takes out what could steer a terminal: the text may come from far away.
fn plain(text: &str) -> String {
    text.replace(|c: char| c.is_control() && c != '\n', "\u{fffd}")
}

/// Writes a value as JSON.
pub(super) fn json(value: &impl Serialize) -> Result<String, CommandError> {
    let text = serde_json::to_string_pretty(value);
    let text = text.map_err(|error| CommandError::Garbled(error.to_string()))?;
    Ok(text + "\n")
}

/// Writes who had what, when.
pub(super) fn grants(views: &[GrantView]) -> String {
    let mut rows = vec![
        [
            "GRANT", "WHO", "WHAT", "LEVEL", "FROM", "UNTIL", "STATE", "ENDED", "WHY",
        ]
        .map(str::to_owned)
        .to_vec(),
    ];
    rows.extend(views.iter().map(|view| {
        let grant = &view.grant;
        let why = view
            .end_reason
            .clone()
            .or_else(|| view.failure.as_ref().map(|failure| failure.reason.clone()));
        vec![
            grant.id.to_string(),
            shown(&principal(&grant.principal)),
            format!(
                "{}: {} {}",
                shown(&view.integration_name),
                shown(&grant.resource.kind),
                shown(&grant.resource.path.join("/"))
            ),
            shown(&grant.permission),
            time(view.started_at),
            time(Some(grant.expiry)),
            view.state.clone(),
            time(view.ended_at),
            why.map_or_else(|| "-".to_owned(), |why| shown(&why)),
        ]
    }));
    table(&rows)
}

/// Writes the integrations.
pub(super) fn integrations(views: &[IntegrationView]) -> String {
    let head = [
        "ID",
        "NAME",
        "TYPE",
        "CONNECTOR",
        "STATE",
        "STATUS",
        "RESOURCES",
        "MESSAGE",
    ];
    let mut rows = vec![head.map(str::to_owned).to_vec()];
    rows.extend(views.iter().map(|view| {
        vec![
            view.id.to_string(),
            shown(&view.name),
            shown(&view.kind),
            view.connector.clone(),
            view.state.clone(),
            shown(&view.status),
            view.resources.to_string(),
            shown(&view.message),
        ]
    }));
    table(&rows)
}

/// Writes what asks by itself to be managed.
pub(super) fn discovered(found: &[DiscoveredView]) -> String {
    let head = [
        "NAME",
        "TYPE",
        "STATUS",
        "INTEGRATION",
        "ASKS FOR",
        "PATH",
        "MESSAGE",
    ];
    let mut rows = vec![head.map(str::to_owned).to_vec()];
    rows.extend(found.iter().map(|view| {
        let integration = view.integration.as_deref();
        vec![
            shown(&view.name),
            shown(&view.kind),
            view.status.clone(),
            integration.map_or_else(|| "-".to_owned(), shown),
            shown(&view.asks.kind),
            shown(&view.path.join("/")),
            plain(view.problem.as_deref().unwrap_or_default()),
        ]
    }));
    table(&rows)
}

/// Writes the instances.
pub(super) fn instances(views: &[InstanceView]) -> String {
    let head = [
        "CONNECTOR",
        "INSTANCE",
        "VERSION",
        "HOST",
        "SEEN",
        "RUNNING",
        "FROZEN",
        "OVERDUE",
    ];
    let mut rows = vec![head.map(str::to_owned).to_vec()];
    rows.extend(views.iter().map(|view| {
        let heartbeat = view.heartbeat.as_ref();
        let said = |text: Option<String>| text.unwrap_or_else(|| "-".to_owned());
        vec![
            view.connector.clone(),
            view.instance.to_string(),
            shown(&view.version),
            shown(&view.host),
            time(Some(view.seen_at)),
            said(heartbeat.map(|heartbeat| heartbeat.running.to_string())),
            said(heartbeat.map(|heartbeat| heartbeat.frozen.to_string())),
            time(heartbeat.and_then(|heartbeat| heartbeat.oldest_overdue_end)),
        ]
    }));
    table(&rows)
}

/// Writes what exists, one line each, or indented: by path, in an organization by unit.
pub(super) fn resources(mut records: Vec<InventoryEntry>, tree: bool) -> String {
    let mut rows = Vec::new();
    if tree {
        // What has no place in the units keeps its order, and follows.
        records.sort_by_cached_key(|entry| match units(&entry.resource) {
            Some(units) => (false, units),
            None => (true, Vec::new()),
        });
    }
    if !tree {
        let head = ["TYPE", "PATH", "PERMISSIONS", "OWNER", "STATUS"];
        rows.push(head.map(str::to_owned).to_vec());
    }
    rows.extend(records.iter().map(|entry| {
        let record = &entry.resource;
        let kind = if record.flavour.is_empty() {
            shown(&record.kind)
        } else {
            format!("{} ({})", shown(&record.kind), shown(&record.flavour))
        };
        let permissions = shown(&record.permissions.join(" "));
        let status = match &record.problem {
            Some(problem) => plain(&format!("{}: {problem}", record.status)),
            None => shown(&record.status),
        };
        let owner = shown(record.owner.as_deref().unwrap_or("-"));
        if tree {
            let depth = units(record).map_or(record.path.len(), |units| units.len());
            let indent = "  ".repeat(depth.saturating_sub(1));
            let name = format!("{indent}{}{}", shown(&record.name), id_of(record));
            vec![name, kind, permissions, owner, status]
        } else {
            let mut path = shown(&record.path.join("/"));
            if is_by_id(record) {
                path = format!("{path} ({})", shown(&record.name));
            }
            vec![kind, path, permissions, owner, status]
        }
    }));
    table(&rows)
}

/// Whether the path is made of ids instead of names.
fn is_by_id(record: &ResourceRecord) -> bool {
    record.path.last() != Some(&record.name)
}

/// Writes the id orders go by, where the name is not enough.
fn id_of(record: &ResourceRecord) -> String {
    match record.path.last() {
        Some(id) if is_by_id(record) => format!(" ({})", shown(id)),
        _ => String::new(),
    }
}

/// Returns the names of the organizational units something is in, outermost first, and its own; nothing for what is in none.
fn units(record: &ResourceRecord) -> Option<Vec<String>> {
    let own = match record.kind.as_str() {
        // Its path ends with its own name.
        "aws-organizational-unit" => None,
        "aws-organization-account" => Some(&record.name),
        _ => return None,
    };
    let above = record.context.get("ou_path").into_iter();
    let above = above.flat_map(|path| path.split('/').map(str::to_owned));
    Some(above.chain(own.cloned()).collect())
}

/// Writes who has access already.
pub(super) fn access(records: &[StandingAccess]) -> String {
    let mut rows = vec![
        ["HOLDER", "MAY", "MAY PASS ON", "TYPE", "PATH"]
            .map(str::to_owned)
            .to_vec(),
    ];
    rows.extend(records.iter().map(|record| {
        let access = &record.access;
        let words = |words: &[String]| match words {
            [] => "-".to_owned(),
            words => shown(&words.join(" ")),
        };
        vec![
            access
                .holder
                .as_deref()
                .map_or_else(|| "(everybody)".to_owned(), shown),
            words(&access.privileges),
            words(&access.may_pass_on),
            shown(&access.kind),
            shown(&access.path.join("/")),
        ]
    }));
    table(&rows)
}

/// Writes a time to the millisecond.
fn time(at: Option<Timestamp>) -> String {
    at.map_or_else(|| "-".to_owned(), |at| format!("{at:.3}"))
}

/// Writes a principal the way `grant --to` reads it.
fn principal(spec: &PrincipalSpec) -> String {
    let named = |prefix: &str, name: &String| format!("{prefix}{name}");
    let given = spec.email.clone();
    given
        .or_else(|| spec.user_name.as_ref().map(|name| named("user:", name)))
        .or_else(|| spec.group.as_ref().map(|name| named("group:", name)))
        .unwrap_or_default()
}

/// Writes rows with aligned columns.
fn table(rows: &[Vec<String>]) -> String {
    let columns = rows.iter().map(Vec::len).max().unwrap_or_default();
    let width = |column: usize| {
        rows.iter()
            .filter_map(|row| row.get(column))
            .map(|cell| cell.chars().count())
            .max()
            .unwrap_or_default()
    };
    let widths: Vec<_> = (0..columns).map(width).collect();
    let mut text = String::new();
    for row in rows {
        let cells = row.iter().zip(&widths);
        let line: Vec<_> = cells
            .map(|(cell, width)| format!("{cell:width$}"))
            .collect();
        text.push_str(line.join("  ").trim_end());
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn columns_line_up_and_lines_have_no_trailing_space() {
        let rows = [
            vec!["a".to_owned(), "b".to_owned()],
            vec!["long".to_owned(), String::new()],
        ];
        assert_eq!(table(&rows), "a     b\nlong\n");
    }

    #[test]
    fn accounts_hang_below_their_units_with_their_ids_and_the_rest_follows() {
        let unit = "aws-organizational-unit";
        let entry = |kind: &str, id: &str, name: &str, units: &str| -> InventoryEntry {
            let context = json!({ "ou_path": units });
            let then = "2026-11-22T00:00:00Z";
            serde_json::from_value(json!({
                "id": id, "native_id": id, "name": name, "path": [id], "type": kind,
                "permissions": [], "status": "active",
                "context": if units.is_empty() { json!({}) } else { context },
                "age": {"first_seen_at": then, "changed_at": then, "seen_at": then},
            }))
            .unwrap()
        };
        let records = vec![
            entry("aws-organization-account", "1", "root", ""),
            entry("aws-organization-account", "2", "shop", "Prod/EU"),
            entry("aws-permission-set", "Admin", "Admin", ""),
            entry(unit, "ou-1", "Prod", "Prod"),
            entry(unit, "ou-2", "EU", "Prod/EU"),
        ];
        let tree = resources(records, true);
        let names: Vec<&str> = tree
            .lines()
            .map(|line| line.split("  aws-").next().unwrap().trim_end())
            .collect();
        let expected = [
            "Prod (ou-1)",
            "  EU (ou-2)",
            "    shop (2)",
            "root (1)",
            "Admin",
        ];
        assert_eq!(names, expected);
    }

    #[test]
    fn a_text_from_far_away_cannot_steer_the_terminal() {
        assert_eq!(plain("a\u{1b}[2Jb\nc"), "a\u{fffd}[2Jb\nc");
    }

    #[test]
    fn times_are_shown_to_the_millisecond() {
        let at: Timestamp = "2026-12-01T18:00:00.123456Z".parse().unwrap();
        assert_eq!(time(Some(at)), "2026-12-01T18:00:00.123Z");
        assert_eq!(time(None), "-");
    }
}
