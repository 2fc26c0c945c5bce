"""The Terraform modules. Run by scripts/check-terraform.sh.

What is here needs nothing but Python and the pinned Terraform, and runs on every machine: the files against the schema of the provider, the tables of
layers, the guide, wrong variables (terraform_variables.py), and the database module, whose SQL is run by Terraform on real servers. Installs against emulators are in terraform_install.py and
are loaded where the aws provider is.
"""

import json
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile
import unittest

import terraform_schema as schema
from terraform_stage import DEPLOY, MODULES, REPOSITORY, Postgres, Workspace

TERRAFORM = DEPLOY / "terraform"
PERMISSIONS = DEPLOY / "permissions"
# What AWS takes of all inline policies of a role together, white space aside.
INLINE_CHARACTERS = 10_240


def load_tests(loader, tests, _pattern):
    tests.addTests(loader.loadTestsFromName("terraform_variables"))
    if os.environ.get("APONO_TERRAFORM_MIRROR"):
        tests.addTests(loader.loadTestsFromName("terraform_install"))
    return tests


def declared(module: str) -> schema.Module:
    return schema.Module(TERRAFORM / module)


class TheFilesAgainstTheSchema(unittest.TestCase):
    known = json.loads(schema.SCHEMA.read_text())

    def findings_with(self, path: str, old: str, new: str) -> list[str]:
        """What is found when one place of one file is changed."""
        with tempfile.TemporaryDirectory() as folder:
            copy = pathlib.Path(folder) / "terraform"
            shutil.copytree(TERRAFORM, copy)
            file = copy / path
            self.assertEqual(file.read_text().count(old), 1, f"`{old}` is not once in {path}")
            file.write_text(file.read_text().replace(old, new))
            return schema.findings(copy.resolve(), self.known)[0]

    def test_every_type_argument_block_and_reference_is_one_the_provider_has(self):
        found, blocks, folders = schema.findings(TERRAFORM.resolve(), self.known)
        self.assertEqual(found, [])
        self.assertGreaterEqual((blocks, folders), (50, 9))

    def test_a_wrong_word_in_a_file_is_found(self):
        wrong = [
            ("connector-ecs/main.tf", 'resource "aws_ecs_cluster" "this"', 'resource "aws_ecs_klaster" "this"', "the provider has no resource `aws_ecs_klaster`"),
            ("connector-ecs/main.tf", "retention_in_days =", "retention_days    =", "the provider has no `retention_days`"),
            ("connector-ecs/main.tf", 'family                   = local.name\n', "", "`family` is missing"),
            ("connector-ecs/main.tf", 'launch_type                   = "FARGATE"', 'id = "FARGATE"\n  desired = 1', "the provider has no `desired`"),
            ("connector-ecs/main.tf", "transit_encryption = ", "transit_encription = ", "the provider has no `transit_encription`"),
            ("connector-ecs/state.tf", "creation_info {", "creation {", "the provider has no `creation`"),
            ("connector-ecs/outputs.tf", "aws_security_group.connector.id", "aws_security_group.connector.ident", "has no attribute `ident`"),
            ("connector-ecs/outputs.tf", "aws_iam_role.execution.arn", "aws_iam_role.executor.arn", "nobody declares `aws_iam_role.executor`"),
            ("connector-eks/main.tf", "coalesce(var.role_name,", "coalesce(var.rolename,", "nobody declares variable `rolename`"),
            ("connector-eks/main.tf", "local.account}:cluster", "local.acount}:cluster", "nobody declares local `acount`"),
            ("examples/account/main.tf", "vpc_id     = var.vpc_id", "", "`vpc_id` is missing"),
            ("examples/account/main.tf", 'permissions = "Databases"', 'permission = "Databases"', "the module has no variable `permission`"),
            ("examples/organization/outputs.tf", "module.management.member_role_name", "module.management.member_role", "the module has no output `member_role`"),
        ]
        for path, old, new, message in wrong:
            with self.subTest(path=path, new=new):
                found = self.findings_with(path, old, new)
                self.assertTrue([line for line in found if message in line], found)

    def test_the_schema_in_the_repository_has_what_the_files_use_and_no_more(self):
        used = {"resource": set(), "data": set()}
        for folder in {path.parent for path in TERRAFORM.rglob("*.tf")}:
            for place, kinds in used.items():
                kinds |= {kind for kind, _ in schema.Module(folder).blocks[place]} - set(schema.BUILT_IN)
        self.assertEqual({place: set(self.known[place]) for place in used}, used)

    def test_every_variable_has_a_type_and_a_description_and_every_output_a_description(self):
        for folder in sorted({path.parent for path in TERRAFORM.rglob("*.tf")}):
            module = schema.Module(folder)
            for name, held in module.blocks["variable"].items():
                self.assertTrue({"type", "description"} <= set(held), f"{folder.name}: variable {name}")
            for name, held in module.blocks["output"].items():
                self.assertTrue({"value", "description"} <= set(held), f"{folder.name}: output {name}")

    def test_outputs_have_the_names_people_know(self):
        self.assertLessEqual({"connector_role_arn", "log_group_arn", "security_group_id", "connector_id"}, set(declared("connector-ecs").blocks["output"]))
        self.assertLessEqual({"connector_role_arn", "connector_id", "helm_values"}, set(declared("connector-eks").blocks["output"]))
        self.assertLessEqual({"management_role_arn", "member_role_name"}, set(declared("management-account").blocks["output"]))


class TheLayers(unittest.TestCase):
    # As in deploy/permissions/README.md; what goes beside the level is in the text of management-account.
    table = schema.plain(schema.hcl2.loads((TERRAFORM / "policies" / "main.tf").read_text()))["locals"][0]["layers"]

    def test_every_policy_of_the_code_is_given_to_some_role_and_no_other_is_named(self):
        beside = set(re.findall(r'"([a-z-]+)"', re.search(r"further_layers\s+= concat\((.*?)\n  \)", (TERRAFORM / "management-account" / "main.tf").read_text(), re.S)[1]))
        given = {layer for levels in self.table.values() for layers in levels.values() for layer in layers} | beside
        self.assertEqual(given, {path.stem for path in PERMISSIONS.glob("*.json")})

    def test_each_level_has_what_the_level_before_it_has(self):
        for kind, levels in self.table.items():
            ordered = list(levels.values())
            for lower, higher in zip(ordered, ordered[1:]):
                self.assertEqual(higher[: len(lower)], lower, kind)

    def test_the_policies_of_the_highest_levels_fit_into_what_aws_takes(self):
        values = {"partition": "aws-us-gov", "account": "1" * 12, "connector_id": "c" * 40, "organization_id": "o-" + "a" * 32, "database_user": "d" * 63}
        values["user_boundary_arn"] = f"arn:aws-us-gov:iam::{'1' * 12}:policy/" + "b" * 128
        for kind, levels in self.table.items():
            layers = list(levels.values())[-1] + (["tagged-permission-sets", "management-account"] if kind == "management" else [])
            texts = [json.dumps(json.loads((PERMISSIONS / f"{layer}.json").read_text()), separators=(",", ":")) for layer in layers]
            text = "".join(texts)
            for name, value in values.items():
                text = text.replace(f"${{{name}}}", value)
            self.assertNotIn("${", text)
            self.assertLess(len(text), INLINE_CHARACTERS, kind)

    def test_no_file_but_those_of_the_code_names_an_action_of_the_connector(self):
        own = {
            "sts:AssumeRole", "sts:TagSession", "sts:SetSourceIdentity", "sts:AssumeRoleWithWebIdentity", "logs:CreateLogStream", "logs:PutLogEvents",
            "secretsmanager:GetSecretValue", "kms:Decrypt", "ecr:BatchGetImage", "ecr:GetDownloadUrlForLayer", "ecr:GetAuthorizationToken",
            "elasticfilesystem:ClientMount", "elasticfilesystem:ClientWrite", "elasticfilesystem:ClientRootAccess",
        }  # fmt: skip
        named = set()
        for path in TERRAFORM.rglob("*.tf"):
            for actions in re.findall(r"\bAction\s+=\s+(\[[^\]]*\]|\"[^\"]*\")", path.read_text()):
                named |= set(re.findall(r'"([^"]+)"', actions))
        self.assertEqual(named, own)
        self.assertFalse([action for action in named if "*" in action])


class TheGuide(unittest.TestCase):
    text = (REPOSITORY / "docs" / "install" / "terraform.md").read_text()

    def test_the_guide_shows_the_examples_as_they_are(self):
        shown = dict(re.findall(r"```hcl file=(\S+)\n(.*?)```", self.text, re.S))
        self.assertEqual(set(shown), {"account/main.tf", "organization/main.tf", "database/main.tf"})
        for path, text in shown.items():
            self.assertEqual(text, (TERRAFORM / "examples" / path).read_text(), path)

    def test_the_guide_lists_every_variable_of_the_modules_with_its_default(self):
        for module in MODULES:
            table = re.search(rf"^### `{module}`\n(.*?)(?=^##)", self.text, re.S | re.M)[1]
            listed = dict(re.findall(r"^\| `(\w+)` \| (.*?) \|", table, re.M))
            variables = declared(module).blocks["variable"]
            self.assertEqual(set(listed), set(variables), module)
            for name, held in variables.items():
                self.assertEqual(listed[name] == "yes", "default" not in held, f"{module}: {name}")


OWNER = 'we"ird; owner'


class TheDatabase(unittest.TestCase):
    """SQL of the module, run by Terraform as a master user that is no superuser, on the oldest and newest servers here."""

    def prepared(self, server: Postgres) -> None:
        for sql in (
            "CREATE ROLE master LOGIN PASSWORD 'master' CREATEROLE CREATEDB",
            "CREATE ROLE rds_iam NOLOGIN",
            "GRANT rds_iam TO master WITH ADMIN OPTION",
            "CREATE DATABASE shop OWNER master",
        ):
            server.psql(sql, user="postgres", password="super")
        for owner in ("app_owner", OWNER):
            quoted = owner.replace('"', '""')
            server.psql(f'CREATE ROLE "{quoted}" NOLOGIN')

    def play(self, binaries: str) -> None:
        with Postgres(binaries) as server, Workspace() as workspace:
            self.prepared(server)
            path = f"{pathlib.Path(os.environ['APONO_TEST_PSQL']).parent}:{os.environ['PATH']}"
            environment = {**server.environment("master", "master"), "APONO_DATABASE_PASSWORD": "it's \\ 'quoted'", "PATH": path}
            root = workspace.root("examples/database", home_database="shop", auth_type="password", owners=["app_owner"])
            self.assertIn("2 added, 0 changed, 0 destroyed", root.apply(**environment))
            self.assertEqual(root.changes(), {})
            # A name that would be a statement of its own if it were not quoted.
            root = workspace.root("examples/database", home_database="shop", auth_type="password", owners=["app_owner", OWNER])
            self.assertIn("1 added, 0 changed, 0 destroyed", root.apply(**environment))
            self.assertNotIn(environment["APONO_DATABASE_PASSWORD"], root.state())
            self.assertEqual(server.psql("SELECT rolcanlogin, rolcreaterole, rolsuper FROM pg_roles WHERE rolname = 'apono_admin'").stdout, "f|t|f\n")
            owners = server.psql("SELECT r.rolname FROM pg_auth_members m JOIN pg_roles r ON r.oid = m.roleid WHERE m.member = 'apono_admin'::regrole ORDER BY 1").stdout
            self.assertEqual(owners.split("\n")[:-1], ["app_owner", OWNER])
            own = {"user": "apono_connector", "password": environment["APONO_DATABASE_PASSWORD"], "database": "shop"}
            server.psql("SET ROLE apono_admin; CREATE SCHEMA apono; CREATE ROLE a_1_apono; SET ROLE app_owner", **own)
            self.assertNotEqual(server.psql("SELECT 1", **{**own, "password": "wrong"}, check=False).returncode, 0)

    def test_terraform_prepares_a_server_of_the_oldest_version_here_for_login_by_password(self):
        self.play(os.environ["APONO_TEST_PG15_BIN"])

    def test_terraform_prepares_a_server_of_the_newest_version_here_for_login_by_password(self):
        self.play(os.environ["APONO_TEST_PG18_BIN"])

    def test_login_by_iam_puts_the_connector_and_whom_it_makes_into_rds_iam(self):
        with Postgres(os.environ["APONO_TEST_PG18_BIN"]) as server, Workspace() as workspace:
            self.prepared(server)
            root = workspace.root("examples/database", home_database="shop", owners=[], end_user_auth="iam")
            root.apply(**server.environment("master", "master"), PATH=f"{pathlib.Path(os.environ['APONO_TEST_PSQL']).parent}:{os.environ['PATH']}")
            held = server.psql("SELECT m.member::regrole, m.admin_option FROM pg_auth_members m WHERE roleid = 'rds_iam'::regrole").stdout
            self.assertEqual(sorted(held.split()), ["apono_admin|t", "apono_connector|f", "master|t"])
            passwords = server.psql("SELECT rolpassword IS NULL FROM pg_authid WHERE rolname = 'apono_connector'", user="postgres", password="super").stdout
            self.assertEqual(passwords, "t\n")

    def test_a_statement_that_fails_leaves_nothing_behind(self):
        with Postgres(os.environ["APONO_TEST_PG18_BIN"]) as server, Workspace() as workspace:
            self.prepared(server)
            root = workspace.root("examples/database", home_database="shop", owners=[], auth_type="password")
            root.must("init", "-no-color")
            # Without the variable psql leaves its name where the password belongs, which is no SQL.
            environment = {**server.environment("master", "master"), "PATH": f"{pathlib.Path(os.environ['APONO_TEST_PSQL']).parent}:{os.environ['PATH']}"}
            done = root.run("apply", "-no-color", "-auto-approve", **environment)
            self.assertNotEqual(done.returncode, 0)
            self.assertEqual(server.psql("SELECT count(*) FROM pg_roles WHERE rolname LIKE 'apono%'").stdout, "0\n")


if __name__ == "__main__":
    unittest.main(argv=[sys.argv[0], "-v", *sys.argv[1:]])
