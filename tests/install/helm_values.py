"""What the chart takes, and the configuration it makes of it. Run by scripts/check-helm.sh test."""

import json
import re
import tomllib
import unittest

import yaml

from tests.install.helm_chart import (
    CHART, ROOT, SCHEMA, VALUES, Refused, connector, environment, keys, merged, nested, new, objects, of_kind, old, only, places, pods,
    running, toml, with_)

SELECTOR = {"app.kubernetes.io/name": "apono-connector", "app.kubernetes.io/instance": "shop", "app.kubernetes.io/component": "connector"}
DEFAULTS = yaml.safe_load((CHART / "values.yaml").read_text())


def document_of_the_configuration():
    """The complete file of docs/configuration.md, each key at its default where it has one."""
    text = (ROOT / "docs/configuration.md").read_text()
    return tomllib.loads(re.search(r"```toml\n(.*?)```", text, re.DOTALL)[1])


class Case(unittest.TestCase):
    def refuse(self, values, *words):
        """Both Helms refuse these values and name what is wrong; they write a path with dots or with slashes."""
        for render in (old, new):
            with self.subTest(helm=render.__name__), self.assertRaises(Refused) as refused:
                render(values)
            for word in words:
                self.assertIn(word, str(refused.exception).replace("/", "."))


class BadValues(Case):
    def test_are_refused_by_the_name_of_the_value(self):
        bad = {
            "image.repository": "", "image.digest": "sha256:abc", "apono.connectorId": "", "apono.url": "http://api.example.com",
            "replicas": 0, "guardrails.longest_grant_s": 31622401, "guardrails.largest_skew_s": "30", "executor.slots": 3,
            "sweeps.drift_every_s": 4, "secrets.keep_s": 3601, "log.format": "xml", "state.kind": "disk", "state.size": "2",
            "terminationGracePeriodSeconds": 27, "podDisruptionBudget.maxUnavailable": 0, "networkPolicy.https.ports": [],
            "networkPolicy.databases.cidrs": ["10.0.0.1"], "serviceAccount.iamRoleArn": "apono-connector-shop",
            "proxy.url": "http://someone:password@proxy.example.com:3128", "secrets.vault.url": "http://vault.example.com:8200",
            "secrets.kubernetes.read": [{"namespace": "shop", "names": []}], "apono.metadata": {"pod": "$(HOSTNAME)"},
            "extraVolumes": [{"name": "node", "hostPath": {"path": "/"}}],
        }
        for path, value in bad.items():
            with self.subTest(path=path):
                self.refuse(with_("default", path, value), path)

    def test_that_are_unknown_are_refused_at_every_level(self):
        for path in ("guardrail", "apono.connectorID", "apono.tokenSecret.namespace", "guardrails.longest_grant", "secrets.vault.token"):
            with self.subTest(path=path):
                self.refuse(with_("default", path, "x"), path.rpartition(".")[2])
        # Only what Kubernetes defines is passed on as it comes, and says so.
        for path, schema in places():
            if schema.get("type") == "object" and schema.get("additionalProperties") is not False:
                passed_on = {"global", "resources.requests", "resources.limits", "affinity"}
                texts = schema.get("additionalProperties", {}).get("type") == "string"
                self.assertTrue(texts or path in passed_on, path)

    def test_that_were_taken_away_are_missed(self):
        for name in sorted(set(SCHEMA["properties"]) - {"global"}):
            with self.subTest(name=name):
                self.refuse(with_("default", name, None), name)

    def test_that_exclude_each_other_are_both_named(self):
        vault = {"url": "https://vault.example.com", "role": "r"}
        two = {
            ("apono.token", "apono.tokenSecret.name"): {"apono": {"token": "t"}},
            ("neither", "apono.tokenSecret.name"): {"apono": {"tokenSecret": {"name": ""}}},
            ("apono.ca.configMap", "apono.ca.secret"): {"apono": {"ca": {"configMap": "a", "secret": "b"}}},
            ("proxy.url", "proxy.urlSecret.name"): {"proxy": {"url": "http://p:1", "urlSecret": {"name": "p"}}},
            ("executor.per_integration", "executor.slots"): {"executor": {"per_integration": 33}},
            ("secrets.vault.role", "`kubernetes`"): {"secrets": {"vault": {**vault, "role": ""}}},
            ("secrets.vault.tokenSecret.name", "`token`"): {"secrets": {"vault": {**vault, "login": "token"}}},
            ("secrets.vault.url", "secrets.vault"): {"secrets": {"vault": {"role": "r"}}},
            ("secrets.kubernetes.read", "`shop` twice"): {"secrets": {"kubernetes": {"read": 2 * [{"namespace": "shop", "names": ["a"]}]}}},
            ("state.existingClaim", "state.kind"): {"state": {"existingClaim": "efs"}},
            ("serviceAccount.create", "serviceAccount.iamRoleArn"): {
                "serviceAccount": {"create": False, "iamRoleArn": "arn:aws:iam::123456789012:role/a"}},
        }
        for words, values in two.items():
            with self.subTest(words=words):
                self.refuse(merged(VALUES["default"], values), *words)

    def test_what_the_chart_sets_cannot_be_set_beside_it(self):
        for pod in pods(objects("everything")) + pods(objects("shared-state")):
            for variable in {entry["name"] for entry in pod["containers"][0]["env"]} | {"APONO_TOKEN", "APONO_CONFIG_TEXT"}:
                if variable != "SSL_CERT_DIR":
                    with self.subTest(variable=variable):
                        self.refuse(with_("default", "extraEnv", [{"name": variable, "value": "x"}]), "extraEnv.0.name")
        for label in SELECTOR:
            self.refuse(with_("default", "podLabels", {label: "x"}), label.replace("/", "."))


class Configuration(Case):
    def test_every_rendered_one_is_good_to_the_connector_and_to_the_pod_of_helm_test(self):
        for name in VALUES:
            for pod in pods(objects(name)):
                arguments = pod["containers"][0]["args"]
                with self.subTest(values=name, arguments=arguments):
                    status, said = connector(["check-config"], toml(objects(name)), environment(pod))
                    self.assertEqual((status, said), (0, "the configuration is good\n"))
        self.assertEqual([pod["containers"][0]["args"] for pod in pods(objects("default"))], [["run"], ["check-config"]])

    def test_the_ranges_of_the_schema_are_those_of_the_connector(self):
        variables = environment(pods(objects("default"))[0])
        checked = []
        for path, schema in places():
            if schema.get("type") != "integer" or not re.match(r"(guardrails|executor|sweeps|secrets)\.", path):
                continue
            section, _, key = path.rpartition(".")
            low, high = schema["minimum"], schema["maximum"]
            for value, status in ((low - 1, 2), (low, 0), (high, 0), (high + 1, 2)):
                # As many slots as there can be, so that they bound nothing else.
                base = f"[executor]\nslots = 256\n{key} = {value}\n" if path == "executor.per_integration" else f"[{section}]\n{key} = {value}\n"
                with self.subTest(path=path, value=value):
                    found, said = connector(["check-config"], '[control_plane]\ntoken_file = "/token"\n' + base,
                                            {**variables, "APONO_URL": "api.example.com"})
                    # A number of Vault is judged also where Vault is not set up.
                    self.assertEqual(found, status, said)
                    if status:
                        self.assertIn(f"`{path}` is {value}, must be a whole number from {low} to {high}", said)
            checked.append(path)
        self.assertEqual(len(checked), 10, checked)

    def test_the_defaults_are_those_of_the_connector(self):
        documented = dict(keys(document_of_the_configuration()))
        own = {path: value for path, value in keys(DEFAULTS)
               if path in documented and value != "" and path.split(".")[0] in ("guardrails", "executor", "sweeps", "secrets", "log")}
        self.assertEqual(own, {path: documented[path] for path in own})
        self.assertEqual(len(own), 12, sorted(own))

    def test_every_key_of_the_connector_can_be_set_is_set_or_is_left_out_for_a_reason(self):
        settable = {path for path, _ in places()}
        every = objects("everything"), objects("private-network"), objects("vault-token")
        made = {path for found in every for path, _ in keys(tomllib.loads(toml(found)))}
        left_out = {
            "aws.region": "a variable, because the AWS SDK reads it there too",
            "aws.profile": "a pod has no shared AWS configuration",
            "aws.latest_landing_s": "for imitations of AWS only",
            "secrets.kubernetes.url": "known inside a cluster",
            "secrets.kubernetes.token_file": "known inside a cluster",
            "secrets.kubernetes.ca_file": "known inside a cluster",
            # Beside APONO_STATE_SHARED, which the chart sets.
            "state_shared": "a variable",
        }
        documented = {path for path, _ in keys(document_of_the_configuration())}
        self.assertEqual(documented - made - set(left_out), set())
        own = {path for path in documented - set(left_out) if path in settable}
        self.assertEqual({path for path in made - own if path in settable}, set())

    def test_texts_and_large_numbers_arrive_unchanged(self):
        awkward = 'info,a::b=debug,"quoted\\path"=<trace>&{{ x }}'
        found = old(merged(with_("default", "log.filter", awkward), nested("guardrails.longest_grant_s", 31622400)))
        read = tomllib.loads(toml(found))
        self.assertEqual(read["log"]["filter"], awkward)
        self.assertEqual(read["guardrails"]["longest_grant_s"], 31622400)
        metadata = json.loads(environment(pods(objects("everything"))[0])["CONNECTOR_METADATA"])
        self.assertEqual(metadata, {"instance": "access/shop-0", "node": "node-1", "platform": "kubernetes",
                                    "cluster": "shop-eu", "owner": 'team <orders> & "friends"'})

    def test_a_change_of_it_restarts_the_pods_and_a_change_of_the_token_does_not(self):
        def template(values):
            return only(old(values), "StatefulSet")["spec"]["template"]
        before = template(VALUES["default"])
        self.assertNotEqual(before, template(with_("default", "guardrails.longest_grant_s", 3600)))
        self.assertEqual(template(VALUES["own-token"]), template(with_("own-token", "apono.token", "another")))

    def test_probes_ask_what_the_connector_serves_and_its_stop_fits(self):
        found = objects("default")
        pod = pods(found)[0]
        (container,) = pod["containers"]
        path = {probe: container[f"{probe}Probe"]["httpGet"]["path"] for probe in ("startup", "liveness", "readiness")}
        with running(toml(found), environment(pod)) as daemon:
            # Without its control plane it lives and is not ready, so it is not restarted and no update goes on.
            self.assertEqual(daemon.ask(path["startup"])[0], 200)
            self.assertEqual(daemon.ask(path["liveness"])[0], 200)
            status, body = daemon.ask(path["readiness"])
            self.assertEqual((status, "the control plane was not reached yet" in body), (503, True), body)
            # What the guide and the notes say to run in a pod.
            self.assertEqual(daemon.told("healthcheck"), (0, '{"alive":true}\n'))
            self.assertEqual(daemon.told("grants")[0], 0)
            self.assertEqual(daemon.stop(), 0)
        source = (ROOT / "src/lifecycle.rs").read_text()
        stop = sum(int(found) for found in re.findall(r"pub const (?:SOFT|HARD)_STOP: Duration = Duration::from_secs\((\d+)\)", source))
        self.assertEqual(stop, 28)
        self.assertGreater(SCHEMA["properties"]["terminationGracePeriodSeconds"]["minimum"], stop)
        self.assertGreater(pod["terminationGracePeriodSeconds"], stop)


if __name__ == "__main__":
    unittest.main()
