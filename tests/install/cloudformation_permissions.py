"""What the roles of the templates may do. Three questions, each answered by what answers it best:

- Are their policies the code's own? The roles of every level are made in MiniStack and compared with deploy/permissions.
- What do these policies allow? MiniStack's evaluator judges each action of the list, each other operation of the same services, and the borders by resource, tag and
  condition. It is asked directly, with the context AWS would give, because MiniStack has no IAM Identity Center and moto judges no conditions.
- Does it hold in practice? cloudformation_calls.py.
"""

import itertools
import json
import re
import sys
import unittest

import botocore.session
from ministack.core import iam_evaluator

from cloudformation import parameters as of_connector
from cloudformation_eks import of_cluster
from cloudformation_organization import of_organization
from cloudformation_stage import PERMISSIONS, REGION, Network, Stack, ministack, role, template

ACCOUNT = "111111111111"
FULL = "Full-Access (Manage IAM)"
BOUNDARY = "arn:aws:iam::aws:policy/PowerUserAccess"
PLACEHOLDERS = {
    "partition": "aws", "account": ACCOUNT, "connector_id": "c1", "organization_id": "o-k012345a67",
    "database_user": "apono_connector", "user_boundary_arn": BOUNDARY,
}
# Which layers a role has: deploy/permissions/README.md.
CONNECTOR = {
    "None": ["sessions"],
    "Read-Only": ["sessions", "account-inventory"],
    "Databases": ["sessions", "account-inventory", "databases"],
    FULL: ["sessions", "account-inventory", "databases", "account-access"],
}
MEMBER = {
    "Read-Only": ["account-inventory"],
    "Databases": ["account-inventory", "databases"],
    "Assign-Permission-Sets": ["account-inventory", "databases"],
    FULL: ["account-inventory", "databases", "account-access"],
}
READING = ["sessions", "organization-read"]
ASSIGNING = [*READING, "assignments"]
MANAGEMENT = {
    ("Read-Only", "Tagged", "true"): READING,
    ("Assign-Permission-Sets", "Tagged", "false"): [*ASSIGNING, "tagged-permission-sets"],
    ("Assign-Permission-Sets", "Any", "false"): [*ASSIGNING, "any-permission-set"],
    ("Assign-Permission-Sets", "Any", "true"): [*ASSIGNING, "any-permission-set", "management-account"],
    (FULL, "Tagged", "false"): [*ASSIGNING, "tagged-permission-sets", "permission-sets"],
}
# The installers' own.
BESIDES = {"state", "token", "key"}
# Services whose every operation is tried: those the connector speaks to, and some it never does. By botocore's name and IAM's.
SERVICES = {
    "sts": "sts", "iam": "iam", "organizations": "organizations", "sso-admin": "sso", "identitystore": "identitystore", "rds": "rds",
    "secretsmanager": "secretsmanager", "kms": "kms", "resourcegroupstaggingapi": "tag", "s3": "s3", "ec2": "ec2", "lambda": "lambda",
    "cloudformation": "cloudformation", "ecs": "ecs", "efs": "elasticfilesystem", "logs": "logs", "ssm": "ssm", "dynamodb": "dynamodb",
}


def layer(name: str) -> dict:
    return json.loads(re.sub(r"\$\{(\w+)\}", lambda found: PLACEHOLDERS[found[1]], (PERMISSIONS / f"{name}.json").read_text()))


ALL_LAYERS = {path.stem: layer(path.stem) for path in sorted(PERMISSIONS.glob("*.json"))}


def plain(document) -> list:
    """Statements in one spelling: a list for whatever may be one value or several."""

    def listed(value):
        return sorted(value) if isinstance(value, list) else [value]

    statements = []
    for statement in document["Statement"]:
        condition = {
            operator: {key: listed(values) for key, values in keys.items()} for operator, keys in statement.get("Condition", {}).items()
        }
        statements.append((statement["Effect"], listed(statement["Action"]), listed(statement["Resource"]), json.dumps(condition, sort_keys=True)))
    return sorted(statements)


class Judge:
    """Says what policies allow."""

    def __init__(self, *documents):
        self.policies = [iam_evaluator.parse_policy_document(document) for document in documents]

    def speaks_of(self, action: str) -> bool:
        """Whether any statement is about an action at all; what none is about is refused, whatever the request."""
        return any(iam_evaluator._action_matches(action, statement.actions, statement.not_actions) for policy in self.policies for statement in policy)

    def allows(self, action: str, resource: str, **context) -> bool:
        asked = iam_evaluator.EvalContext(
            principal_arn=f"arn:aws:sts::{ACCOUNT}:assumed-role/role/session", principal_type="AssumedRole", principal_account=ACCOUNT,
            action=action, resource_arn=resource, region=REGION, service_context={key.lower(): value for key, value in context.items()},
        )
        return iam_evaluator.evaluate(asked, self.policies).decision == "Allow"


def fitting(statement) -> list:
    """Requests the statement is about: each resource, and the context its conditions want."""
    context = {}
    for keys in statement.get("Condition", {}).values():
        for key, values in keys.items():
            context[key] = [values[0].replace("*", "x")] if key == "aws:TagKeys" else values[0].replace("*", "x")
    return [(resource.replace("*", "x"), context) for resource in statement["Resource"]]


def actions(names) -> set:
    return {action for name in names for statement in ALL_LAYERS[name]["Statement"] for action in statement["Action"]}


class ThePolicies(unittest.TestCase):
    """The roles of every level, as MiniStack made them."""

    @classmethod
    def setUpClass(cls):
        aws = cls.enterClassContext(ministack())
        network = Network(aws, ACCOUNT)
        iam = aws.client("iam", ACCOUNT)
        cls.roles = []

        def levels(file, logical, given, choices, wanted):
            stack = None
            for choice, layers in zip(choices, wanted):
                if stack is None:
                    stack = Stack(aws, ACCOUNT, file.split(".")[0], template(file), **{**given, **choice})
                else:
                    stack.update(**choice)
                policies = role(iam, stack.physical(logical))["policies"]
                own = {name: document for name, document in policies.items() if name not in BESIDES}
                cls.roles.append((f"{file} {' '.join(choice.values())}", layers, own, policies))

        connector = [{"Permissions": level} for level in CONNECTOR]
        levels("connector-ecs.yaml", "TaskRole", of_connector(network), connector, CONNECTOR.values())
        levels("connector-eks.yaml", "ConnectorRole", of_cluster(RoleName="on-eks", AponoToken="x" * 32), connector, CONNECTOR.values())
        member = {"AponoConnectorId": "c1", "ManagementRoleArn": f"arn:aws:iam::{ACCOUNT}:role/apono-management-c1"}
        levels("member-account.yaml", "MemberRole", member, [{"Permissions": level} for level in MEMBER], MEMBER.values())
        names = ("Permissions", "AssignablePermissionSets", "ManageManagementAccount")
        choices = [dict(zip(names, choice)) for choice in MANAGEMENT]
        levels("management-account.yaml", "ManagementRole", of_organization(), choices, MANAGEMENT.values())

    def test_of_every_role_at_every_level_are_the_codes_own(self):
        for who, layers, own, _ in self.roles:
            with self.subTest(who):
                self.assertEqual(set(own), set(layers))
                for name in layers:
                    self.assertEqual(plain(own[name]), plain(ALL_LAYERS[name]), name)

    def test_of_every_role_at_every_level_allow_what_is_listed_and_no_other_operation_of_aws(self):
        session = botocore.session.get_session()
        operations = {
            f"{prefix}:{operation}" for service, prefix in SERVICES.items() for operation in session.get_service_model(service).operation_names
        }
        operations |= actions(ALL_LAYERS)
        judged = set()
        for who, layers, own, _ in self.roles:
            # Whoever has the same policies is allowed the same.
            if tuple(layers) in judged:
                continue
            judged.add(tuple(layers))
            judge, listed = Judge(*own.values()), actions(layers)
            requests = [request for document in own.values() for statement in document["Statement"] for request in fitting(statement)]
            spoken_of = {action for action in operations if judge.speaks_of(action)}
            allowed = {action for action in spoken_of if any(judge.allows(action, resource, **context) for resource, context in requests)}
            with self.subTest(who):
                self.assertEqual(allowed, listed)
            print(f"  {who}: {len(allowed)} actions allowed, {len(operations - allowed)} others refused", file=sys.stderr)

    def test_name_no_action_by_pattern_and_fit_into_a_role(self):
        for who, _, _, policies in self.roles:
            with self.subTest(who):
                for statement in itertools.chain(*(document["Statement"] for document in policies.values())):
                    named = statement["Action"] if isinstance(statement["Action"], list) else [statement["Action"]]
                    self.assertFalse([action for action in named if "*" in action or "?" in action])
                    self.assertNotIn("NotAction", statement)
                    self.assertNotIn("NotResource", statement)
                # AWS takes 10,240 characters in all inline policies of a role, blanks not counted.
                size = sum(len(json.dumps(document, separators=(",", ":"))) for document in policies.values())
                self.assertLessEqual(size, 10_240)
                print(f"  {who}: {size} of 10,240 characters", file=sys.stderr)


class TheirBorders(unittest.TestCase):
    """Neighbours of what is allowed, by resource, tag and condition."""

    def judge(self, layers) -> Judge:
        return Judge(*(ALL_LAYERS[name] for name in layers))

    def expect(self, judge: Judge, allowed: bool, action: str, resource: str, **context) -> None:
        with self.subTest(action=action, resource=resource, **context):
            self.assertEqual(judge.allows(action, resource, **context), allowed)

    def test_roles_are_assumed_by_name_and_sessions_are_the_connectors_own(self):
        judge = self.judge(CONNECTOR["None"])
        ours = "arn:aws:iam::222222222222:role/apono-management-c1"
        self.expect(judge, True, "sts:AssumeRole", ours)
        self.expect(judge, False, "sts:AssumeRole", "arn:aws:iam::222222222222:role/OrganizationAccountAccessRole")
        self.expect(judge, False, "sts:AssumeRole", "arn:aws:iam::222222222222:role/team/apono-management-c1")
        self.expect(judge, True, "sts:TagSession", ours, **{"aws:RequestTag/apono-connector": "c1"})
        self.expect(judge, False, "sts:TagSession", ours, **{"aws:RequestTag/apono-connector": "c2"})
        self.expect(judge, False, "sts:SetSourceIdentity", ours, **{"sts:SourceIdentity": "alice"})
        self.expect(judge, False, "sts:GetFederationToken", "*")

    def test_secrets_and_keys_are_those_with_the_tag_and_databases_those_of_the_user(self):
        judge = self.judge(CONNECTOR["Databases"])
        secret = f"arn:aws:secretsmanager:{REGION}:{ACCOUNT}:secret:orders-abcdef"
        tag = "aws:ResourceTag/apono-connector-read"
        self.expect(judge, True, "secretsmanager:GetSecretValue", secret, **{tag: "true"})
        self.expect(judge, False, "secretsmanager:GetSecretValue", secret)
        self.expect(judge, False, "secretsmanager:GetSecretValue", secret, **{tag: "false"})
        self.expect(judge, False, "secretsmanager:GetSecretValue", secret.replace(ACCOUNT, "999999999999"), **{tag: "true"})
        self.expect(judge, False, "secretsmanager:PutSecretValue", secret, **{tag: "true"})
        key = f"arn:aws:kms:{REGION}:{ACCOUNT}:key/0123"
        by, tag = {"kms:ViaService": f"secretsmanager.{REGION}.amazonaws.com"}, "aws:ResourceTag/apono-connector-access"
        self.expect(judge, True, "kms:Decrypt", key, **{tag: "true"}, **by)
        self.expect(judge, False, "kms:Decrypt", key, **{tag: "true"})
        self.expect(judge, False, "kms:Decrypt", key, **by)
        self.expect(judge, True, "rds-db:connect", f"arn:aws:rds-db:{REGION}:{ACCOUNT}:dbuser:db-ABC/apono_connector")
        self.expect(judge, False, "rds-db:connect", f"arn:aws:rds-db:{REGION}:{ACCOUNT}:dbuser:db-ABC/postgres")

    def test_users_are_ours_marked_and_bounded(self):
        judge = self.judge(CONNECTOR[FULL])
        ours, theirs = f"arn:aws:iam::{ACCOUNT}:user/apono/alice_apono", f"arn:aws:iam::{ACCOUNT}:user/alice"
        mark, bound = {"aws:RequestTag/apono-connector": "c1"}, {"iam:PermissionsBoundary": BOUNDARY}
        self.expect(judge, True, "iam:CreateUser", ours, **mark, **bound)
        self.expect(judge, False, "iam:CreateUser", ours, **mark)
        self.expect(judge, False, "iam:CreateUser", ours, **bound)
        self.expect(judge, False, "iam:CreateUser", theirs, **mark, **bound)
        self.expect(judge, True, "iam:PutUserPolicy", ours, **bound)
        self.expect(judge, False, "iam:PutUserPolicy", ours)
        self.expect(judge, False, "iam:PutUserPolicy", theirs, **bound)
        self.expect(judge, True, "iam:CreateAccessKey", ours, **{"aws:ResourceTag/apono-connector": "c1"})
        self.expect(judge, False, "iam:CreateAccessKey", ours, **{"aws:ResourceTag/apono-connector": "c2"})
        self.expect(judge, False, "iam:CreateAccessKey", theirs, **{"aws:ResourceTag/apono-connector": "c1"})
        # Taking away hangs on no boundary.
        self.expect(judge, True, "iam:DeleteUserPolicy", ours)
        for action in ("iam:CreateRole", "iam:PutRolePolicy", "iam:PassRole", "iam:DeleteUserPermissionsBoundary", "iam:PutUserPermissionsBoundary"):
            self.expect(judge, False, action, ours, **mark, **bound)

    def test_permission_sets_are_given_by_tag_and_changed_only_where_they_are_ours(self):
        judge = self.judge(MANAGEMENT[(FULL, "Tagged", "false")])
        one = "arn:aws:sso:::permissionSet/ssoins-1/ps-1"
        self.expect(judge, True, "sso:CreateAccountAssignment", one, **{"aws:ResourceTag/apono-connector-access": "true"})
        self.expect(judge, True, "sso:CreateAccountAssignment", one, **{"aws:ResourceTag/apono-connector": "c1"})
        self.expect(judge, False, "sso:CreateAccountAssignment", one)
        self.expect(judge, False, "sso:CreateAccountAssignment", one, **{"aws:ResourceTag/apono-connector": "c2"})
        # Taking away hangs on no tag.
        self.expect(judge, True, "sso:DeleteAccountAssignment", one)
        for action in ("sso:DeletePermissionSet", "sso:PutInlinePolicyToPermissionSet", "sso:AttachManagedPolicyToPermissionSet", "sso:UpdatePermissionSet"):
            self.expect(judge, True, action, one, **{"aws:ResourceTag/apono-connector": "c1"})
            self.expect(judge, False, action, one)
            self.expect(judge, False, action, one, **{"aws:ResourceTag/apono-connector-access": "true"})
        anything = self.judge(MANAGEMENT[("Assign-Permission-Sets", "Any", "false")])
        self.expect(anything, True, "sso:CreateAccountAssignment", one)
        self.expect(anything, False, "sso:PutInlinePolicyToPermissionSet", one, **{"aws:ResourceTag/apono-connector": "c1"})
        reader = self.judge(MANAGEMENT[("Read-Only", "Tagged", "true")])
        self.expect(reader, False, "sso:CreateAccountAssignment", one, **{"aws:ResourceTag/apono-connector-access": "true"})

    def test_the_organization_is_this_one_and_roles_in_its_management_account_are_identity_centers(self):
        judge = self.judge(MANAGEMENT[("Assign-Permission-Sets", "Any", "true")])
        node = "arn:aws:organizations::222222222222:account/{}/333333333333"
        self.expect(judge, True, "organizations:DescribeAccount", node.format("o-k012345a67"))
        self.expect(judge, False, "organizations:DescribeAccount", node.format("o-other00000"))
        for action in ("organizations:MoveAccount", "organizations:RemoveAccountFromOrganization", "organizations:AttachPolicy", "organizations:LeaveOrganization"):
            self.expect(judge, False, action, node.format("o-k012345a67"))
        reserved = f"arn:aws:iam::{ACCOUNT}:role/aws-reserved/sso.amazonaws.com/AWSReservedSSO_ReadOnly_0123"
        self.expect(judge, True, "iam:CreateRole", reserved)
        self.expect(judge, False, "iam:CreateRole", f"arn:aws:iam::{ACCOUNT}:role/admin")
        self.expect(judge, False, "iam:UpdateAssumeRolePolicy", reserved)
        directory = "arn:aws:identitystore:::user/0123"
        self.expect(judge, True, "identitystore:DescribeUser", directory)
        for action in ("identitystore:CreateUser", "identitystore:UpdateUser", "identitystore:CreateGroupMembership", "identitystore:DeleteUser"):
            self.expect(judge, False, action, directory)
        key = "arn:aws:kms:eu-west-1:222222222222:key/0123"
        self.expect(judge, True, "kms:Decrypt", key, **{"kms:ViaService": "sso.eu-west-1.amazonaws.com"})
        self.expect(judge, False, "kms:Decrypt", key, **{"kms:ViaService": "s3.eu-west-1.amazonaws.com"})


if __name__ == "__main__":
    unittest.main()
