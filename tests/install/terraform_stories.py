"""Plays the installs against emulators, start to end, and keeps what was there at each stage. Never a check: those are in terraform.py."""

import concurrent.futures
import json

from terraform_stack_sets import StackSets
from terraform_stage import REGION, MiniStack, Workspace

CONNECTOR, MANAGEMENT, MEMBER = "111111111111", "222222222222", "333333333333"
TOKEN, NEXT_TOKEN = "first-token-0123456789abcdef", "second-token-0123456789abcdef"
IMAGE = f"{CONNECTOR}.dkr.ecr.{REGION}.amazonaws.com/apono-connector:0.1.0"


def network(aws: MiniStack) -> dict:
    ec2 = aws.client("ec2", CONNECTOR)
    vpc = ec2.create_vpc(CidrBlock="10.9.0.0/16")["Vpc"]["VpcId"]
    subnets = [
        ec2.create_subnet(VpcId=vpc, CidrBlock=f"10.9.{number}.0/24", AvailabilityZone=f"{REGION}{zone}")["Subnet"]["SubnetId"]
        for number, zone in enumerate("ab")
    ]
    return {"vpc_id": vpc, "subnet_ids": subnets}


def roles(aws: MiniStack, account: str) -> dict:
    """Trust policies and inline policies of the roles whose names begin with apono-."""
    iam, found = aws.client("iam", account), {}
    for role in iam.list_roles()["Roles"]:
        name = role["RoleName"]
        if name.startswith("apono-"):
            policies = {policy: iam.get_role_policy(RoleName=name, PolicyName=policy)["PolicyDocument"] for policy in iam.list_role_policies(RoleName=name)["PolicyNames"]}
            found[name] = {"arn": role["Arn"], "trust": role["AssumeRolePolicyDocument"], "policies": policies}
    return found


def trust_of(principal: dict) -> str:
    return json.dumps({"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Principal": principal, "Action": "sts:AssumeRole"}]})


def task(aws: MiniStack, arn: str) -> dict:
    return aws.client("ecs", CONNECTOR).describe_task_definition(taskDefinition=arn)["taskDefinition"]


def service(aws: MiniStack, cluster: str, name: str) -> dict:
    return aws.client("ecs", CONNECTOR).describe_services(cluster=cluster, services=[name])["services"][0]


def what_is_there(aws: MiniStack, account: str) -> dict:
    """Everything the modules may make, by kind: what is left after an end."""
    groups = aws.client("ec2", account).describe_security_groups()["SecurityGroups"]
    secrets = aws.client("secretsmanager", account).list_secrets()["SecretList"]
    return {
        "roles": sorted(roles(aws, account)),
        "clusters": aws.client("ecs", account).list_clusters()["clusterArns"],
        "file systems": [held["FileSystemId"] for held in aws.client("efs", account).describe_file_systems()["FileSystems"]],
        "log groups": [held["logGroupName"] for held in aws.client("logs", account).describe_log_groups()["logGroups"]],
        "security groups": [held["GroupName"] for held in groups if held["GroupName"].startswith("apono-")],
        "secrets": [held["Name"] for held in secrets if held["Name"].startswith("apono-connector-") and "DeletedDate" not in held],
    }


def places_of(root, text: str) -> list[str]:
    """The files Terraform left in the folder that hold the text, providers and modules aside."""
    return [path.name for path in root.folder.rglob("*") if path.is_file() and ".terraform" not in path.parts and text.encode() in path.read_bytes()]


class Account:
    """The account example: made, planned again, given a new token, removed."""

    def __init__(self):
        with MiniStack() as aws, Workspace() as workspace:
            workspace.point_at(aws.url)
            self.network = network(aws)
            root = workspace.root("examples/account", region=REGION, connector_id="c-1", apono_url="api.example.com", image=IMAGE, **self.network)
            self.made = root.apply(TF_VAR_token=TOKEN)
            self.outputs = root.outputs()
            self.roles = roles(aws, CONNECTOR)
            self.service = service(aws, self.outputs["cluster_arn"], self.outputs["service_name"])
            self.task = task(aws, self.service["taskDefinition"])
            ec2 = aws.client("ec2", CONNECTOR)
            self.groups = {held["GroupName"]: held for held in ec2.describe_security_groups()["SecurityGroups"]}
            self.logs = aws.client("logs", CONNECTOR).describe_log_groups()["logGroups"]
            efs = aws.client("efs", CONNECTOR)
            self.file_system = efs.describe_file_systems()["FileSystems"][0]
            self.access_point = efs.describe_access_points()["AccessPoints"][0]
            self.mount_targets = efs.describe_mount_targets(FileSystemId=self.file_system["FileSystemId"])["MountTargets"]
            secrets = aws.client("secretsmanager", CONNECTOR)
            self.secret = secrets.list_secrets()["SecretList"][0]["ARN"]
            self.token = secrets.get_secret_value(SecretId=self.secret)["SecretString"]
            self.again = root.changes(TF_VAR_token=TOKEN)
            other_vpc = ec2.create_vpc(CidrBlock="10.7.0.0/16")["Vpc"]["VpcId"]
            self.wrong_subnets = {}
            for name, vpc, block in (("of one zone", self.network["vpc_id"], "10.9.9.0/24"), ("of another VPC", other_vpc, "10.7.9.0/24")):
                subnet = ec2.create_subnet(VpcId=vpc, CidrBlock=block, AvailabilityZone=f"{REGION}a")["Subnet"]["SubnetId"]
                subnets = json.dumps([self.network["subnet_ids"][0], subnet])
                self.wrong_subnets[name] = root.problems(f"-var=subnet_ids={subnets}", TF_VAR_token=TOKEN)
            root.summary("apply", "-no-color", "-auto-approve", "-var=token_version=2", TF_VAR_token=NEXT_TOKEN)
            self.next_token = secrets.get_secret_value(SecretId=self.secret)["SecretString"]
            self.next_task = task(aws, service(aws, self.outputs["cluster_arn"], self.outputs["service_name"])["taskDefinition"])
            self.places_of_tokens = {token: places_of(root, token) for token in (TOKEN, NEXT_TOKEN)}
            self.state_size = len(root.state())
            self.removed = root.destroy(TF_VAR_token=NEXT_TOKEN)
            self.left = what_is_there(aws, CONNECTOR)


BESIDE = """
variable "key" {}
variable "entrance" {}

# Made in the same apply as what is put into it, so nothing of them is known when it is planned.
resource "aws_vpc" "new" {
  cidr_block = "10.9.0.0/16"
}
resource "aws_subnet" "new" {
  count             = 2
  vpc_id            = aws_vpc.new.id
  cidr_block        = "10.9.${count.index}.0/24"
  availability_zone = "eu-west-1${["a", "b"][count.index]}"
}
resource "aws_ecs_cluster" "new" {
  name = "shared"
}
resource "aws_secretsmanager_secret" "token" {
  name = "token"
}

# An account install, and the organization's roles of the same id in the same account.
module "connector" {
  source           = "../connector-ecs"
  connector_id     = "c-1"
  apono_url        = "api.example.com"
  image            = "registry.example.com/apono-connector:0.1.0"
  token_secret_arn = aws_secretsmanager_secret.token.arn
  vpc_id           = aws_vpc.new.id
  subnet_ids       = aws_subnet.new[*].id
  create_cluster   = false
  cluster_arn      = aws_ecs_cluster.new.arn
  permissions      = "Databases"
}
module "management" {
  source                     = "../management-account"
  connector_id               = "c-1"
  connector_role_arn         = var.entrance
  organization_id            = "o-k012345a67"
  permissions                = "Full-Access (Manage IAM)"
  manage_management_account  = true
  assignable_permission_sets = "Any"
}
module "member" {
  source              = "../member-account"
  connector_id        = "c-1"
  management_role_arn = module.management.management_role_arn
  permissions         = "Full-Access (Manage IAM)"
}
# Every switch the other way than in the examples.
module "switched" {
  source                = "../connector-ecs"
  connector_id          = "c-2"
  create_cluster        = false
  cluster_arn           = aws_ecs_cluster.new.arn
  apono_url             = "https://api.example.com"
  image                 = "registry.example.com/apono-connector@sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"
  image_pull_secret_arn = aws_secretsmanager_secret.token.arn
  token_secret_arn      = aws_secretsmanager_secret.token.arn
  token_kms_key_arn     = var.key
  kms_key_arn           = var.key
  vpc_id                = aws_vpc.new.id
  subnet_ids            = [aws_subnet.new[0].id]
  https_cidr_blocks     = ["10.9.0.0/16"]
  database_cidr_blocks  = ["10.8.0.0/16", "10.9.1.0/24"]
  database_ports        = [5432, 6432]
  https_proxy           = "http://proxy.example.com:3128"
  no_proxy              = ".internal"
  number_of_instances   = 1
  cpu                   = 1024
  memory                = 2048
  cpu_architecture      = "ARM64"
  persistent_state      = false
  permissions           = "Full-Access (Manage IAM)"
  role_name             = "apono-switched"
  guardrails            = { longest_grant_s = 3600, largest_skew_s = 10 }
  config                = "[log]\\nformat = \\"json\\""
  log_retention_days    = 30
  tags                  = { team = "platform" }
}
module "eks" {
  source            = "../connector-eks"
  connector_id      = "c-2"
  cluster_name      = "shop"
  oidc_provider_arn = "arn:aws:iam::111111111111:oidc-provider/oidc.eks.eu-west-1.amazonaws.com/id/ABC"
  permissions       = "Databases"
}
output "secret" { value = aws_secretsmanager_secret.token.arn }
output "eks" { value = module.eks }
output "switched" { value = module.switched }
output "management_role_arn" { value = module.management.management_role_arn }
output "member_role_arn" { value = module.member.member_role_arn }
"""


class Organization:
    """The organization example: made, planned again, removed."""

    def __init__(self):
        with MiniStack() as aws, StackSets() as stack_sets, Workspace() as workspace:
            workspace.point_at(aws.url, CLOUDFORMATION=stack_sets.url)
            net = network(aws)
            secret = aws.client("secretsmanager", CONNECTOR).create_secret(Name="token", SecretString=TOKEN)["ARN"]
            root = workspace.root(
                "examples/organization",
                region=REGION,
                management_profile="management",
                connector_id="c-1",
                apono_url="api.example.com",
                image=IMAGE,
                token_secret_arn=secret,
                organization_id="o-k012345a67",
                organizational_unit_ids=["r-1a2b"],
                **net,
            )
            self.made = root.apply()
            self.outputs = root.outputs()
            self.again = root.changes()
            self.stack_set = dict(stack_sets.sets["apono-member-c-1"])
            self.stack_instances = list(stack_sets.instances["apono-member-c-1"])
            self.connector_roles, self.management_roles = roles(aws, CONNECTOR), roles(aws, MANAGEMENT)
            self.removed = root.destroy()
            self.left = {account: what_is_there(aws, account) for account in (CONNECTOR, MANAGEMENT)}
            self.left_stack_sets = list(stack_sets.sets)
            self.refused = list(stack_sets.refused)


class Beside:
    """Everything in one account: an account install, the organization's roles of the same id, a connector with every switch the other way, a pod's role."""

    def __init__(self):
        with MiniStack() as aws, Workspace() as workspace:
            workspace.point_at(aws.url)
            net = network(aws)
            iam = aws.client("iam", CONNECTOR)
            self.key = aws.client("kms", CONNECTOR).create_key()["KeyMetadata"]["Arn"]
            shop = iam.create_role(RoleName="shop", AssumeRolePolicyDocument=trust_of({"Service": "eks.amazonaws.com"}))["Role"]["Arn"]
            aws.client("eks", CONNECTOR).create_cluster(name="shop", roleArn=shop, resourcesVpcConfig={"subnetIds": net["subnet_ids"]})
            # Stands for a task of the connector, whose role nobody else can take: it gets the same policies.
            entrance = iam.create_role(RoleName="entrance", AssumeRolePolicyDocument=trust_of({"AWS": f"arn:aws:iam::{CONNECTOR}:root"}))["Role"]["Arn"]
            root = workspace.root("beside", BESIDE, key=self.key, entrance=entrance)
            self.made = root.apply()
            self.outputs = root.outputs()
            self.secret = self.outputs["secret"]
            # What is not of the modules is not looked at.
            self.again = {address: held for address, held in root.changes().items() if address.startswith("module.")}
            self.roles = roles(aws, CONNECTOR)
            self.task = task(aws, self.outputs["switched"]["task_definition_arn"])
            group = self.outputs["switched"]["security_group_id"]
            self.group = aws.client("ec2", CONNECTOR).describe_security_groups(GroupIds=[group])["SecurityGroups"][0]
            self.associations = aws.client("eks", CONNECTOR).list_pod_identity_associations(clusterName="shop")["associations"]
            for name, document in self.roles["apono-connector-c-1"]["policies"].items():
                iam.put_role_policy(RoleName="entrance", PolicyName=name, PolicyDocument=json.dumps(document))
            self.entered = self.chain(aws, entrance)
            self.removed = root.destroy()
            self.left = roles(aws, CONNECTOR)

    def chain(self, aws: MiniStack, entrance: str) -> dict:
        """Which ways lead into the management role and the member role: whom each try made of us, or the code of the refusal."""
        start = aws.client("sts", CONNECTOR).assume_role(RoleArn=entrance, RoleSessionName="task")["Credentials"]
        management, member = self.outputs["management_role_arn"], self.outputs["member_role_arn"]

        def enter(session, role: str, **changed):
            usual = {"RoleSessionName": "c-1", "ExternalId": "c-1", "SourceIdentity": "c-1", "Tags": [{"Key": "apono-connector", "Value": "c-1"}]}
            arguments = {name: value for name, value in {**usual, **changed}.items() if value is not None}
            sts = aws.client("sts", CONNECTOR, session)
            try:
                return sts.assume_role(RoleArn=role, **arguments)
            except sts.exceptions.ClientError as refused:
                return refused.response["Error"]["Code"]

        inside = enter(start, management)
        if isinstance(inside, str):
            return {"management": inside}
        tries = {
            "management": inside,
            "management by another external id": enter(start, management, ExternalId="c-2"),
            "management without external id": enter(start, management, ExternalId=None),
            "management by another account": enter({"AccessKeyId": MEMBER, "SecretAccessKey": "root"}, management),
            "member by the connector": enter(start, member),
            "member by the management role": enter(inside["Credentials"], member),
        }
        return {way: result if isinstance(result, str) else result["AssumedRoleUser"]["Arn"] for way, result in tries.items()}


# They mostly wait, so they run beside each other.
_players = concurrent.futures.ThreadPoolExecutor(3)
_runs = {}


def begin() -> None:
    for kind in (Account, Beside, Organization):
        _runs[kind] = _players.submit(kind)


def told(kind: type):
    """What was there at each stage of one run; all tests look at the same."""
    return _runs[kind].result()
