"""Holds docs/install/eks.md to the chart. Run by scripts/check-helm.sh test."""

import re
import shlex
import unittest

import yaml

from tests.install.helm_chart import ROOT, merged, new, objects, of_kind, old, only, places, run_helm

GUIDE = (ROOT / "docs/install/eks.md").read_text()
BLOCKS = re.findall(r"^```(\w+)\n(.*?)^```", GUIDE, re.DOTALL | re.MULTILINE)
FIRST, *MORE = [yaml.safe_load(text) for language, text in BLOCKS if language == "yaml"]
COMMANDS = [shlex.split(line) for language, text in BLOCKS if language == "sh" for line in text.replace("\\\n", " ").splitlines()]


class Guide(unittest.TestCase):
    def test_its_values_are_good_each_and_all_together(self):
        self.assertEqual(len(MORE), 5)
        for values in [FIRST, *(merged(FIRST, more) for more in MORE), merged(FIRST, *MORE)]:
            self.assertEqual(old(values), new(values)[0])

    def test_its_commands_of_helm_are_ones_helm_knows(self):
        commands = [command[1:] for command in COMMANDS if command[0] == "helm"]
        self.assertEqual(sorted({next(word for word in command if word in ("upgrade", "test", "uninstall")) for command in commands}),
                         ["test", "uninstall", "upgrade"])
        (install,) = [command for command in commands if command[0] == "upgrade"]
        # What it says of a release needs a cluster; what it says of the chart does not.
        rest = [word for word in install if word not in ("upgrade", "--install", "--wait", "--timeout", "5m")]
        rest[rest.index("--values") + 1] = "-"
        run_helm("template", *rest, "--kube-version", "1.33.0", stdin=yaml.safe_dump(FIRST))
        # Every flag is one of the old Helm's as well.
        for command in commands:
            verb = next(word for word in command if word in ("upgrade", "test", "uninstall"))
            known = run_helm(verb, "--help")
            for flag in (word for word in command if word.startswith("--")):
                self.assertIn(flag, known)

    def test_its_commands_name_what_the_chart_makes(self):
        found = by_guide()
        workload = only(found, "StatefulSet")
        name, namespace = workload["metadata"]["name"], workload["metadata"]["namespace"]
        asked = [command for command in COMMANDS if command[0] == "kubectl"]
        self.assertGreater(len(asked), 8)
        for command in asked:
            if "--namespace" in command:
                self.assertEqual(command[command.index("--namespace") + 1], namespace)
            if "rollout" in command:
                self.assertIn(f"statefulset/{name}", command)
            if "exec" in command or "logs" in command:
                pod, ordinal = re.search(rf"({name})-(\d)\b", " ".join(command)).groups()
                self.assertLess(int(ordinal), workload["spec"]["replicas"], pod)
            if "exec" in command:
                self.assertEqual(command[command.index("--") + 1], "/apono-connector")
        labels = {f"{key}={value}" for claim in workload["spec"]["volumeClaimTemplates"] for key, value in claim["metadata"]["labels"].items()}
        self.assertIn(re.search(r"delete pvc --selector (\S+)`", GUIDE)[1], labels)
        created = {command[command.index("create") + 2 + ("generic" in command)] for command in asked if "create" in command and "namespace" not in command[:3]}
        used = {FIRST["apono"]["tokenSecret"]["name"]} | {more["aws"]["rdsCa"]["configMap"] for more in MORE if "aws" in more}
        self.assertEqual(created, used)

    def test_its_role_is_for_the_service_account_of_the_chart(self):
        (stack,) = [command for command in COMMANDS if command[:3] == ["aws", "cloudformation", "deploy"]]
        given = dict(word.split("=", 1) for word in stack[stack.index("--parameter-overrides") + 1:])
        account = only(by_guide(), "ServiceAccount")["metadata"]
        self.assertEqual((given["Namespace"], given["ServiceAccountName"]), (account["namespace"], account["name"]))
        self.assertEqual(given["AponoConnectorId"], FIRST["apono"]["connectorId"])
        template = (ROOT / stack[stack.index("--template-file") + 1]).read_text()
        parameters = re.findall(r"^  (\w+):\n    Type: ", template.partition("\nResources:")[0], re.MULTILINE)
        for name in [*given, "Identity", "OidcProviderUrl"]:
            self.assertIn(name, parameters)
        outputs = template.partition("\nOutputs:")[2]
        for name in ("AponoConnectorRoleArn", "HelmValues"):
            self.assertIn(f"\n  {name}:\n", outputs)
        # What the stack and the module say to set is what the chart takes.
        known = {path for path, _ in places()}
        told = set(re.findall(r"--set ([\w.]+)=", outputs))
        self.assertEqual(told & known, told)
        self.assertIn("serviceAccount.iamRoleArn", told)
        module = (ROOT / "deploy/terraform/connector-eks/outputs.tf").read_text().partition('output "helm_values"')[2]
        for path in told:
            for name in path.split("."):
                self.assertIn(name, module)

    def test_its_table_has_every_value(self):
        table = GUIDE.partition("## Values")[2].partition("## Verify")[0]
        told = {name for row in re.findall(r"^\| (`.*?) \|", table, re.MULTILINE) for name in re.findall(r"`([\w]+)`", row)}
        told.add("imagePullSecrets")
        self.assertEqual(told, {path for path, _ in places() if path and "." not in path} - {"global"})

    def test_what_it_says_of_objects_is_so(self):
        kinds = {key[0] for key in objects("everything")} | {key[0] for key in objects("shared-state")}
        for kind in ("StatefulSet", "ConfigMap", "PodDisruptionBudget", "NetworkPolicy", "ServiceAccount", "Role", "RoleBinding"):
            self.assertIn(kind, kinds)
            self.assertIn(kind, GUIDE.partition("## Before")[0])
        self.assertEqual(of_kind(objects("everything"), "ClusterRole"), [])


def by_guide():
    return old(FIRST, release="apono-connector", namespace="apono-connector")


if __name__ == "__main__":
    unittest.main()
