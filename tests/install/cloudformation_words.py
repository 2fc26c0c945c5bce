"""What the templates and their guides say, without making anything."""

import json
import re
import unittest

from cloudformation_stage import PERMISSIONS, REPOSITORY, TEMPLATES, parsed

GUIDES = REPOSITORY / "docs" / "install"
# What the installers themselves need, beside the code's own list: starting a task, mounting the folder, roles and keys that say whom they serve.
INSTALLERS = {
    "connector-ecs.yaml": {
        "sts:AssumeRole", "logs:CreateLogStream", "logs:PutLogEvents", "secretsmanager:GetSecretValue", "kms:Decrypt", "sns:Publish", "kms:GenerateDataKey",
        "ecr:BatchCheckLayerAvailability", "ecr:BatchGetImage", "ecr:GetDownloadUrlForLayer", "ecr:GetAuthorizationToken",
        "elasticfilesystem:ClientMount", "elasticfilesystem:ClientWrite", "elasticfilesystem:ClientRootAccess",
        "kms:CancelKeyDeletion", "kms:DescribeKey", "kms:DisableKey", "kms:DisableKeyRotation", "kms:EnableKey", "kms:EnableKeyRotation", "kms:GetKeyPolicy",
        "kms:GetKeyRotationStatus", "kms:ListKeyPolicies", "kms:ListResourceTags", "kms:PutKeyPolicy", "kms:ScheduleKeyDeletion", "kms:TagResource",
        "kms:UntagResource", "kms:UpdateKeyDescription",
    },
    "connector-eks.yaml": {"sts:AssumeRole", "sts:TagSession", "secretsmanager:GetSecretValue", "kms:Decrypt"},
    "management-account.yaml": {"sts:AssumeRole", "sts:TagSession", "sts:SetSourceIdentity"},
    "member-account.yaml": {"sts:AssumeRole", "sts:TagSession", "sts:SetSourceIdentity"},
}


def inside(node):
    """Every node below one."""
    yield node
    for child in node.values() if isinstance(node, dict) else node if isinstance(node, list) else ():
        yield from inside(child)


def listed(value) -> list:
    return value if isinstance(value, list) else [value]


def by_hand(template: dict) -> set:
    """Actions of statements that are not the code's own; those of a layer have a `Sid` and stand in a policy of the layer's name."""
    layers = {path.stem for path in PERMISSIONS.glob("*.json")}
    own = [id(node["PolicyDocument"]) for node in inside(template) if isinstance(node, dict) and node.get("PolicyName") in layers]
    statements = [
        statement
        for node in inside(template)
        if isinstance(node, dict) and "Statement" in node and id(node) not in own
        for statement in node["Statement"]
    ]
    return {action for statement in statements for action in listed(statement["Action"])}


class TheTemplates(unittest.TestCase):
    def test_name_by_hand_only_what_the_installers_need(self):
        self.assertEqual({path.name for path in TEMPLATES.glob("*.yaml")}, set(INSTALLERS))
        for name, allowed in INSTALLERS.items():
            with self.subTest(name):
                self.assertEqual(by_hand(parsed((TEMPLATES / name).read_text())), allowed)

    def test_fit_into_a_request_without_a_bucket(self):
        for path in TEMPLATES.glob("*.yaml"):
            with self.subTest(path.name):
                self.assertLessEqual(len(path.read_bytes()), 51_200)

    def test_have_one_text_for_a_parameter_they_share(self):
        templates = [parsed(path.read_text())["Parameters"] for path in TEMPLATES.glob("*.yaml")]
        for name in ("AponoConnectorId", "DatabaseUser"):
            patterns = {json.dumps(parameters[name]["AllowedPattern"]) for parameters in templates if name in parameters}
            self.assertEqual(len(patterns), 1, name)


class TheGuides(unittest.TestCase):
    def test_name_parameters_a_template_has_and_all_that_it_asks_for(self):
        commands = [
            command.replace("\\\n", " ")
            for guide in GUIDES.glob("*.md")
            for command in re.findall(r"^aws cloudformation deploy (?:.*\\\n)*.*$", guide.read_text(), re.M)
        ]
        self.assertTrue(commands)
        for command in commands:
            with self.subTest(command):
                template = parsed((REPOSITORY / re.search(r"--template-file (\S+)", command)[1]).read_text())
                given = set(re.findall(r" ([A-Z]\w+)=", command.split("--parameter-overrides")[1]))
                needed = {name for name, parameter in template["Parameters"].items() if "Default" not in parameter}
                self.assertLessEqual(given, set(template["Parameters"]))
                self.assertLessEqual(needed, given)

    def test_name_outputs_that_are_there(self):
        outputs = {name for path in TEMPLATES.glob("*.yaml") for name in parsed(path.read_text())["Outputs"]}
        for guide in ("account.md", "organization.md"):
            named = set(re.findall(r"outputs? `(\w+)`", (GUIDES / guide).read_text(), re.I))
            self.assertTrue(named)
            self.assertLessEqual(named, outputs, guide)


if __name__ == "__main__":
    unittest.main()
