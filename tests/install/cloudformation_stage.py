"""Owns what the CloudFormation tests need of this machine: emulators that end with their test, clients, stacks. Never a check."""

import ctypes
import json
import os
import pathlib
import signal
import socket
import subprocess
import sys
import time
import urllib.request

import boto3
import yaml
from botocore.config import Config

REPOSITORY = pathlib.Path(__file__).resolve().parents[2]
TEMPLATES = REPOSITORY / "deploy" / "cloudformation"
PERMISSIONS = REPOSITORY / "deploy" / "permissions"
REGION = "eu-west-1"
# Longest wait for an emulator or a stack; both take about a second on an idle machine.
PATIENCE_SECONDS = 120
# How often a server is started on another port.
PORT_TRIES = 3
ENDED = ("_COMPLETE", "_FAILED")


def template(name: str) -> str:
    return (TEMPLATES / name).read_text()


class Loader(yaml.SafeLoader):
    """Reads the short forms of functions, `!Ref X`, as the long ones, `{"Ref": "X"}`."""


def function(loader, suffix, node):
    if isinstance(node, yaml.ScalarNode):
        value = loader.construct_scalar(node)
    elif isinstance(node, yaml.SequenceNode):
        value = loader.construct_sequence(node, deep=True)
    else:
        value = loader.construct_mapping(node, deep=True)
    if suffix == "GetAtt" and isinstance(value, str):
        value = value.split(".", 1)
    return {suffix if suffix in ("Ref", "Condition") else f"Fn::{suffix}": value}


Loader.add_multi_constructor("!", function)


def parsed(body: str) -> dict:
    return yaml.load(body, Loader)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def end_with_parent() -> None:
    """Runs in the child: the kernel ends it when this process is gone, however that went."""
    ctypes.CDLL(None).prctl(1, signal.SIGKILL)


class Emulator:
    """A server on a free port of this machine. `with` ends it."""

    def __init__(self, arguments, environment, health):
        # Somebody else may take the port before the server does; then it ends at once.
        for _ in range(PORT_TRIES):
            self.port = free_port()
            self.url = f"http://127.0.0.1:{self.port}"
            command = [argument.replace("PORT", str(self.port)) for argument in arguments]
            settings = {name: value.replace("PORT", str(self.port)) for name, value in environment.items()}
            clean = {name: value for name, value in os.environ.items() if not name.startswith("AWS_")}
            self.process = subprocess.Popen(
                command, env={**clean, **settings}, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, preexec_fn=end_with_parent
            )
            until(lambda: self.ended() or self.answers(health), f"`{command}` answers")
            if not self.ended():
                return
        raise AssertionError(f"`{command}` ended {PORT_TRIES} times")

    def ended(self) -> bool:
        return self.process.poll() is not None

    def answers(self, path: str) -> bool:
        try:
            return urllib.request.urlopen(self.url + path, timeout=5).status == 200
        except OSError:
            return False

    def client(self, service: str, account: str, region: str = REGION):
        """A client with the rights of the account's root: both emulators take an account number as an access key."""
        return self.client_of(service, {"AccessKeyId": account, "SecretAccessKey": "root"}, region)

    def client_of(self, service: str, credentials, region: str = REGION):
        return boto3.client(
            service,
            region_name=region,
            endpoint_url=self.url,
            aws_access_key_id=credentials["AccessKeyId"],
            aws_secret_access_key=credentials["SecretAccessKey"],
            aws_session_token=credentials.get("SessionToken"),
            config=Config(retries={"max_attempts": 1}, parameter_validation=True),
        )

    def judge_from_now_on(self) -> None:
        """Lets moto check signatures and policies, which it does not do by itself."""
        urllib.request.urlopen(urllib.request.Request(f"{self.url}/moto-api/reset-auth", b"0", {"Content-Type": "text/plain"}), timeout=30)

    def raw(self, account: str, target: str, body: dict) -> dict:
        """An answer as it comes: boto3 drops what MiniStack keeps in the spelling of templates."""
        request = urllib.request.Request(self.url, json.dumps(body).encode())
        service = "ecs"
        request.add_header("Authorization", f"AWS4-HMAC-SHA256 Credential={account}/20260101/{REGION}/{service}/aws4_request, SignedHeaders=host, Signature=0")
        request.add_header("X-Amz-Target", target)
        request.add_header("Content-Type", "application/x-amz-json-1.1")
        return json.load(urllib.request.urlopen(request, timeout=30))

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.kill()
        self.process.wait()


def ministack() -> Emulator:
    """MiniStack, which checks signatures, identity policies and trust policies."""
    environment = {
        "AUTH": "true",
        # Without this it listens on every interface.
        "BIND_HOST": "127.0.0.1",
        "GATEWAY_PORT": "PORT",
        # These listen on ports that cannot be chosen.
        "IOT_MTLS_ENABLED": "0",
        "SFTP_ENABLED": "0",
        "DOCKER_HOST": "unix:///nonexistent",
    }
    return Emulator([sys.executable, str(pathlib.Path(__file__).with_name("cloudformation_emulator.py"))], environment, "/_ministack/health")


def moto() -> Emulator:
    server = pathlib.Path(sys.executable).with_name("moto_server")
    return Emulator([str(server), "-H", "127.0.0.1", "-p", "PORT"], {"MOTO_IAM_LOAD_MANAGED_POLICIES": "true"}, "/moto-api/data.json")


def until(condition, what: str) -> None:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not condition():
        if time.monotonic() > deadline:
            raise AssertionError(f"waited {PATIENCE_SECONDS} s in vain until {what}")
        time.sleep(0.1)


class Stack:
    """A stack in an account."""

    def __init__(self, emulator: Emulator, account: str, name: str, body: str, **parameters: str):
        self.emulator, self.account, self.name, self.body = emulator, account, name, body
        self.client = emulator.client("cloudformation", account)
        self.client.create_stack(**self.request(parameters))
        self.parameters = parameters
        self.expect("CREATE_COMPLETE")

    def request(self, parameters) -> dict:
        return {
            "StackName": self.name,
            "TemplateBody": self.body,
            "Parameters": [{"ParameterKey": key, "ParameterValue": value} for key, value in parameters.items()],
            "Capabilities": ["CAPABILITY_NAMED_IAM"],
        }

    def update(self, **changed: str) -> None:
        self.parameters = {**self.parameters, **changed}
        self.client.update_stack(**self.request(self.parameters))
        self.expect("UPDATE_COMPLETE")

    def delete(self) -> None:
        identifier = self.description()["StackId"]
        self.client.delete_stack(StackName=self.name)
        self.name = identifier
        self.expect("DELETE_COMPLETE")

    def description(self) -> dict:
        return self.client.describe_stacks(StackName=self.name)["Stacks"][0]

    def expect(self, status: str) -> None:
        until(lambda: self.description()["StackStatus"].endswith(ENDED), f"stack `{self.name}` is `{status}`")
        found = self.description()["StackStatus"]
        if found != status:
            events = self.client.describe_stack_events(StackName=self.name)["StackEvents"]
            failed = [f"{event['LogicalResourceId']}: {event.get('ResourceStatusReason')}" for event in events if event["ResourceStatus"].endswith("_FAILED")]
            raise AssertionError(f"stack `{self.name}` is `{found}`: {failed}")

    def outputs(self) -> dict:
        return {output["OutputKey"]: output["OutputValue"] for output in self.description().get("Outputs", [])}

    def resources(self) -> dict:
        pages = self.client.get_paginator("list_stack_resources").paginate(StackName=self.name)
        return {resource["LogicalResourceId"]: resource for page in pages for resource in page["StackResourceSummaries"]}

    def physical(self, logical: str) -> str:
        return self.resources()[logical]["PhysicalResourceId"]

    def show(self, title: str) -> None:
        """Prints what was made and what the stack says, for whoever reads the log of the tests."""
        print(f"\n{title}: resources", file=sys.stderr)
        for logical, resource in sorted(self.resources().items()):
            print(f"  {resource['ResourceStatus']:16} {resource['ResourceType']:29} {logical:25} {resource['PhysicalResourceId']}", file=sys.stderr)
        print(f"{title}: outputs", file=sys.stderr)
        for key, value in sorted(self.outputs().items()):
            print(f"  {key:31} {value}", file=sys.stderr)


class Network:
    """A VPC with a subnet in each of three zones."""

    def __init__(self, emulator: Emulator, account: str):
        ec2 = emulator.client("ec2", account)
        self.vpc = ec2.create_vpc(CidrBlock="10.0.0.0/16")["Vpc"]["VpcId"]
        self.subnets = [
            ec2.create_subnet(VpcId=self.vpc, CidrBlock=f"10.0.{place}.0/24", AvailabilityZone=f"{REGION}{zone}")["Subnet"]["SubnetId"]
            for place, zone in enumerate("abc")
        ]
        other = ec2.create_vpc(CidrBlock="10.1.0.0/16")["Vpc"]["VpcId"]
        self.foreign_subnet = ec2.create_subnet(VpcId=other, CidrBlock="10.1.0.0/24", AvailabilityZone=f"{REGION}a")["Subnet"]["SubnetId"]


def role(iam, name: str) -> dict:
    """A role's trust policy and inline policies."""
    found = iam.get_role(RoleName=name)["Role"]
    inline = {policy: iam.get_role_policy(RoleName=name, PolicyName=policy)["PolicyDocument"] for policy in iam.list_role_policies(RoleName=name)["PolicyNames"]}
    return {"arn": found["Arn"], "trust": found["AssumeRolePolicyDocument"], "policies": inline}
