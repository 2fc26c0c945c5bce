"""The CloudFormation templates, made, changed and deleted in MiniStack, which checks signatures, parameters, rules and policies.

Run by scripts/check-cloudformation.sh. What MiniStack does not play (stack sets, associations of EKS) is in cloudformation_organization.py and
cloudformation_eks.py, each by other means.
"""

import json
import sys
import tomllib
import unittest

from botocore.exceptions import ClientError

from cloudformation_stage import Network, Stack, ministack, parsed, role, template

ACCOUNT = "111111111111"
TOKEN = "0123456789abcdefghijklmnopqrstuv"
IMAGE = "registry.example.com/apono-connector:1.0.0"


def parameters(network: Network, **changed: str) -> dict:
    """What has no default, and what a test wants otherwise."""
    least = {
        "AponoConnectorId": "c1",
        "AponoUrl": "api.example.com",
        "AponoToken": TOKEN,
        "VpcId": network.vpc,
        "SubnetIds": ",".join(network.subnets[:2]),
        "DatabaseCidr": "10.0.0.0/16",
        "Image": IMAGE,
    }
    return {**least, **changed}


class TheConnectorOnEcs(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.aws = cls.enterClassContext(ministack())
        cls.network = Network(cls.aws, ACCOUNT)
        cls.body = template("connector-ecs.yaml")
        cls.stack = Stack(cls.aws, ACCOUNT, "connector", cls.body, **parameters(cls.network, NotificationEmail="ops@example.com"))
        cls.stack.show("connector-ecs.yaml")
        cls.outputs = cls.stack.outputs()

    def task(self, stack: Stack) -> dict:
        """The task definition as MiniStack keeps it: the properties of the container, and the volumes, in the spelling of the template."""
        arn = stack.physical("TaskDefinition")
        return self.aws.raw(ACCOUNT, "AmazonEC2ContainerServiceV20141113.DescribeTaskDefinition", {"taskDefinition": arn})["taskDefinition"]

    def service(self, stack: Stack) -> dict:
        ecs = self.aws.client("ecs", ACCOUNT)
        outputs = stack.outputs()
        return ecs.describe_services(cluster=outputs["ClusterName"], services=[outputs["ServiceName"]])["services"][0]

    def role_of(self, stack: Stack, logical: str) -> dict:
        return role(self.aws.client("iam", ACCOUNT), stack.physical(logical))

    def test_two_instances_run_in_the_subnets_and_an_update_starts_new_ones_first(self):
        service = self.service(self.stack)
        self.assertEqual((service["launchType"], service["desiredCount"], service["runningCount"]), ("FARGATE", 2, 2))
        deployment = service["deploymentConfiguration"]
        self.assertEqual((deployment["minimumHealthyPercent"], deployment["maximumPercent"]), (100, 200))
        self.assertEqual(deployment["deploymentCircuitBreaker"], {"enable": True, "rollback": True})
        network = service["networkConfiguration"]["awsvpcConfiguration"]
        self.assertEqual((network["subnets"], network["assignPublicIp"]), (self.network.subnets[:2], "DISABLED"))
        task = self.task(self.stack)
        self.assertEqual((task["cpu"], task["memory"], task["networkMode"]), ("256", "512", "awsvpc"))

    def test_the_token_is_in_its_secret_and_nowhere_else(self):
        container = self.task(self.stack)["containerDefinitions"][0]
        secret = self.outputs["TokenSecretArn"]
        self.assertEqual(container["secrets"], [{"Name": "APONO_TOKEN", "ValueFrom": secret}])
        self.assertEqual(self.aws.client("secretsmanager", ACCOUNT).get_secret_value(SecretId=secret)["SecretString"], TOKEN)
        shown = [self.task(self.stack), self.stack.description(), self.service(self.stack), self.stack.client.describe_stack_events(StackName="connector")]
        for text in shown:
            self.assertNotIn(TOKEN, json.dumps(text, default=str))

    def test_a_role_starts_the_tasks_and_another_is_the_connectors(self):
        task = self.task(self.stack)
        starter, connector = self.role_of(self.stack, "ExecutionRole"), self.role_of(self.stack, "TaskRole")
        self.assertEqual((task["executionRoleArn"], task["taskRoleArn"]), (starter["arn"], connector["arn"]))
        self.assertNotEqual(starter["arn"], connector["arn"])
        self.assertEqual(connector["arn"], f"arn:aws:iam::{ACCOUNT}:role/apono-connector-c1")
        self.assertEqual(connector["arn"], self.outputs["AponoConnectorRoleArn"])
        allowed = {statement["Resource"]: statement["Action"] for policy in starter["policies"].values() for statement in policy["Statement"]}
        logs = f"arn:aws:logs:eu-west-1:{ACCOUNT}:log-group:{self.outputs['LogGroupName']}:log-stream:connector/*"
        self.assertEqual(allowed, {self.outputs["TokenSecretArn"]: "secretsmanager:GetSecretValue", logs: ["logs:CreateLogStream", "logs:PutLogEvents"]})
        # By default the connector may assume roles and reach its own folder.
        self.assertEqual(set(connector["policies"]), {"sessions", "state"})
        condition = connector["trust"]["Statement"][0]["Condition"]
        self.assertEqual(condition["StringEquals"], {"aws:SourceAccount": ACCOUNT})
        self.assertEqual(condition["ArnLike"], {"aws:SourceArn": f"arn:aws:ecs:eu-west-1:{ACCOUNT}:*"})

    def test_the_container_can_do_nothing_but_run_the_connector(self):
        container = self.task(self.stack)["containerDefinitions"][0]
        self.assertEqual((container["image"], container["user"], container["readonlyRootFilesystem"]), (IMAGE, "65532:65532", True))
        self.assertEqual(container["linuxParameters"], {"Capabilities": {"Drop": ["ALL"]}, "InitProcessEnabled": False})
        self.assertEqual(container["healthCheck"]["Command"], ["CMD", "/apono-connector", "healthcheck"])
        self.assertNotIn("privileged", container)
        self.assertNotIn("portMappings", container)
        # Logs that are not taken must not hold up an end.
        self.assertEqual(container["logConfiguration"]["options"]["mode"], "non-blocking")

    def test_limits_and_further_configuration_become_one_file(self):
        more = '[log]\nformat = "json"'
        stack = Stack(
            self.aws, ACCOUNT, "limits", self.body,
            **parameters(self.network, AponoConnectorId="limits", LongestGrantSeconds="3600", LargestSkewSeconds="5", MoreConfiguration=more),
        )
        container = self.task(stack)["containerDefinitions"][0]
        environment = {entry["name"]: entry["value"] for entry in container["environment"]}
        configuration = tomllib.loads(environment["APONO_CONFIG_TEXT"])
        self.assertEqual(configuration, {"log": {"format": "json"}, "guardrails": {"longest_grant_s": 3600, "largest_skew_s": 5}})
        self.assertEqual(json.loads(environment["CONNECTOR_METADATA"])["account"], ACCOUNT)
        self.assertEqual(set(environment) - {"APONO_CONFIG_TEXT", "CONNECTOR_METADATA"}, {
            "APONO_CONNECTOR_ID", "APONO_URL", "APONO_STATE_DIR", "APONO_STATE_SHARED", "AWS_REGION",
        })
        stack.delete()

    def test_the_state_is_encrypted_and_only_the_connector_reaches_it(self):
        efs = self.aws.client("efs", ACCOUNT)
        system = self.outputs["StateFileSystemId"]
        self.assertTrue(efs.describe_file_systems(FileSystemId=system)["FileSystems"][0]["Encrypted"])
        statements = json.loads(efs.describe_file_system_policy(FileSystemId=system)["Policy"])["Statement"]
        self.assertEqual({statement["Effect"] for statement in statements}, {"Deny"})
        targets = efs.describe_mount_targets(FileSystemId=system)["MountTargets"]
        self.assertEqual({target["SubnetId"] for target in targets}, set(self.network.subnets[:2]))
        point = efs.describe_access_points(FileSystemId=system)["AccessPoints"][0]
        self.assertEqual((point["PosixUser"]["Uid"], point["RootDirectory"]["Path"]), (65532, "/state"))
        owner = point["RootDirectory"]["CreationInfo"]
        self.assertEqual((owner["OwnerUid"], owner["OwnerGid"], owner["Permissions"]), (65532, 65532, "0700"))
        volume = self.task(self.stack)["volumes"][0]["EFSVolumeConfiguration"]
        self.assertEqual(volume["TransitEncryption"], "ENABLED")
        self.assertEqual(volume["AuthorizationConfig"], {"AccessPointId": point["AccessPointId"], "IAM": "ENABLED"})
        allowed = self.role_of(self.stack, "TaskRole")["policies"]["state"]["Statement"][0]
        self.assertEqual(allowed["Condition"], {"StringEquals": {"elasticfilesystem:AccessPointArn": point["AccessPointArn"]}})

    def test_nothing_comes_in_and_only_what_is_needed_goes_out(self):
        groups = self.service(self.stack)["networkConfiguration"]["awsvpcConfiguration"]["securityGroups"]
        self.assertEqual(groups[0], self.outputs["SecurityGroupId"])
        ec2 = self.aws.client("ec2", ACCOUNT)
        state = self.stack.physical("StateSecurityGroup")
        found = {group["GroupId"]: group for group in ec2.describe_security_groups(GroupIds=[*groups, state])["SecurityGroups"]}

        def ports(rules):
            return sorted((rule["FromPort"], rule["ToPort"]) for rule in rules)

        for group in groups:
            self.assertEqual(found[group]["IpPermissions"], [])
        ways_out = [rule for group in groups for rule in found[group]["IpPermissionsEgress"]]
        self.assertEqual(ports(ways_out), [(443, 443), (2049, 2049), (5432, 5432)])
        inward = found[state]["IpPermissions"]
        self.assertEqual(ports(inward), [(2049, 2049)])
        self.assertEqual([pair["GroupId"] for rule in inward for pair in rule["UserIdGroupPairs"]], [groups[0]])

    def test_messages_are_encrypted_and_match_the_events_of_this_stack_alone(self):
        topic = self.outputs["NotificationTopicArn"]
        attributes = self.aws.client("sns", ACCOUNT).get_topic_attributes(TopicArn=topic)["Attributes"]
        # MiniStack does not keep the key of a topic, so here the template is asked, and the key.
        self.assertEqual(parsed(self.body)["Resources"]["Topic"]["Properties"]["KmsMasterKeyId"], {"Fn::If": ["OwnKey", {"Ref": "KmsKeyArn"}, {"Ref": "NotificationKey"}]})
        policy = self.aws.client("kms", ACCOUNT).get_key_policy(KeyId=self.stack.physical("NotificationKey"), PolicyName="default")["Policy"]
        self.assertEqual(json.loads(policy)["Statement"][1]["Principal"], {"Service": "events.amazonaws.com"})
        self.assertEqual(json.loads(attributes["Policy"])["Statement"][0]["Principal"], {"Service": "events.amazonaws.com"})
        events = self.aws.client("events", ACCOUNT)
        identifier = self.stack.description()["StackId"]

        def matches(logical: str, source: str, kind: str, resources: list, detail: dict) -> bool:
            pattern = events.describe_rule(Name=self.stack.physical(logical))["EventPattern"]
            event = {
                "id": "1", "account": ACCOUNT, "region": "eu-west-1", "time": "2026-01-01T00:00:00Z",
                "source": source, "detail-type": kind, "resources": resources, "detail": detail,
            }
            return events.test_event_pattern(EventPattern=pattern, Event=json.dumps(event))["Result"]

        def of_a_stack(stack: str, status: str) -> bool:
            detail = {"stack-id": stack, "status-details": {"status": status, "status-reason": ""}}
            return matches("StackEvents", "aws.cloudformation", "CloudFormation Stack Status Change", [stack], detail)

        self.assertTrue(of_a_stack(identifier, "CREATE_COMPLETE"))
        self.assertTrue(of_a_stack(identifier, "UPDATE_ROLLBACK_COMPLETE"))
        self.assertFalse(of_a_stack(identifier, "UPDATE_IN_PROGRESS"))
        self.assertFalse(of_a_stack(identifier + "-of-somebody-else", "CREATE_COMPLETE"))

        def of_a_service(arn: str, severity: str) -> bool:
            detail = {"eventType": severity, "eventName": "SERVICE_DEPLOYMENT_FAILED", "reason": "tasks failed to start"}
            return matches("ServiceEvents", "aws.ecs", "ECS Deployment State Change", [arn], detail)

        service = self.service(self.stack)["serviceArn"]
        self.assertTrue(of_a_service(service, "ERROR"))
        self.assertFalse(of_a_service(service, "INFO"))
        self.assertFalse(of_a_service(service + "-of-somebody-else", "ERROR"))
        target = events.list_targets_by_rule(Rule=self.stack.physical("StackEvents"))["Targets"][0]
        self.assertEqual(target["Arn"], topic)
        message = json.loads(target["InputTransformer"]["InputTemplate"])
        self.assertIn(f"AponoConnectorRoleArn is arn:aws:iam::{ACCOUNT}:role/apono-connector-c1", message)

    def test_another_image_and_number_are_an_update_and_nothing_else_is_made_anew(self):
        stack = Stack(self.aws, ACCOUNT, "changing", self.body, **parameters(self.network, AponoConnectorId="changing"))
        before = {logical: resource["PhysicalResourceId"] for logical, resource in stack.resources().items()}
        image = IMAGE.replace("1.0.0", "1.0.1")
        stack.update(Image=image, NumberOfInstances="3")
        after = {logical: resource["PhysicalResourceId"] for logical, resource in stack.resources().items()}
        self.assertEqual({logical for logical in before if before[logical] != after[logical]}, {"TaskDefinition"})
        service = self.service(stack)
        self.assertEqual((service["taskDefinition"], service["desiredCount"]), (after["TaskDefinition"], 3))
        self.assertEqual(self.task(stack)["containerDefinitions"][0]["image"], image)
        stack.update(Permissions="Databases")
        self.assertEqual(set(self.role_of(stack, "TaskRole")["policies"]), {"sessions", "account-inventory", "databases", "state"})
        stack.delete()

    def test_deleted_it_leaves_its_state_and_its_logs_and_nothing_else(self):
        stack = Stack(self.aws, ACCOUNT, "leaving", self.body, **parameters(self.network, AponoConnectorId="leaving", NotificationEmail="ops@example.com"))
        outputs, left = stack.outputs(), {}
        names = {logical: resource["PhysicalResourceId"] for logical, resource in stack.resources().items()}
        stack.delete()
        iam = self.aws.client("iam", ACCOUNT)
        for name in (names["TaskRole"], names["ExecutionRole"]):
            with self.assertRaises(iam.exceptions.NoSuchEntityException):
                iam.get_role(RoleName=name)
        secrets = self.aws.client("secretsmanager", ACCOUNT)
        with self.assertRaises(secrets.exceptions.ResourceNotFoundException):
            secrets.get_secret_value(SecretId=outputs["TokenSecretArn"])
        services = self.aws.client("ecs", ACCOUNT).describe_clusters(clusters=[outputs["ClusterName"]])["clusters"]
        self.assertNotIn("ACTIVE", [cluster["status"] for cluster in services])
        groups = self.aws.client("ec2", ACCOUNT).describe_security_groups()["SecurityGroups"]
        self.assertNotIn(names["SecurityGroup"], [group["GroupId"] for group in groups])
        topics = self.aws.client("sns", ACCOUNT).list_topics()["Topics"]
        self.assertNotIn(names["Topic"], [topic["TopicArn"] for topic in topics])
        left["state"] = self.aws.client("efs", ACCOUNT).describe_file_systems(FileSystemId=outputs["StateFileSystemId"])["FileSystems"]
        left["logs"] = self.aws.client("logs", ACCOUNT).describe_log_groups(logGroupNamePrefix=outputs["LogGroupName"])["logGroups"]
        self.assertEqual({kind: len(found) for kind, found in left.items()}, {"state": 1, "logs": 1})

    def test_without_shared_state_the_folder_goes_with_the_task(self):
        stack = Stack(self.aws, ACCOUNT, "alone", self.body, **parameters(self.network, AponoConnectorId="alone", SharedState="false"))
        kinds = {resource["ResourceType"] for resource in stack.resources().values()}
        self.assertFalse([kind for kind in kinds if kind.startswith("AWS::EFS::")])
        task = self.task(stack)
        self.assertEqual(task["volumes"], [{"Name": "state"}])
        self.assertIn({"name": "APONO_STATE_SHARED", "value": "false"}, task["containerDefinitions"][0]["environment"])
        self.assertEqual(set(self.role_of(stack, "TaskRole")["policies"]), {"sessions"})
        stack.delete()

    def test_a_subnet_in_a_zone_that_is_there_already_gets_no_mount_target(self):
        ec2 = self.aws.client("ec2", ACCOUNT)
        second = ec2.create_subnet(VpcId=self.network.vpc, CidrBlock="10.0.9.0/24", AvailabilityZone="eu-west-1a")["Subnet"]["SubnetId"]
        given = parameters(self.network, AponoConnectorId="zones", SubnetIds=",".join(self.network.subnets), MoreSubnetIds=second)
        stack = Stack(self.aws, ACCOUNT, "zones", self.body, **given)
        used = self.service(stack)["networkConfiguration"]["awsvpcConfiguration"]["subnets"]
        self.assertEqual(used, [*self.network.subnets, second])
        targets = self.aws.client("efs", ACCOUNT).describe_mount_targets(FileSystemId=stack.outputs()["StateFileSystemId"])["MountTargets"]
        self.assertEqual({target["SubnetId"] for target in targets}, set(self.network.subnets))
        stack.delete()

    def test_a_secret_of_ones_own_is_used_as_it_is(self):
        secret = self.aws.client("secretsmanager", ACCOUNT).create_secret(Name="my-token", SecretString=TOKEN)["ARN"]
        repository = f"arn:aws:ecr:eu-west-1:{ACCOUNT}:repository/apono-connector"
        given = parameters(
            self.network, AponoConnectorId="own", AponoToken="", ExistingTokenSecretArn=secret, ImageRepositoryArn=repository,
            AdditionalPolicyArns="arn:aws:iam::aws:policy/SecurityAudit", RoleName="connector-of-ours", HttpsProxy="http://proxy.example.com:3128",
        )
        stack = Stack(self.aws, ACCOUNT, "own", self.body, **given)
        self.assertNotIn("Token", stack.resources())
        container = self.task(stack)["containerDefinitions"][0]
        self.assertEqual(container["secrets"], [{"Name": "APONO_TOKEN", "ValueFrom": secret}])
        self.assertIn({"name": "NO_PROXY", "value": "169.254.170.2"}, container["environment"])
        policies = self.role_of(stack, "ExecutionRole")["policies"]
        self.assertEqual(policies["token"]["Statement"][0]["Resource"], secret)
        self.assertEqual(policies["image"]["Statement"][0]["Resource"], repository)
        self.assertEqual(stack.outputs()["AponoConnectorRoleArn"], f"arn:aws:iam::{ACCOUNT}:role/connector-of-ours")
        stack.delete()

    def test_what_cannot_work_is_refused_before_anything_is_made(self):
        secret = f"arn:aws:secretsmanager:eu-west-1:{ACCOUNT}:secret:my-token-abcdef"
        wrong = {
            "a short token": {"AponoToken": "short"},
            "no token at all": {"AponoToken": ""},
            "two tokens": {"ExistingTokenSecretArn": secret},
            "an id with a slash": {"AponoConnectorId": "a/b"},
            "an id that fits into no role name": {"AponoConnectorId": "c" * 41},
            "a control plane without TLS": {"AponoUrl": "http://api.example.com"},
            "memory Fargate does not have for the CPU": {"Memory": "4096"},
            "CPU Fargate does not have for the memory": {"Cpu": "2048"},
            "a subnet of another VPC": {"SubnetIds": self.network.foreign_subnet},
            "no instance": {"NumberOfInstances": "0"},
            "a permission nobody knows": {"Permissions": "Everything"},
            "a proxy with a password": {"HttpsProxy": "http://user:secret@proxy.example.com:3128"},
            "a proxy for the credentials of the role": {"HttpsProxy": "http://proxy.example.com:3128", "NoProxy": "localhost"},
            "a limit below a minute": {"LongestGrantSeconds": "59"},
            "two receivers": {"NotificationEmail": "ops@example.com", "NotificationTopicName": "ops"},
        }
        for what, changed in wrong.items():
            with self.subTest(what):
                with self.assertRaises(ClientError) as refused:
                    Stack(self.aws, ACCOUNT, "refused", self.body, **parameters(self.network, SharedState="false", **changed))
                self.assertEqual(refused.exception.response["Error"]["Code"], "ValidationError")
                print(f"  refused, {what}: {refused.exception.response['Error']['Message']}", file=sys.stderr)


if __name__ == "__main__":
    unittest.main()
