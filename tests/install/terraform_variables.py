"""Variables of the Terraform modules that are refused, each by its own message, before a provider is asked for anything."""

import json
import unittest

import terraform_schema as schema
from terraform_stage import DEPLOY, MODULES, Workspace

KEY = "arn:aws:kms:eu-west-1:111111111111:alias/x"
WRONG = {
    "connector-ecs": [
        {
            "connector_id": "-", "apono_url": "http://api.example.com", "image": "apono-connector:latest", "image_pull_secret_arn": "x", "token_secret_arn": "arn:x",
            "token_version": 0, "vpc_id": "vpc", "subnet_ids": [], "https_cidr_blocks": ["x"], "database_cidr_blocks": ["10.0.0.0"], "database_ports": [0],
            "https_proxy": "http://user:password@proxy:1", "number_of_instances": -1, "cpu": 100, "cpu_architecture": "X", "cluster_arn": "x", "permissions": "All",
            "database_user": "a b", "user_boundary_arn": "x", "role_name": "a b", "guardrails": {"longest_grant_s": 59, "largest_skew_s": 301},
            "config": "[guardrails]\nlongest_grant_s = 1", "log_retention_days": 2, "kms_key_arn": KEY, "token_kms_key_arn": KEY,
        },
        {"connector_id": "c-1", "apono_url": "api.example.com", "image": "x:1", "vpc_id": "vpc-01234567", "subnet_ids": ["subnet-01234567"], "memory": 3072},
    ],
    "connector-eks": [
        {
            "connector_id": "x" * 41, "cluster_name": "a b", "oidc_provider_arn": "x", "namespace": "A", "service_account": "B", "permissions": "all",
            "database_user": "", "user_boundary_arn": "x", "role_name": "",
        },
        {"connector_id": "c-1"},
        {"connector_id": "c-1", "cluster_name": "a b"},
    ],
    "management-account": [
        {
            "connector_id": "c_1!", "connector_role_arn": "x", "organization_id": "k012345a67", "permissions": "None", "assignable_permission_sets": "x", "organizational_unit_ids": ["root"],
            "call_as": "x", "failure_tolerance_percentage": 101, "stack_set_region": "x", "database_user": "", "user_boundary_arn": "x",
        },
        {
            "connector_id": "c-1", "connector_role_arn": "arn:aws:iam::111111111111:role/x", "organization_id": "o-k012345a67", "manage_management_account": True,
            "call_as": "DELEGATED_ADMIN",
        },
    ],
    "member-account": [{"connector_id": "", "management_role_arn": "x", "permissions": "None", "database_user": "", "user_boundary_arn": "x"}],
    "rds-database-user": [
        {"home_database": "", "owners": ["rds_superuser", "x" * 64], "login": "rds_iam", "auth_type": "token", "end_user_auth": "token"},
        # What is compared with another variable is looked at when that one is right.
        {"home_database": "shop", "admin_role": "pg_admin", "end_user_auth": "iam"},
        {"home_database": "shop", "end_user_auth": "token"},
    ],
}  # fmt: skip


class WrongVariables(unittest.TestCase):
    def test_each_is_refused_by_its_own_message(self):
        self.assertEqual(set(WRONG), set(MODULES))
        for module, tries in WRONG.items():
            with self.subTest(module=module), Workspace() as workspace:
                found = set()
                for variables in tries:
                    root = workspace.variables_of(module, **variables)
                    root.must("init", "-no-color")
                    found |= {said(problem) for problem in root.problems()}
                self.assertEqual(messages_of(module) - found, set())

    def test_the_variables_of_the_examples_are_accepted(self):
        accepted = {"connector_id": "c-1", "apono_url": "api.example.com", "image": "x:1", "vpc_id": "vpc-01234567", "subnet_ids": ["subnet-01234567"]}
        with Workspace() as workspace:
            root = workspace.variables_of("connector-ecs", **accepted)
            root.must("init", "-no-color")
            root.must("plan", "-no-color", TF_VAR_token="a token")
            self.assertEqual([said(problem) for problem in root.problems()], ["Give exactly one of token_secret_arn and token."])


def messages_of(module: str) -> set[str]:
    """The messages of a module's variables."""
    found = set()
    for held in schema.Module(DEPLOY / "terraform" / module).blocks["variable"].values():
        for validation in held.get("validation", []):
            found.add(json.loads(f'"{validation["error_message"]}"'))
    return found


def said(problem: str) -> str:
    """The message of a refused variable, without what Terraform writes around it."""
    return problem.removeprefix("Invalid value for variable: ").split("\n\nThis was checked by")[0]
