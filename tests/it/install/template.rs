//! Owns the statements within CloudFormation templates: written between two marker lines, at their indentation. Pure.

use apono_connector::aws::actions::{Layer, Statement};
use std::collections::BTreeMap;

const BEGIN: &str = "# permissions: ";
const END: &str = "# end of permissions";
const BODY: &str = "\n      TemplateBody: |\n";
const END_OF_BODY: &str = "      # end of member-account.yaml\n";

/// How a template names what a policy's placeholder stands for.
const NAMES: [(&str, &str); 6] = [
    ("${partition}", "${AWS::Partition}"),
    ("${account}", "${AWS::AccountId}"),
    ("${connector_id}", "${AponoConnectorId}"),
    ("${organization_id}", "${OrganizationId}"),
    ("${database_user}", "${DatabaseUser}"),
    ("${user_boundary_arn}", "${UserBoundaryArn}"),
];

/// Returns the template with the statements the code wants, and which layers it holds.
pub(super) fn filled(template: &str) -> Result<(String, Vec<Layer>), String> {
    let mut written = String::new();
    let mut layers = Vec::new();
    let mut lines = template.lines();
    while let Some(line) = lines.next() {
        written += line;
        written.push('\n');
        let Some(name) = line.trim_start().strip_prefix(BEGIN) else {
            continue;
        };
        let layer = Layer::ALL
            .into_iter()
            .find(|layer| layer.as_str() == name.trim())
            .ok_or_else(|| format!("no policy is called `{name}`"))?;
        let indent = line.len() - line.trim_start().len();
        for statement in layer.statements() {
            written += &indented(&yaml(&statement), indent);
        }
        let end = lines
            .find(|line| line.trim() == END)
            .ok_or_else(|| format!("`{name}` has no `{END}`"))?;
        written += end;
        written.push('\n');
        layers.push(layer);
    }
    Ok((written, layers))
}

/// Returns the template with the members' template in its stack set, where it has one.
pub(super) fn embedded(template: &str, member: &str) -> Result<String, String> {
    let Some((before, rest)) = template.split_once(BODY) else {
        return Ok(template.to_owned());
    };
    let (_, after) = rest
        .split_once(END_OF_BODY)
        .ok_or("the members' template has no end")?;
    let member: String = member
        .lines()
        .map(|line| {
            if line.is_empty() {
                "\n".to_owned()
            } else {
                indented(line, 8)
            }
        })
        .collect();
    Ok([before, BODY, &member, END_OF_BODY, after].concat())
}

/// Returns the template with empty lines for what stands between the markers.
pub(super) fn bare(template: &str) -> String {
    let mut within = false;
    let mut kept = String::new();
    for line in template.lines() {
        within &= line.trim() != END;
        if !within {
            kept += line;
        }
        kept.push('\n');
        within |= line.trim_start().starts_with(BEGIN);
    }
    kept
}

fn yaml(statement: &Statement) -> String {
    let mut text = format!("- Sid: {}\n  Effect: Allow\n  Action:\n", statement.sid);
    for action in &statement.actions {
        text += &format!("    - {action}\n");
    }
    text += "  Resource:\n";
    for resource in statement.resources {
        text += &format!("    - {}\n", value(resource));
    }
    let mut operators: BTreeMap<&str, String> = BTreeMap::new();
    for condition in statement.conditions {
        let keys = operators.entry(condition.operator).or_default();
        *keys += &format!("      {}:\n", condition.key);
        for one in condition.values {
            *keys += &format!("        - {}\n", value(one));
        }
    }
    if !operators.is_empty() {
        text += "  Condition:\n";
    }
    for (operator, keys) in operators {
        text += &format!("    {operator}:\n{keys}");
    }
    text
}

fn value(text: &str) -> String {
    let named = NAMES
        .iter()
        .fold(text.to_owned(), |text, (from, to)| text.replace(from, to));
    if named == text {
        format!("'{named}'")
    } else {
        format!("!Sub '{named}'")
    }
}

fn indented(text: &str, by: usize) -> String {
    let space = " ".repeat(by);
    text.lines()
        .map(|line| format!("{space}{line}\n"))
        .collect()
}
