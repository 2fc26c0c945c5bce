"""The roles of the templates at work: signed calls to MiniStack, which checks signatures, trust policies, external ids and identity policies.

The connector's own role is trusted by ECS alone, which no emulator plays: here its trust policy is replaced, after it was seen to let nobody else in.
"""

import json
import unittest

from botocore.exceptions import ClientError

from cloudformation import parameters as of_connector
from cloudformation_organization import of_organization
from cloudformation_permissions import ALL_LAYERS
from cloudformation_permissions import MANAGEMENT as LAYERS_OF_MANAGEMENT
from cloudformation_stage import Network, Stack, ministack, moto, template

CONNECTOR, MANAGEMENT, MEMBER = "111111111111", "222222222222", "333333333333"
FULL = "Full-Access (Manage IAM)"
BOUNDARY = "arn:aws:iam::aws:policy/PowerUserAccess"
REFUSALS = {"AccessDenied", "AccessDeniedException", "UnauthorizedOperation"}
SESSION = {"RoleSessionName": "c1", "SourceIdentity": "c1", "Tags": [{"Key": "apono-connector", "Value": "c1"}]}


def trusting(principal: str) -> str:
    return json.dumps({"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Principal": {"AWS": principal}, "Action": ["sts:AssumeRole", "sts:TagSession"]}]})


class TheRolesAtWork(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.aws = cls.enterClassContext(ministack())
        given = of_connector(Network(cls.aws, CONNECTOR), Permissions=FULL, SharedState="false")
        cls.stack = Stack(cls.aws, CONNECTOR, "connector", template("connector-ecs.yaml"), **given)
        cls.own_role = cls.stack.outputs()["AponoConnectorRoleArn"]
        given = of_organization(ConnectorRoleArn=cls.own_role, Permissions=FULL)
        cls.management_role = Stack(cls.aws, MANAGEMENT, "organization", template("management-account.yaml"), **given).outputs()["ManagementAccountRoleArnOutput"]
        given = {"AponoConnectorId": "c1", "ManagementRoleArn": cls.management_role, "Permissions": FULL}
        cls.member_role = Stack(cls.aws, MEMBER, "member", template("member-account.yaml"), **given).outputs()["MemberRoleArn"]
        root = cls.aws.client("sts", CONNECTOR)
        try:
            root.assume_role(RoleArn=cls.own_role, RoleSessionName="somebody")
            raise AssertionError("somebody who is not ECS got the connector's role")
        except ClientError as refused:
            assert refused.response["Error"]["Code"] in REFUSALS, refused
        cls.aws.client("iam", CONNECTOR).update_assume_role_policy(
            RoleName="apono-connector-c1", PolicyDocument=trusting(f"arn:aws:iam::{CONNECTOR}:root")
        )
        cls.connector = root.assume_role(RoleArn=cls.own_role, RoleSessionName="task")["Credentials"]

    def enter(self, who, arn: str, **how):
        return self.aws.client_of("sts", who).assume_role(RoleArn=arn, **SESSION, **how)["Credentials"]

    def refused(self, call, **arguments) -> None:
        with self.subTest(call=call.__name__, **arguments):
            with self.assertRaises(ClientError) as error:
                call(**arguments)
            self.assertIn(error.exception.response["Error"]["Code"], REFUSALS)

    def in_the_member_account(self):
        management = self.enter(self.connector, self.management_role, ExternalId="c1")
        return self.enter(management, self.member_role, ExternalId="c1")

    def test_the_connector_enters_the_management_account_and_from_there_the_member_account(self):
        member = self.in_the_member_account()
        caller = self.aws.client_of("sts", member).get_caller_identity()
        self.assertEqual(caller["Arn"], f"arn:aws:sts::{MEMBER}:assumed-role/apono-member-c1/c1")

    def test_nobody_enters_without_the_external_id_or_past_the_management_account(self):
        self.refused(self.enter, who=self.connector, arn=self.management_role)
        self.refused(self.enter, who=self.connector, arn=self.management_role, ExternalId="c2")
        self.refused(self.enter, who=self.connector, arn=self.member_role, ExternalId="c1")
        management = self.enter(self.connector, self.management_role, ExternalId="c1")
        self.refused(self.enter, who=management, arn=self.member_role)
        self.refused(self.enter, who=management, arn=self.member_role, ExternalId="c2")

    def test_nobody_else_enters_whatever_he_is_allowed(self):
        anything = json.dumps({"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "sts:*", "Resource": "*"}]})
        for account, arn in ((CONNECTOR, self.management_role), (MANAGEMENT, self.member_role), (MEMBER, self.member_role)):
            iam = self.aws.client("iam", account)
            iam.create_user(UserName="mallory")
            iam.put_user_policy(UserName="mallory", PolicyName="anything", PolicyDocument=anything)
            key = iam.create_access_key(UserName="mallory")["AccessKey"]
            self.refused(self.enter, who=key, arn=arn, ExternalId="c1")

    def test_a_role_that_is_not_named_for_it_is_not_entered_though_it_trusts(self):
        iam = self.aws.client("iam", MEMBER)
        for name in ("admin", "apono-open"):
            iam.create_role(RoleName=name, AssumeRolePolicyDocument=trusting(self.own_role))
        self.refused(self.enter, who=self.connector, arn=f"arn:aws:iam::{MEMBER}:role/admin")
        self.enter(self.connector, f"arn:aws:iam::{MEMBER}:role/apono-open")

    def test_in_an_account_the_connector_reads_and_does_not_change(self):
        for account, who in ((CONNECTOR, self.connector), (MEMBER, self.in_the_member_account())):
            client = {name: self.aws.client_of(name, who) for name in ("iam", "rds", "resourcegroupstaggingapi", "s3", "ec2", "secretsmanager", "kms", "ecs", "sts")}
            iam, rds = client["iam"], client["rds"]
            for call in (iam.list_roles, iam.list_groups, iam.list_policies, iam.get_account_authorization_details, client["resourcegroupstaggingapi"].get_resources):
                with self.subTest(account=account, call=call.__name__):
                    call()
            # By name: AWS asks for `db:*` in a list, MiniStack for `*`, which nobody is given.
            with self.assertRaises(rds.exceptions.DBInstanceNotFoundFault):
                rds.describe_db_instances(DBInstanceIdentifier="nothing")
            with self.assertRaises(rds.exceptions.DBClusterNotFoundFault):
                rds.describe_db_clusters(DBClusterIdentifier="nothing")
            self.refused(iam.create_role, RoleName="apono-mine", AssumeRolePolicyDocument=trusting("*"))
            self.refused(iam.put_role_policy, RoleName="apono-member-c1", PolicyName="more", PolicyDocument=trusting("*"))
            self.refused(iam.update_assume_role_policy, RoleName="apono-member-c1", PolicyDocument=trusting("*"))
            self.refused(iam.attach_role_policy, RoleName="apono-member-c1", PolicyArn="arn:aws:iam::aws:policy/AdministratorAccess")
            self.refused(iam.list_users)
            self.refused(rds.delete_db_instance, DBInstanceIdentifier="orders", SkipFinalSnapshot=True)
            self.refused(client["s3"].list_buckets)
            self.refused(client["ec2"].describe_instances)
            self.refused(client["secretsmanager"].list_secrets)
            self.refused(client["kms"].list_keys)
            self.refused(client["ecs"].list_clusters)

    def test_only_secrets_with_the_tag_are_read(self):
        for account, who in ((CONNECTOR, self.connector), (MEMBER, self.in_the_member_account())):
            secrets = self.aws.client("secretsmanager", account)
            mine = self.aws.client_of("secretsmanager", who)
            marked = secrets.create_secret(Name="marked", SecretString="s", Tags=[{"Key": "apono-connector-read", "Value": "true"}])["ARN"]
            unmarked = secrets.create_secret(Name="unmarked", SecretString="s")["ARN"]
            denied = secrets.create_secret(Name="denied", SecretString="s", Tags=[{"Key": "apono-connector-read", "Value": "false"}])["ARN"]
            self.assertEqual(mine.get_secret_value(SecretId=marked)["SecretString"], "s")
            self.refused(mine.get_secret_value, SecretId=unmarked)
            self.refused(mine.get_secret_value, SecretId=denied)
            self.refused(mine.put_secret_value, SecretId=marked, SecretString="t")
            # Why it may not be read can be told.
            mine.describe_secret(SecretId=unmarked)
        # Not even its own token.
        self.refused(self.aws.client_of("secretsmanager", self.connector).get_secret_value, SecretId=self.stack.outputs()["TokenSecretArn"])

    def test_nobody_elses_users_are_touched(self):
        # Only what is refused: MiniStack tells policies neither the path nor the boundary of a user, so here nobody is ever one of ours.
        # What is allowed on ours is in cloudformation_permissions.py.
        for account, who in ((CONNECTOR, self.connector), (MEMBER, self.in_the_member_account())):
            iam, root = self.aws.client_of("iam", who), self.aws.client("iam", account)
            root.create_user(UserName="bob", Tags=[{"Key": "apono-connector", "Value": "c1"}])
            key = root.create_access_key(UserName="bob")["AccessKey"]["AccessKeyId"]
            self.assertEqual(iam.get_user(UserName="bob")["User"]["UserName"], "bob")
            self.refused(iam.create_user, UserName="eve", PermissionsBoundary=BOUNDARY, Tags=[{"Key": "apono-connector", "Value": "c1"}])
            self.refused(iam.tag_user, UserName="bob", Tags=[{"Key": "apono-grant:1", "Value": "x"}])
            self.refused(iam.create_access_key, UserName="bob")
            self.refused(iam.delete_access_key, UserName="bob", AccessKeyId=key)
            self.refused(iam.create_login_profile, UserName="bob", Password="a-long-Password-1")
            self.refused(iam.put_user_policy, UserName="bob", PolicyName="apono-grant-1", PolicyDocument=trusting("*"))
            self.refused(iam.attach_user_policy, UserName="bob", PolicyArn="arn:aws:iam::aws:policy/AdministratorAccess")
            self.refused(iam.put_user_permissions_boundary, UserName="bob", PermissionsBoundary="arn:aws:iam::aws:policy/AdministratorAccess")
            self.refused(iam.delete_user_permissions_boundary, UserName="bob")
            self.refused(iam.delete_user, UserName="bob")

    def test_what_a_lower_level_has_not_is_refused(self):
        levels = ("None", "Read-Only", "Databases")
        root = self.aws.client("sts", CONNECTOR)
        secret = self.aws.client("secretsmanager", CONNECTOR).create_secret(
            Name="by-level", SecretString="s", Tags=[{"Key": "apono-connector-read", "Value": "true"}]
        )["ARN"]
        given = of_connector(Network(self.aws, CONNECTOR), AponoConnectorId="lower", Permissions=FULL, SharedState="false")
        stack = Stack(self.aws, CONNECTOR, "lower", template("connector-ecs.yaml"), **given)
        for level in levels:
            stack.update(Permissions=level)
            self.aws.client("iam", CONNECTOR).update_assume_role_policy(
                RoleName="apono-connector-lower", PolicyDocument=trusting(f"arn:aws:iam::{CONNECTOR}:root")
            )
            who = root.assume_role(RoleArn=stack.outputs()["AponoConnectorRoleArn"], RoleSessionName="task")["Credentials"]
            iam, secrets = self.aws.client_of("iam", who), self.aws.client_of("secretsmanager", who)
            if level == "None":
                self.refused(iam.list_roles)
            else:
                iam.list_roles()
            if level == "Databases":
                secrets.get_secret_value(SecretId=secret)
            else:
                self.refused(secrets.get_secret_value, SecretId=secret)
            tags = [{"Key": "apono-connector", "Value": "lower"}]
            self.refused(iam.create_user, Path="/apono/", UserName="dave", PermissionsBoundary=BOUNDARY, Tags=tags)


class TheManagementRoleAtMoto(unittest.TestCase):
    """Organizations and Identity Center, which MiniStack does not play. moto checks signatures and identity policies, but takes every request of theirs for one on
    `*` and fills no condition: so only what is allowed on `*` can be seen allowed here. The rest is in cloudformation_permissions.py.
    """

    def test_the_organization_is_read_and_not_changed(self):
        with moto() as aws:
            root = aws.client("organizations", MANAGEMENT, "us-east-1")
            root.create_organization(FeatureSet="ALL")
            member = root.create_account(AccountName="shop", Email="shop@example.com")["CreateAccountStatus"]["AccountId"]
            iam = aws.client("iam", MANAGEMENT)
            arn = iam.create_role(RoleName="apono-management-c1", AssumeRolePolicyDocument=trusting("*"))["Role"]["Arn"]
            for name in LAYERS_OF_MANAGEMENT[(FULL, "Tagged", "false")]:
                iam.put_role_policy(RoleName="apono-management-c1", PolicyName=name, PolicyDocument=json.dumps(ALL_LAYERS[name]))
            who = aws.client("sts", MANAGEMENT).assume_role(RoleArn=arn, RoleSessionName="c1")["Credentials"]
            aws.judge_from_now_on()
            organizations, sso = aws.client_of("organizations", who, "us-east-1"), aws.client_of("sso-admin", who)
            identities, iam = aws.client_of("identitystore", who), aws.client_of("iam", who)
            for call in (organizations.describe_organization, organizations.list_accounts, organizations.list_roots, sso.list_instances):
                with self.subTest(call=call.__name__):
                    call()
            refused = [
                (organizations.create_account, {"AccountName": "mine", "Email": "mine@example.com"}),
                (organizations.close_account, {"AccountId": member}),
                (organizations.move_account, {"AccountId": member, "SourceParentId": "r-1a2b", "DestinationParentId": "ou-1a2b-01234567"}),
                (organizations.create_policy, {"Content": "{}", "Description": "x", "Name": "x", "Type": "SERVICE_CONTROL_POLICY"}),
                (identities.create_user, {"IdentityStoreId": "d-1234567890", "UserName": "eve", "DisplayName": "Eve"}),
                (identities.create_group_membership, {"IdentityStoreId": "d-1234567890", "GroupId": "0" * 36, "MemberId": {"UserId": "0" * 36}}),
                (iam.create_user, {"UserName": "eve"}),
                (iam.create_role, {"RoleName": "mine", "AssumeRolePolicyDocument": trusting("*")}),
            ]
            for call, arguments in refused:
                with self.subTest(call=call.__name__):
                    with self.assertRaises(ClientError) as error:
                        call(**arguments)
                    # moto's refusal has no code in some of its services.
                    self.assertEqual(error.exception.response["ResponseMetadata"]["HTTPStatusCode"], 403)


if __name__ == "__main__":
    unittest.main()
