"""Writes into deploy/cloudformation what stands elsewhere: the statements of deploy/permissions between their marks, and member-account.yaml in its stack set.

Changes nothing where everything is as it should be. Needs nothing but Python.
"""

import json
import pathlib
import re

REPOSITORY = pathlib.Path(__file__).resolve().parents[1]
TEMPLATES = REPOSITORY / "deploy" / "cloudformation"
NAMES = {
    "partition": "AWS::Partition",
    "account": "AWS::AccountId",
    "connector_id": "AponoConnectorId",
    "organization_id": "OrganizationId",
    "database_user": "DatabaseUser",
    "user_boundary_arn": "UserBoundaryArn",
}
MARKS = re.compile(r"^( *)# permissions: ([a-z-]+)\n.*?^ *# end of permissions$", re.S | re.M)
MEMBER = re.compile(r"^(      TemplateBody: \|\n).*?^(      # end of member-account\.yaml)$", re.S | re.M)


def value(text: str) -> str:
    named = re.sub(r"\$\{(\w+)\}", lambda found: "${" + NAMES[found[1]] + "}", text)
    return f"!Sub '{named}'" if named != text else f"'{text}'"


def statements(layer: str):
    """Lines of YAML, one list item for each statement."""
    for statement in json.loads((REPOSITORY / "deploy" / "permissions" / f"{layer}.json").read_text())["Statement"]:
        yield f"- Sid: {statement['Sid']}"
        yield f"  Effect: {statement['Effect']}"
        yield "  Action:"
        yield from (f"    - {action}" for action in statement["Action"])
        yield "  Resource:"
        yield from (f"    - {value(resource)}" for resource in statement["Resource"])
        if "Condition" in statement:
            yield "  Condition:"
        for operator, keys in statement.get("Condition", {}).items():
            yield f"    {operator}:"
            for key, wanted in keys.items():
                yield f"      {key}:"
                yield from (f"        - {value(one)}" for one in wanted)


def filled(found: re.Match) -> str:
    indent, layer = found.groups()
    return "\n".join([f"{indent}# permissions: {layer}", *(indent + line for line in statements(layer)), f"{indent}# end of permissions"])


def embedded(text: str) -> str:
    member = (TEMPLATES / "member-account.yaml").read_text()
    lines = "".join("        " + line if line.strip() else line for line in member.splitlines(True))
    return MEMBER.sub(lambda found: found[1] + lines + found[2], text)


def main() -> None:
    # The member's template first, because it stands in another one too.
    for path in sorted(TEMPLATES.glob("*.yaml"), key=lambda path: path.name != "member-account.yaml"):
        text = path.read_text()
        written = embedded(MARKS.sub(filled, text))
        if written != text:
            path.write_text(written)
            print(f"wrote {path.relative_to(REPOSITORY)}")


if __name__ == "__main__":
    main()
