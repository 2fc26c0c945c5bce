"""The templates of an organization: management account, member accounts, the stack set between them, and everything in one account.

MiniStack makes the stacks. It has no stack sets; there the stack set's own properties are handed to moto's API, which makes the role in every account of the unit.
Accounts that join later, and the retries of AWS, are played by nobody: for these the schema that cfn-lint checks is all there is.
"""

import json
import sys
import unittest

from botocore.exceptions import ClientError

from cloudformation import parameters as of_connector
from cloudformation_stage import REGION, Network, Stack, ministack, moto, parsed, role, template

ACCOUNT = "111111111111"
MANAGEMENT = "222222222222"
CONNECTOR_ROLE = f"arn:aws:iam::{ACCOUNT}:role/apono-connector-c1"
ALL_OF_IT = "Full-Access (Manage IAM)"


def of_organization(**changed: str) -> dict:
    least = {"AponoConnectorId": "c1", "ConnectorRoleArn": CONNECTOR_ROLE, "OrganizationId": "o-k012345a67", "OrganizationUnitId": "r-1a2b"}
    return {**least, "DeployMemberRoles": "false", **changed}


def stack_set() -> dict:
    return parsed(template("management-account.yaml"))["Resources"]["MemberRoles"]["Properties"]


def resolved(node, values: dict):
    """A property with its references replaced; the stack set has no other function."""
    if isinstance(node, dict):
        if "Ref" in node:
            return values[node["Ref"]]
        if "Fn::GetAtt" in node:
            return values[".".join(node["Fn::GetAtt"])]
        if "Fn::Sub" in node:
            return node["Fn::Sub"].replace("${AponoConnectorId}", values["AponoConnectorId"])
        return {key: resolved(value, values) for key, value in node.items()}
    return [resolved(value, values) for value in node] if isinstance(node, list) else node


class TheManagementAccount(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.aws = cls.enterClassContext(ministack())
        cls.body = template("management-account.yaml")
        cls.stack = Stack(cls.aws, MANAGEMENT, "organization", cls.body, **of_organization(Permissions=ALL_OF_IT))
        cls.stack.show("management-account.yaml, without the stack set")

    def management_role(self) -> dict:
        return role(self.aws.client("iam", MANAGEMENT), "apono-management-c1")

    def test_only_the_connectors_role_may_assume_the_management_role_and_only_with_the_external_id(self):
        found = self.management_role()
        self.assertEqual(self.stack.outputs()["ManagementAccountRoleArnOutput"], found["arn"])
        statements = found["trust"]["Statement"]
        self.assertEqual(len(statements), 1)
        self.assertEqual(statements[0]["Principal"], {"AWS": CONNECTOR_ROLE})
        self.assertEqual(statements[0]["Condition"], {"StringEquals": {"sts:ExternalId": "c1"}})
        self.assertEqual(set(statements[0]["Action"]), {"sts:AssumeRole", "sts:TagSession", "sts:SetSourceIdentity"})

    def test_each_level_has_what_is_before_it(self):
        levels = {}
        for level in ("Read-Only", "Assign-Permission-Sets", ALL_OF_IT):
            self.stack.update(Permissions=level) if level != self.stack.parameters["Permissions"] else None
            levels[level] = set(self.management_role()["policies"])
        self.assertLess(levels["Read-Only"], levels["Assign-Permission-Sets"])
        self.assertLess(levels["Assign-Permission-Sets"], levels[ALL_OF_IT])
        self.assertNotIn("management-account", levels[ALL_OF_IT])
        self.stack.update(ManageManagementAccount="true")
        self.assertEqual(set(self.management_role()["policies"]) - levels[ALL_OF_IT], {"management-account"})
        self.stack.update(ManageManagementAccount="false")

    def test_deleted_it_leaves_nothing(self):
        stack = Stack(self.aws, MANAGEMENT, "leaving", self.body, **of_organization(AponoConnectorId="leaving"))
        stack.delete()
        iam = self.aws.client("iam", MANAGEMENT)
        with self.assertRaises(iam.exceptions.NoSuchEntityException):
            iam.get_role(RoleName="apono-management-leaving")

    def test_what_cannot_work_is_refused_before_anything_is_made(self):
        wrong = {
            "an organization's id in capitals": {"OrganizationId": "o-K012345A67"},
            "an account for an organization": {"OrganizationId": MANAGEMENT},
            "an account for a unit": {"OrganizationUnitId": MANAGEMENT},
            "a user for the connector's role": {"ConnectorRoleArn": f"arn:aws:iam::{ACCOUNT}:user/alice"},
            "everybody for the connector's role": {"ConnectorRoleArn": "*"},
            "an id with a space": {"AponoConnectorId": "c 1"},
            "a permission of another template": {"Permissions": "Databases"},
            "a delegate that manages the management account": {"CallAs": "DELEGATED_ADMIN", "ManageManagementAccount": "true"},
        }
        for what, changed in wrong.items():
            with self.subTest(what):
                with self.assertRaises(ClientError) as refused:
                    Stack(self.aws, MANAGEMENT, "refused", self.body, **of_organization(**changed))
                self.assertEqual(refused.exception.response["Error"]["Code"], "ValidationError")
                print(f"  refused, {what}: {refused.exception.response['Error']['Message']}", file=sys.stderr)


class TheMemberAccounts(unittest.TestCase):
    def test_the_stack_set_holds_the_members_template_word_for_word(self):
        self.assertEqual(stack_set()["TemplateBody"], template("member-account.yaml"), "run `APONO_REWRITE_PERMISSIONS=1 cargo test --test it install::permissions`")

    def test_the_template_fits_into_a_stack_set_and_gets_only_parameters_it_has(self):
        body = stack_set()["TemplateBody"]
        # The most CloudFormation takes without a bucket.
        self.assertLessEqual(len(body.encode()), 51_200)
        given = {entry["ParameterKey"] for entry in stack_set()["Parameters"]}
        self.assertEqual(given, set(parsed(body)["Parameters"]))

    def test_a_member_role_is_made_changed_and_deleted(self):
        with ministack() as aws:
            management = f"arn:aws:iam::{MANAGEMENT}:role/apono-management-c1"
            given = {"AponoConnectorId": "c1", "ManagementRoleArn": management}
            stack = Stack(aws, ACCOUNT, "member", template("member-account.yaml"), **given)
            stack.show("member-account.yaml")
            iam = aws.client("iam", ACCOUNT)
            found = role(iam, "apono-member-c1")
            self.assertEqual(stack.outputs()["MemberRoleName"], "apono-member-c1")
            self.assertEqual(found["trust"]["Statement"][0]["Principal"], {"AWS": management})
            self.assertEqual(found["trust"]["Statement"][0]["Condition"], {"StringEquals": {"sts:ExternalId": "c1"}})
            self.assertEqual(set(found["policies"]), {"account-inventory"})
            for level in ("Databases", "Assign-Permission-Sets"):
                stack.update(Permissions=level)
                self.assertEqual(set(role(iam, "apono-member-c1")["policies"]), {"account-inventory", "databases"})
            stack.update(Permissions=ALL_OF_IT)
            self.assertEqual(set(role(iam, "apono-member-c1")["policies"]), {"account-inventory", "databases", "account-access"})
            stack.delete()
            with self.assertRaises(iam.exceptions.NoSuchEntityException):
                iam.get_role(RoleName="apono-member-c1")

    def test_the_stack_set_as_written_makes_the_role_in_every_account_of_the_unit(self):
        with moto() as aws:
            organizations = aws.client("organizations", MANAGEMENT, "us-east-1")
            organizations.create_organization(FeatureSet="ALL")
            root = organizations.list_roots()["Roots"][0]["Id"]
            unit = organizations.create_organizational_unit(ParentId=root, Name="Production")["OrganizationalUnit"]["Id"]
            members = [organizations.create_account(AccountName=name, Email=f"{name}@example.com")["CreateAccountStatus"]["AccountId"] for name in ("shop", "warehouse")]
            for member in members:
                organizations.move_account(AccountId=member, SourceParentId=root, DestinationParentId=unit)
            management = f"arn:aws:iam::{MANAGEMENT}:role/apono-management-c1"
            values = {
                "AponoConnectorId": "c1", "CallAs": "SELF", "OrganizationUnitId": unit, "AWS::Region": REGION, "Permissions": ALL_OF_IT,
                "DatabaseUser": "apono_connector", "UserBoundaryArn": "arn:aws:iam::aws:policy/PowerUserAccess",
                "ManagementRole.Arn": management, "FailureTolerancePercentage": 10,
            }
            properties = resolved(stack_set(), values)
            # One property of the template makes instances, the others are the API's own names.
            groups, preferences = properties.pop("StackInstancesGroup"), properties.pop("OperationPreferences")
            cloudformation = aws.client("cloudformation", MANAGEMENT)
            cloudformation.create_stack_set(**properties)
            for group in groups:
                targets = {"StackSetName": properties["StackSetName"], "CallAs": properties["CallAs"], "OperationPreferences": preferences}
                cloudformation.create_stack_instances(**targets, DeploymentTargets=group["DeploymentTargets"], Regions=group["Regions"])
            for member in members:
                found = role(self.member(aws, member), "apono-member-c1")
                self.assertEqual(found["arn"], f"arn:aws:iam::{member}:role/apono-member-c1")
                self.assertEqual(found["trust"]["Statement"][0]["Principal"], {"AWS": management})
                self.assertEqual(set(found["policies"]), {"account-inventory", "databases", "account-access"})
                self.assertIn(f"arn:aws:iam::{member}:user/apono/*", json.dumps(found["policies"]))

    def member(self, aws, account: str):
        """moto lets anybody assume any role; that alone selects the account."""
        sts = aws.client("sts", MANAGEMENT)
        entered = sts.assume_role(RoleArn=f"arn:aws:iam::{account}:role/OrganizationAccountAccessRole", RoleSessionName="test")
        return aws.client_of("iam", entered["Credentials"])


class EverythingInOneAccount(unittest.TestCase):
    def test_two_connectors_with_everything_they_can_have_do_not_meet(self):
        with ministack() as aws:
            network = Network(aws, ACCOUNT)
            stacks = []
            for connector in ("c1", "c2"):
                own = Stack(
                    aws, ACCOUNT, f"connector-{connector}", template("connector-ecs.yaml"),
                    **of_connector(network, AponoConnectorId=connector, Permissions=ALL_OF_IT, NotificationEmail="ops@example.com"),
                )
                arn = own.outputs()["AponoConnectorRoleArn"]
                given = of_organization(AponoConnectorId=connector, ConnectorRoleArn=arn, Permissions=ALL_OF_IT)
                organization = Stack(aws, ACCOUNT, f"organization-{connector}", template("management-account.yaml"), **given)
                management = organization.outputs()["ManagementAccountRoleArnOutput"]
                given = {"AponoConnectorId": connector, "ManagementRoleArn": management, "Permissions": ALL_OF_IT}
                stacks += [own, organization, Stack(aws, ACCOUNT, f"member-{connector}", template("member-account.yaml"), **given)]
            made = [(resource["ResourceType"], resource["PhysicalResourceId"]) for stack in stacks for resource in stack.resources().values()]
            # MiniStack would let a second role of the same name take the place of the first, so the names themselves are compared.
            self.assertEqual(len(made), len(set(made)))
            roles = sorted(name for kind, name in made if kind == "AWS::IAM::Role" and name.startswith("apono-"))
            self.assertEqual(roles, sorted(f"apono-{what}-{connector}" for what in ("connector", "management", "member") for connector in ("c1", "c2")))
            # The other way round: one goes, and the other stays whole.
            for stack in reversed(stacks[:3]):
                stack.delete()
            left = [found["RoleName"] for found in aws.client("iam", ACCOUNT).list_roles()["Roles"] if found["RoleName"].startswith("apono-")]
            self.assertEqual(sorted(left), ["apono-connector-c2", "apono-management-c2", "apono-member-c2"])


if __name__ == "__main__":
    unittest.main()
