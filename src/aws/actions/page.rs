//! Owns the page of permissions, `docs/permissions.md`. Pure: the page is a function of the list.

use super::{Action, Feature, all};
use std::fmt::Write as _;

const OPENING: &str = "\
# AWS permissions

Every IAM action the connector needs, by feature; allow the features you use. The page is made from the list in the code, and a call that is
not in the list is refused before it is sent, so nothing else is ever called. Every resource of a row must be allowed, those that have no tags in a
statement apart from a condition on tags. *Not called* means: AWS asks for it within another call. `CONNECTOR` is the connector's id, `BOUNDARY` the
permissions boundary of the users it makes; the partition is `aws`, `aws-cn` or `aws-us-gov`.

The same list, as policies that can be deployed, is in `deploy/permissions/`. The templates in `deploy/` hold these, and beside them only what starting
the connector needs: its image, log, token and state.

Identity Center cannot narrow *who* may be assigned, only which set in which account: what IAM cannot say, the connector's own guardrails do.
";

/// Writes the page.
#[must_use]
pub fn page() -> String {
    let mut page = OPENING.to_owned();
    for feature in Feature::ALL {
        let rows = all().filter(|action| action.features.contains(&feature));
        // Writing to a string does not fail.
        _ = write!(
            page,
            "\n## `{}`\n\n{}\n\n| action | for | without it | narrowest resource | condition |\n|---|---|---|---|---|\n",
            feature.as_str(),
            feature.about()
        );
        page.extend(rows.map(row));
    }
    page
}

fn row(action: &Action) -> String {
    let note = if action.called { "" } else { " (not called)" };
    format!(
        "| `{}`{note} | {} | {} | {} | {} |\n",
        action.name,
        action.what,
        action.without,
        action.resource(),
        action.condition()
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

    const FIX: &str = "APONO_REWRITE_PERMISSIONS=1 cargo test --lib the_page_of_permissions";

    #[test]
    #[expect(
        clippy::disallowed_methods,
        reason = "a switch of the test, not of the product"
    )]
    fn the_page_of_permissions_is_as_it_would_be_written() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/permissions.md");
        if std::env::var_os("APONO_REWRITE_PERMISSIONS").is_some() {
            std::fs::write(&path, page()).unwrap();
        }
        let kept = std::fs::read_to_string(&path).unwrap_or_default();
        assert!(kept == page(), "docs/permissions.md is out of date: {FIX}");
    }
}
