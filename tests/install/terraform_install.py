"""Installs by Terraform with the real aws provider: examples and modules made, planned again and removed in MiniStack, which checks signatures, trust and policies."""

import json
import shutil
import tomllib
import unittest

import terraform_schema as schema
import terraform_stories as stories
from terraform import TERRAFORM
from terraform_stage import Workspace
from terraform_stories import CONNECTOR, MANAGEMENT, NEXT_TOKEN, TOKEN, Account, Beside, Organization

NOTHING = {"roles": [], "clusters": [], "file systems": [], "log groups": [], "security groups": [], "secrets": []}


def setUpModule():
    stories.begin()


def sendable(document: dict) -> dict:
    """Statements of a policy by Sid."""
    return {statement["Sid"]: statement for statement in document["Statement"]}


def environment(task: dict) -> dict:
    return {entry["name"]: entry["value"] for entry in task["containerDefinitions"][0]["environment"]}


class PlannedAgain(unittest.TestCase):
    # MiniStack does not tell a service's availability_zone_rebalancing; the provider would set it again each time.
    NOT_TOLD = ["availability_zone_rebalancing"]

    def assertNothingToDo(self, changes: dict):
        self.assertEqual({address: change for address, change in changes.items() if not (address.endswith(".aws_ecs_service.this") and change == self.NOT_TOLD)}, {})


class AnAccountInstall(PlannedAgain):
    def setUp(self):
        self.story = stories.told(Account)

    def test_one_apply_makes_it_and_one_destroy_leaves_nothing(self):
        self.assertRegex(self.story.made, r"2[0-9] added, 0 changed, 0 destroyed")
        self.assertRegex(self.story.removed, r"2[0-9] destroyed")
        self.assertEqual(self.story.left, NOTHING)

    def test_a_second_plan_has_nothing_to_do(self):
        self.assertNothingToDo(self.story.again)

    def test_the_token_is_in_its_secret_and_in_no_file_of_terraform(self):
        self.assertEqual((self.story.token, self.story.next_token), (TOKEN, NEXT_TOKEN))
        self.assertEqual(self.story.places_of_tokens, {TOKEN: [], NEXT_TOKEN: []})
        # There was a state to look into.
        self.assertGreater(self.story.state_size, 10_000)

    def test_a_new_token_makes_new_tasks_and_nothing_but_its_version_tells_of_it(self):
        before, after = (task["containerDefinitions"][0]["secrets"] for task in (self.story.task, self.story.next_task))
        self.assertEqual(after[0]["name"], "APONO_TOKEN")
        self.assertTrue(before[0]["valueFrom"].startswith(self.story.secret) and after[0]["valueFrom"].startswith(self.story.secret))
        self.assertNotEqual(before, after)
        self.assertEqual(environment(self.story.task), environment(self.story.next_task))
        self.assertNotIn(TOKEN, json.dumps(self.story.task, default=str))

    def test_two_instances_run_in_the_subnets_and_an_update_starts_new_ones_first(self):
        service = self.story.service
        self.assertEqual((service["launchType"], service["desiredCount"], service["runningCount"]), ("FARGATE", 2, 2))
        deployment = service["deploymentConfiguration"]
        self.assertEqual((deployment["minimumHealthyPercent"], deployment["maximumPercent"]), (100, 200))
        self.assertEqual(deployment["deploymentCircuitBreaker"], {"enable": True, "rollback": True})
        network = service["networkConfiguration"]["awsvpcConfiguration"]
        self.assertEqual((set(network["subnets"]), network["assignPublicIp"]), (set(self.story.network["subnet_ids"]), "DISABLED"))
        self.assertEqual(network["securityGroups"], [self.story.outputs["security_group_id"]])

    def test_the_container_has_its_own_user_a_read_only_root_and_no_capability(self):
        task = self.story.task
        self.assertEqual((task["cpu"], task["memory"], task["requiresCompatibilities"]), ("256", "512", ["FARGATE"]))
        container = task["containerDefinitions"][0]
        self.assertEqual((container["user"], container["readonlyRootFilesystem"]), ("65532:65532", True))
        self.assertEqual(container["linuxParameters"]["capabilities"]["drop"], ["ALL"])
        self.assertEqual(container["healthCheck"]["command"], ["CMD", "/apono-connector", "healthcheck"])
        self.assertEqual(container["logConfiguration"]["options"]["mode"], "non-blocking")
        self.assertFalse({"portMappings", "privileged"} & set(container))

    def test_the_state_folder_is_shared_encrypted_and_the_connectors_alone(self):
        self.assertEqual(environment(self.story.task)["APONO_STATE_SHARED"], "true")
        volume = self.story.task["volumes"][0]["efsVolumeConfiguration"]
        self.assertEqual((volume["transitEncryption"], volume["authorizationConfig"]["iam"]), ("ENABLED", "ENABLED"))
        self.assertEqual(volume["authorizationConfig"]["accessPointId"], self.story.access_point["AccessPointId"])
        self.assertTrue(self.story.file_system["Encrypted"])
        self.assertEqual(self.story.access_point["PosixUser"], {"Uid": 65532, "Gid": 65532})
        self.assertEqual(self.story.access_point["RootDirectory"]["CreationInfo"], {"OwnerUid": 65532, "OwnerGid": 65532, "Permissions": "0700"})
        self.assertEqual({target["SubnetId"] for target in self.story.mount_targets}, set(self.story.network["subnet_ids"]))

    def test_nothing_comes_in_and_the_state_takes_the_connector_alone(self):
        connector, state = self.story.groups["apono-connector-c-1"], self.story.groups["apono-connector-c-1-state"]
        self.assertEqual(connector["IpPermissions"], [])
        ways = [(rule["FromPort"], [pair["GroupId"] for pair in rule["UserIdGroupPairs"]], rule["IpRanges"]) for rule in state["IpPermissions"]]
        self.assertEqual(ways, [(2049, [connector["GroupId"]], [])])
        # MiniStack keeps the rule AWS makes with every group, which the provider takes away: it wants it named in another way.
        out = {(rule["FromPort"], *(held["CidrIp"] for held in rule["IpRanges"])) for rule in connector["IpPermissionsEgress"] if rule["IpProtocol"] != "-1"}
        self.assertEqual(out, {(443, "0.0.0.0/0"), (5432, "10.9.0.0/16"), (2049,)})

    def test_the_role_that_starts_tasks_and_the_connectors_own_are_two_and_narrow(self):
        self.assertEqual(set(self.story.roles), {"apono-execution-c-1", "apono-connector-c-1"})
        self.assertEqual(self.story.outputs["connector_role_arn"], self.story.roles["apono-connector-c-1"]["arn"])
        self.assertEqual((self.story.task["taskRoleArn"], self.story.task["executionRoleArn"]), tuple(self.story.roles[name]["arn"] for name in ("apono-connector-c-1", "apono-execution-c-1")))
        start = sendable(self.story.roles["apono-execution-c-1"]["policies"]["start"])
        self.assertEqual(set(start), {"Log", "Token", "Image", "ImageLogin"})
        self.assertEqual(start["Token"]["Resource"], [self.story.secret])
        self.assertEqual(start["Image"]["Resource"], [f"arn:aws:ecr:eu-west-1:{CONNECTOR}:repository/apono-connector"])
        self.assertEqual(start["Log"]["Resource"], [f"{self.story.outputs['log_group_arn']}:log-stream:*"])
        own = self.story.roles["apono-connector-c-1"]
        self.assertEqual(set(own["policies"]), {"sessions", "account-inventory", "databases", "state"})
        condition = own["trust"]["Statement"][0]["Condition"]
        self.assertEqual(condition["StringEquals"], {"aws:SourceAccount": CONNECTOR})

    def test_limits_and_where_it_runs_reach_the_connector(self):
        held = environment(self.story.task)
        self.assertEqual(tomllib.loads(held["APONO_CONFIG_TEXT"]), {"guardrails": {"longest_grant_s": 28800}})
        self.assertEqual(json.loads(held["CONNECTOR_METADATA"])["account"], CONNECTOR)
        self.assertEqual((held["APONO_CONNECTOR_ID"], held["APONO_URL"]), ("c-1", "api.example.com"))
        self.assertEqual(self.story.logs[0]["retentionInDays"], 365)

    def test_subnets_of_one_zone_or_of_another_vpc_are_refused_before_anything_is_made(self):
        self.assertIn("subnet_ids has two subnets of one availability zone", self.story.wrong_subnets["of one zone"][0])
        self.assertIn("is not in VPC", self.story.wrong_subnets["of another VPC"][0])


class AnOrganizationInstall(PlannedAgain):
    def setUp(self):
        self.story = stories.told(Organization)

    def test_one_apply_makes_it_in_both_accounts_and_one_destroy_leaves_nothing(self):
        self.assertRegex(self.story.made, r"2[0-9] added, 0 changed, 0 destroyed")
        self.assertEqual(set(self.story.connector_roles), {"apono-execution-c-1", "apono-connector-c-1"})
        self.assertEqual(set(self.story.management_roles), {"apono-management-c-1"})
        self.assertEqual(self.story.left, {CONNECTOR: NOTHING, MANAGEMENT: NOTHING})
        self.assertEqual((self.story.left_stack_sets, self.story.refused), ([], []))

    def test_a_second_plan_has_nothing_to_do(self):
        self.assertNothingToDo(self.story.again)

    def test_the_connector_itself_may_do_nothing_but_assume_roles_and_keep_its_state(self):
        self.assertEqual(set(self.story.connector_roles["apono-connector-c-1"]["policies"]), {"sessions", "state"})

    def test_the_management_role_has_the_layers_of_its_level_and_takes_the_connector_alone(self):
        role = self.story.management_roles["apono-management-c-1"]
        self.assertEqual(set(role["policies"]), {"sessions", "organization-read", "assignments", "tagged-permission-sets"})
        self.assertEqual(self.story.outputs["management_role_arn"], role["arn"])
        statement = role["trust"]["Statement"][0]
        self.assertEqual(statement["Principal"], {"AWS": self.story.outputs["connector_role_arn"]})
        self.assertEqual(statement["Action"], ["sts:AssumeRole", "sts:TagSession", "sts:SetSourceIdentity"])
        self.assertEqual(statement["Condition"], {"StringEquals": {"sts:ExternalId": "c-1"}})

    def test_the_stack_set_reaches_every_account_of_the_units_also_later_ones(self):
        held = self.story.stack_set
        self.assertEqual(held["AutoDeployment"], {"Enabled": "true", "RetainStacksOnAccountRemoval": "false"})
        given = {entry["ParameterKey"]: entry["ParameterValue"] for entry in held["Parameters"]}
        self.assertEqual(given["ManagementRoleArn"], self.story.outputs["management_role_arn"])
        self.assertEqual((given["AponoConnectorId"], given["Permissions"]), ("c-1", "Assign-Permission-Sets"))
        self.assertEqual(held["TemplateBody"], (TERRAFORM.parent / "cloudformation" / "member-account.yaml").read_text())
        self.assertEqual([instance["OrganizationalUnitId"] for instance in self.story.stack_instances], ["r-1a2b"])


class EverythingInOneAccount(PlannedAgain):
    def setUp(self):
        self.story = stories.told(Beside)

    def test_a_second_plan_has_nothing_to_do_and_a_destroy_leaves_no_role(self):
        self.assertNothingToDo(self.story.again)
        self.assertEqual(self.story.left, {})

    def test_account_and_organization_installs_of_one_connector_go_into_one_account(self):
        self.assertRegex(self.story.made, r"[45][0-9] added, 0 changed, 0 destroyed")
        expected = {"apono-execution-c-1", "apono-connector-c-1", "apono-management-c-1", "apono-member-c-1", "apono-switched", "apono-execution-c-2", "apono-connector-c-2"}
        self.assertEqual(set(self.story.roles), expected)

    def test_only_the_connector_comes_into_the_management_role_and_only_that_into_the_member_role(self):
        self.assertEqual(
            self.story.entered,
            {
                "management": f"arn:aws:sts::{CONNECTOR}:assumed-role/apono-management-c-1/c-1",
                "management by another external id": "AccessDenied",
                "management without external id": "AccessDenied",
                "management by another account": "AccessDenied",
                "member by the connector": "AccessDenied",
                "member by the management role": f"arn:aws:sts::{CONNECTOR}:assumed-role/apono-member-c-1/c-1",
            },
        )

    def test_the_highest_levels_have_all_layers(self):
        layers = {name: set(role["policies"]) for name, role in self.story.roles.items()}
        self.assertEqual(layers["apono-management-c-1"], {"sessions", "organization-read", "assignments", "any-permission-set", "permission-sets", "management-account"})
        self.assertEqual(layers["apono-member-c-1"], {"account-inventory", "databases", "account-access"})
        self.assertEqual(layers["apono-switched"], {"sessions", "account-inventory", "databases", "account-access"})
        self.assertEqual(layers["apono-connector-c-2"], {"sessions", "account-inventory", "databases"})

    def test_policies_name_this_connector_and_account_and_have_no_placeholder_left(self):
        text = json.dumps(self.story.roles)
        self.assertNotIn("${", text)
        created = sendable(self.story.roles["apono-switched"]["policies"]["account-access"])["NewUsers"]["Condition"]["StringEquals"]
        self.assertEqual(created["aws:RequestTag/apono-connector"], ["c-2"])
        self.assertEqual(created["iam:PermissionsBoundary"], ["arn:aws:iam::aws:policy/PowerUserAccess"])

    def test_every_switch_is_heard(self):
        task, held = self.story.task, environment(self.story.task)
        self.assertEqual((task["cpu"], task["memory"], task["runtimePlatform"]["cpuArchitecture"]), ("1024", "2048", "ARM64"))
        self.assertNotIn("efsVolumeConfiguration", task["volumes"][0])
        self.assertNotIn("APONO_STATE_SHARED", held)
        self.assertEqual((held["HTTPS_PROXY"], held["NO_PROXY"]), ("http://proxy.example.com:3128", ".internal,169.254.170.2,localhost,127.0.0.1"))
        self.assertEqual(tomllib.loads(held["APONO_CONFIG_TEXT"]), {"log": {"format": "json"}, "guardrails": {"longest_grant_s": 3600, "largest_skew_s": 10}})
        container = task["containerDefinitions"][0]
        self.assertEqual(container["repositoryCredentials"], {"credentialsParameter": self.story.secret})
        start = sendable(self.story.roles["apono-execution-c-2"]["policies"]["start"])
        self.assertEqual(set(start), {"Log", "Token", "TokenKey"})
        self.assertEqual(start["TokenKey"]["Resource"], [self.story.key])
        out = {(rule["FromPort"], held["CidrIp"]) for rule in self.story.group["IpPermissionsEgress"] if rule["IpProtocol"] != "-1" for held in rule["IpRanges"]}
        databases = {(port, block) for port in (5432, 6432) for block in ("10.8.0.0/16", "10.9.1.0/24")}
        self.assertEqual(out, {(443, "10.9.0.0/16"), (3128, "10.9.0.0/16")} | databases)

    def test_a_pod_comes_in_by_pod_identity_and_by_its_service_account(self):
        self.assertEqual([(held["namespace"], held["serviceAccount"]) for held in self.story.associations], [("apono-connector", "apono-connector")])
        trust = sendable(self.story.roles["apono-connector-c-2"]["trust"])
        pod = trust["PodIdentity"]
        self.assertEqual((pod["Principal"], pod["Action"]), ({"Service": "pods.eks.amazonaws.com"}, ["sts:AssumeRole", "sts:TagSession"]))
        self.assertEqual(pod["Condition"]["ArnEquals"], {"aws:SourceArn": f"arn:aws:eks:eu-west-1:{CONNECTOR}:cluster/shop"})
        issuer = "oidc.eks.eu-west-1.amazonaws.com/id/ABC"
        expected = {f"{issuer}:aud": "sts.amazonaws.com", f"{issuer}:sub": "system:serviceaccount:apono-connector:apono-connector"}
        self.assertEqual(trust["ServiceAccount"]["Condition"]["StringEquals"], expected)
        self.assertIn(self.story.outputs["eks"]["connector_role_arn"], self.story.outputs["eks"]["helm_values"])


class TheSchemaInTheRepository(unittest.TestCase):
    def test_it_is_what_the_provider_says_of_itself(self):
        with Workspace() as workspace:
            root = workspace.root("member-account")
            root.must("init", "-no-color")
            whole = json.loads(root.must("providers", "schema", "-json"))
            self.assertEqual(schema.extracted(whole, TERRAFORM), json.loads(schema.SCHEMA.read_text()))


# Another Terraform on this machine, such as the oldest that is supported, must find the modules valid too.
if shutil.which("terraform"):

    class AnotherTerraform(unittest.TestCase):
        def test_the_terraform_on_this_machine_finds_the_modules_valid(self):
            command = [shutil.which("terraform")]
            with Workspace() as workspace:
                root = workspace.root("beside", stories.BESIDE)
                version = root.run("version", terraform=command).stdout.splitlines()[0]
                print(f"\n  {version}", end=" ")
                self.assertEqual(root.run("init", "-no-color", terraform=command).returncode, 0)
                self.assertIn("Success! The configuration is valid", root.run("validate", "-no-color", terraform=command).stdout)
