"""What the Helm chart promises. Run by scripts/check-helm.sh test."""

import base64
import json
import pathlib
import re
import tomllib
import unittest

import yaml

from tests.install import chart
from tests.install.chart import (
    ROOT, VALUES, Refused, connector, environment, merged, nested, new, objects, of_kind, old, only, pods, running, toml, with_)

SCHEMA = json.loads((chart.CHART / "values.schema.json").read_text())
DEFAULTS = yaml.safe_load((chart.CHART / "values.yaml").read_text())
SELECTOR = {"app.kubernetes.io/name": "apono-connector", "app.kubernetes.io/instance": "shop", "app.kubernetes.io/component": "connector"}


def document_of_the_configuration():
    """The complete file of docs/configuration.md, each key at its default where it has one."""
    text = (ROOT / "docs/configuration.md").read_text()
    return tomllib.loads(re.search(r"```toml\n(.*?)```", text, re.DOTALL)[1])


def keys(table, prefix=""):
    for name, value in table.items():
        if isinstance(value, dict):
            yield from keys(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value


def resolved(schema):
    return SCHEMA["definitions"][schema["$ref"].rpartition("/")[2]] if "$ref" in schema else schema


def places(schema, path=""):
    """Every value of the schema with its path."""
    schema = resolved(schema)
    yield path, schema
    for name, inner in schema.get("properties", {}).items():
        yield from places(inner, f"{path}.{name}".strip("."))


class Case(unittest.TestCase):
    def refuse(self, values, *words):
        """Both Helms refuse these values and name what is wrong; they write a path with dots or with slashes."""
        for render in (old, new):
            with self.subTest(helm=render.__name__), self.assertRaises(Refused) as refused:
                render(values)
            for word in words:
                self.assertIn(word, str(refused.exception).replace("/", "."))


class BothHelms(Case):
    def test_make_the_same_objects_of_every_set_of_values(self):
        for name in VALUES:
            with self.subTest(values=name):
                self.assertEqual(objects(name), new(VALUES[name])[0])

    def test_have_the_version_of_the_connector(self):
        cargo = tomllib.loads((ROOT / "Cargo.toml").read_text())["package"]["version"]
        about = yaml.safe_load((chart.CHART / "Chart.yaml").read_text())
        self.assertEqual((about["version"], about["appVersion"]), (cargo, cargo))
        (container,) = pods(objects("default"))[0]["containers"]
        self.assertEqual(container["image"], f"registry.example.com/apono-connector:{cargo}")
        (container,) = pods(objects("everything"))[0]["containers"]
        self.assertEqual(container["image"], "registry.example.com:5000/team/apono-connector@" + VALUES["everything"]["image"]["digest"])


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
        for path, schema in places(SCHEMA):
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
        for path, schema in places(SCHEMA):
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
        self.assertEqual(len(checked), 9, checked)

    def test_the_defaults_are_those_of_the_connector(self):
        documented = dict(keys(document_of_the_configuration()))
        own = {path: value for path, value in keys(DEFAULTS)
               if path in documented and value != "" and path.split(".")[0] in ("guardrails", "executor", "sweeps", "secrets", "log")}
        self.assertEqual(own, {path: documented[path] for path in own})
        self.assertEqual(len(own), 11, sorted(own))

    def test_every_key_of_the_connector_can_be_set_is_set_or_is_left_out_for_a_reason(self):
        settable = {path for path, _ in places(SCHEMA)}
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
        self.assertEqual(metadata, {"platform": "kubernetes", "namespace": "access", "pod": "shop-0", "node": "node-1",
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
            status, metrics = daemon.ask("/metrics")
            self.assertEqual(status, 200)
            self.assertEqual(daemon.stop(), 0)
        for expression in expressions():
            for name in re.findall(r"apono_\w+", expression):
                self.assertIn(f"\n{name} ", metrics.replace("{", " {"), expression)
        source = (ROOT / "src/lifecycle.rs").read_text()
        stop = sum(int(found) for found in re.findall(r"pub const (?:SOFT|HARD)_STOP: Duration = Duration::from_secs\((\d+)\)", source))
        self.assertEqual(stop, 28)
        self.assertGreater(SCHEMA["properties"]["terminationGracePeriodSeconds"]["minimum"], stop)
        self.assertGreater(pod["terminationGracePeriodSeconds"], stop)


def expressions():
    (group,) = only(objects("everything"), "PrometheusRule")["spec"]["groups"]
    return [rule["expr"] for rule in group["rules"]]


class Secrets(Case):
    def test_the_token_is_in_its_secret_and_nowhere_else(self):
        token = VALUES["own-token"]["apono"]["token"]
        found = old(VALUES["own-token"])
        hidden = base64.b64encode(token.encode()).decode()
        self.assertEqual(only(found, "Secret")["data"], {"token": hidden})
        for key, body in found.items():
            text = json.dumps(body)
            self.assertNotIn(token, text, key)
            self.assertEqual(hidden in text, key[0] == "Secret", key)
        self.assertNotIn(token, new(VALUES["own-token"])[1], "the notes show it")

    def test_it_is_a_file_that_follows_its_secret(self):
        for name in VALUES:
            found = objects(name)
            (file,) = {tomllib.loads(toml(found))["control_plane"]["token_file"]}
            for pod in pods(found):
                with self.subTest(values=name):
                    self.assertNotIn("APONO_TOKEN", environment(pod))
                    wanted = VALUES[name]["apono"].get("tokenSecret", {})
                    self.assertEqual(self.volume_of(pod, file)["secret"], {
                        "secretName": wanted.get("name", "shop-apono-connector-token"), "defaultMode": 0o440,
                        "items": [{"key": wanted.get("key", "token"), "path": "token"}]})
            self.assertEqual(len(of_kind(found, "Secret")), int(name == "own-token"))

    def test_every_file_the_configuration_names_is_mounted(self):
        for name in VALUES:
            for path, value in keys(tomllib.loads(toml(objects(name)))):
                if path.endswith("_file"):
                    for pod in pods(objects(name)):
                        with self.subTest(values=name, path=path):
                            self.volume_of(pod, value)
        (pod, _) = pods(objects("everything"))
        self.assertEqual(self.volume_of(pod, "/etc/apono-connector/credentials/orders.ro/any")["secret"]["secretName"], "orders.ro")

    def volume_of(self, pod, file):
        """The volume a file comes from: mounted whole, because a file under a subPath is never renewed, and read-only."""
        folder = str(pathlib.PurePosixPath(file).parent)
        (mount,) = [mount for mount in pod["containers"][0]["volumeMounts"] if mount["mountPath"] == folder]
        self.assertEqual(set(mount), {"name", "mountPath", "readOnly"})
        (volume,) = [volume for volume in pod["volumes"] if volume["name"] == mount["name"]]
        for item in next(iter(body for key, body in volume.items() if key != "name")).get("items", []):
            self.assertEqual(item["path"], pathlib.PurePosixPath(file).name)
        return volume

    def test_a_proxy_with_a_password_comes_from_a_secret(self):
        entries = {entry["name"]: entry for entry in pods(objects("private-network"))[0]["containers"][0]["env"]}
        self.assertEqual(entries["HTTPS_PROXY"]["valueFrom"], {"secretKeyRef": {"name": "proxy", "key": "url"}})
        self.assertEqual(entries["NO_PROXY"]["value"], ".internal.example.com")


class Power(Case):
    def test_nothing_may_ask_the_cluster_unless_its_secrets_are_read(self):
        for name in VALUES:
            found = objects(name)
            read = VALUES[name].get("secrets", {}).get("kubernetes", {})
            with self.subTest(values=name):
                self.assertEqual(len(of_kind(found, "Role")), len(read.get("read", [])) * read.get("createRoles", True))
                self.assertEqual(len(of_kind(found, "RoleBinding")), len(of_kind(found, "Role")))
                self.assertEqual(of_kind(found, "ClusterRole") + of_kind(found, "ClusterRoleBinding"), [])
                connectors, tests = pods(found)
                self.assertEqual(connectors["automountServiceAccountToken"], bool(read.get("read")))
                self.assertFalse(tests["automountServiceAccountToken"])
                for account in of_kind(found, "ServiceAccount"):
                    self.assertFalse(account["automountServiceAccountToken"])

    def test_each_role_lets_the_named_secrets_be_read_and_nothing_else(self):
        found = objects("everything")
        rules = {role["metadata"]["namespace"]: role["rules"] for role in of_kind(found, "Role")}
        self.assertEqual(rules, {
            namespace: [{"apiGroups": [""], "resources": ["secrets"], "verbs": ["get"], "resourceNames": names}]
            for namespace, names in {"shop": ["orders", "orders-replica"], "billing": ["invoices"]}.items()})
        for binding in of_kind(found, "RoleBinding"):
            self.assertEqual(binding["subjects"], [{"kind": "ServiceAccount", "name": "orders", "namespace": "access"}])
            self.assertEqual(binding["roleRef"], {
                "apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "orders-connector-read-secrets"})
            self.assertIn(("Role", binding["metadata"]["namespace"], binding["roleRef"]["name"]), found)

    def test_the_token_for_vault_is_good_for_vault_alone(self):
        def sources(name):
            return [v["projected"]["sources"] for v in pods(objects(name))[0]["volumes"] if "projected" in v]
        self.assertEqual(sources("everything"), [[
            {"serviceAccountToken": {"path": "token", "expirationSeconds": 3600, "audience": "vault"}}]])
        self.assertEqual(sources("private-network") + sources("vault-token"), [])

    def test_a_role_of_aws_is_on_the_account_that_the_pods_use(self):
        found = objects("eks-irsa")
        account = only(found, "ServiceAccount")
        arn = VALUES["eks-irsa"]["serviceAccount"]["iamRoleArn"]
        self.assertEqual(account["metadata"]["annotations"], {"eks.amazonaws.com/role-arn": arn})
        self.assertEqual(pods(found)[0]["serviceAccountName"], account["metadata"]["name"])
        self.assertEqual(environment(pods(found)[0])["AWS_REGION"], "eu-central-1")
        self.assertNotIn("annotations", only(objects("default"), "ServiceAccount")["metadata"])
        # EKS hands out a role when a pod is made, so another one must make other pods.
        another = old(with_("eks-irsa", "serviceAccount.iamRoleArn", arn + "-2"))
        self.assertNotEqual(only(found, "StatefulSet")["spec"]["template"], only(another, "StatefulSet")["spec"]["template"])

    def test_pods_keep_the_restricted_pod_security_standard(self):
        for name in VALUES:
            for pod in pods(objects(name)):
                with self.subTest(values=name):
                    self.check_restricted(pod)

    def check_restricted(self, pod):
        """Each field the standard names, of baseline and restricted."""
        for field in ("hostNetwork", "hostPID", "hostIPC", "initContainers", "ephemeralContainers"):
            self.assertNotIn(field, pod)
        (container,) = pod["containers"]
        self.assertEqual([port for port in container.get("ports", []) if "hostPort" in port], [])
        allowed = {"configMap", "csi", "downwardAPI", "emptyDir", "ephemeral", "persistentVolumeClaim", "projected", "secret"}
        for volume in pod["volumes"]:
            self.assertLessEqual(set(volume) - {"name"}, allowed)
        whole, own = pod["securityContext"], container["securityContext"]
        self.assertLessEqual(set(whole), {"runAsNonRoot", "runAsUser", "runAsGroup", "fsGroup", "fsGroupChangePolicy", "seccompProfile"})
        self.assertEqual((whole["runAsUser"], whole["runAsGroup"], whole["fsGroup"]), (65532, 65532, 65532))
        self.assertTrue(whole["runAsNonRoot"])
        self.assertEqual(whole["seccompProfile"], {"type": "RuntimeDefault"})
        self.assertEqual(own, {
            "runAsNonRoot": True, "runAsUser": 65532, "runAsGroup": 65532, "allowPrivilegeEscalation": False, "privileged": False,
            "readOnlyRootFilesystem": True, "capabilities": {"drop": ["ALL"]}, "seccompProfile": {"type": "RuntimeDefault"}})
        self.assertNotIn("procMount", own)


class Network(Case):
    def test_by_default_nobody_comes_in_and_little_goes_out(self):
        spec = only(objects("default"), "NetworkPolicy")["spec"]
        self.assertEqual(spec["policyTypes"], ["Ingress", "Egress"])
        self.assertEqual(spec["ingress"], [])
        out = [({(p["protocol"], p["port"]) for p in rule["ports"]}, sorted(to["ipBlock"]["cidr"] for to in rule.get("to", [])))
               for rule in spec["egress"]]
        private = ["10.0.0.0/8", "100.64.0.0/10", "172.16.0.0/12", "192.168.0.0/16", "fc00::/7"]
        self.assertEqual(out, [
            ({("UDP", 53), ("TCP", 53)}, []), ({("TCP", 443)}, []), ({("TCP", 5432)}, private),
            ({("TCP", 80)}, ["169.254.170.23/32", "fd00:ec2::23/128"])])

    def test_the_ports_of_the_addresses_that_are_set_are_open_and_no_others(self):
        spec = only(objects("everything"), "NetworkPolicy")["spec"]
        names, https, databases, identity, more = spec["egress"]
        self.assertEqual(sorted(port["port"] for port in https["ports"]), [443, 3128, 6443, 8200, 8443, 8444])
        self.assertEqual(https["to"], [{"ipBlock": {"cidr": "10.0.0.0/8"}}])
        self.assertEqual([port["port"] for port in databases["ports"]], [5432, 6432])
        self.assertEqual(names["to"], VALUES["everything"]["networkPolicy"]["dns"]["to"])
        self.assertEqual(more, VALUES["everything"]["networkPolicy"]["extraEgress"][0])
        self.assertEqual(spec["ingress"], [{
            "from": VALUES["everything"]["networkPolicy"]["metricsFrom"], "ports": [{"protocol": "TCP", "port": 8080}]}])
        _, https = only(objects("private-network"), "NetworkPolicy")["spec"]["egress"]
        self.assertEqual([port["port"] for port in https["ports"]], [443, 3128])
        for url in ("api.example.com:8443", "https://[2001:db8::1]:8443/a", "https://api.example.com:8443"):
            _, https, *_ = only(old(with_("default", "apono.url", url)), "NetworkPolicy")["spec"]["egress"]
            self.assertEqual([port["port"] for port in https["ports"]], [443, 8443], url)

    def test_every_selector_finds_the_connector_and_not_its_test(self):
        for name in VALUES:
            found = objects(name)
            workload = only(found, "StatefulSet")
            selector = workload["spec"]["selector"]["matchLabels"]
            pod, test = workload["spec"]["template"]["metadata"]["labels"], only(found, "Pod")["metadata"]["labels"]
            selectors = [selector, only(found, "Service")["spec"]["selector"]]
            selectors += [body["spec"]["selector"]["matchLabels"] for body in of_kind(found, "PodDisruptionBudget")]
            selectors += [body["spec"]["podSelector"]["matchLabels"] for body in of_kind(found, "NetworkPolicy")]
            selectors += [c["labelSelector"]["matchLabels"] for c in pods(found)[0].get("topologySpreadConstraints", [])]
            for labels in selectors:
                with self.subTest(values=name, labels=labels):
                    self.assertLessEqual(labels.items(), pod.items())
                    self.assertFalse(labels.items() <= test.items())
            service = only(found, "Service")["metadata"]["labels"]
            for body in of_kind(found, "ServiceMonitor"):
                self.assertLessEqual(body["spec"]["selector"]["matchLabels"].items(), service.items())


class Updates(Case):
    # What Kubernetes lets change in the spec of a StatefulSet; everything else is refused by the API.
    CHANGEABLE = {"replicas", "template", "updateStrategy", "revisionHistoryLimit", "minReadySeconds", "ordinals",
                  "persistentVolumeClaimRetentionPolicy"}

    def test_change_nothing_that_cannot_be_changed(self):
        later = {
            "image": {"tag": "9.9.9"}, "podLabels": {"x": "y"}, "podAnnotations": {"x": "y"}, "guardrails": {"longest_grant_s": 60},
            "replicas": 5, "minReadySeconds": 1, "serviceAccount": {"create": True, "name": "another", "annotations": {"x": "y"}},
            "resources": {"limits": {"memory": "1Gi"}}, "metrics": {"serviceMonitor": {"enabled": True}}}
        for name in VALUES:
            def fixed(found):
                spec = {key: value for key, value in only(found, "StatefulSet")["spec"].items() if key not in self.CHANGEABLE}
                claims = [(claim["metadata"]["name"], claim["spec"]) for claim in of_kind(found, "PersistentVolumeClaim")]
                names = {key for key in found if key[0] in ("StatefulSet", "Service", "PersistentVolumeClaim", "ConfigMap", "Secret")}
                bindings = [binding["roleRef"] for binding in of_kind(found, "RoleBinding")]
                return spec, claims, names, bindings
            with self.subTest(values=name), chart.next_version() as copy:
                after = old(merged(VALUES[name], later), copy)
                self.assertEqual(fixed(objects(name)), fixed(after))
                self.assertIn(b"9.9.9", json.dumps(after["StatefulSet", "access", only(after, "StatefulSet")["metadata"]["name"]]).encode())

    def test_go_one_by_one_and_only_past_an_instance_that_is_ready(self):
        spec = only(objects("default"), "StatefulSet")["spec"]
        self.assertEqual((spec["replicas"], spec["updateStrategy"], spec["podManagementPolicy"]), (2, {"type": "RollingUpdate"}, "Parallel"))
        (container,) = spec["template"]["spec"]["containers"]
        self.assertEqual(container["readinessProbe"]["httpGet"]["path"], "/readyz")
        self.assertGreater(spec["minReadySeconds"], 0)

    def test_a_drain_never_waits_for_ever_and_never_takes_all_of_several(self):
        for replicas in (1, 2, 3, 9):
            spec = only(old(with_("default", "replicas", replicas)), "PodDisruptionBudget")["spec"]
            healthy_needed = max(replicas - spec["maxUnavailable"], 0)
            self.assertGreaterEqual(replicas - healthy_needed, 1)
            self.assertEqual(healthy_needed, replicas - 1)
            # Without its control plane no instance is ready, and nodes must drain all the same.
            self.assertEqual(spec["unhealthyPodEvictionPolicy"], "AlwaysAllow")
            self.assertNotIn("minAvailable", spec)

    def test_each_kind_of_state_is_where_it_says(self):
        def state(name):
            spec = only(objects(name), "StatefulSet")["spec"]
            volumes = [volume for volume in spec["template"]["spec"]["volumes"] if volume["name"] == "state"]
            (mount,) = [m for m in spec["template"]["spec"]["containers"][0]["volumeMounts"] if m["name"] == "state"]
            self.assertEqual(mount["mountPath"], tomllib.loads(toml(objects(name)))["state_dir"])
            shared = environment(spec["template"]["spec"]).get("APONO_STATE_SHARED")
            return [claim["spec"] for claim in spec.get("volumeClaimTemplates", [])], volumes, shared
        own = {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "2Gi"}}}
        self.assertEqual(state("default"), ([own], [], None))
        self.assertEqual(state("eks-irsa"), ([{**own, "storageClassName": "gp3"}], [], None))
        self.assertEqual(state("own-token"), ([], [{"name": "state", "emptyDir": {"sizeLimit": "2Gi"}}], None))
        self.assertEqual(state("existing-claim"), ([], [{"name": "state", "persistentVolumeClaim": {"claimName": "efs-apono"}}], "true"))
        made = only(objects("shared-state"), "PersistentVolumeClaim")
        self.assertEqual(state("shared-state")[1][0]["persistentVolumeClaim"]["claimName"], made["metadata"]["name"])
        self.assertEqual(made["metadata"]["annotations"], {"helm.sh/resource-policy": "keep"})
        self.assertEqual(made["spec"]["accessModes"], ["ReadWriteMany"])

    def test_notes_name_what_is_there_and_warn_of_what_is_weak(self):
        notes = {name: new(VALUES[name])[1] for name in VALUES}
        for name, text in notes.items():
            workload = only(objects(name), "StatefulSet")["metadata"]["name"]
            self.assertIn(f"rollout status statefulset/{workload}", text)
            self.assertIn(f"exec {workload}-0 -- /apono-connector healthcheck", text)
        weak = {"default": 0, "everything": 0, "minimal": 3, "own-token": 2, "vault-token": 1}
        self.assertEqual({name: notes[name].count("WARNING") for name in weak}, weak)


class Alerts(Case):
    def test_there_is_one_for_everything_the_documentation_calls_worth_it(self):
        text = (ROOT / "docs/metrics.md").read_text()
        worth = re.findall(r"^- `(?:increase\()?(apono_\w+)", text.partition("Worth an alert")[2], re.MULTILINE)
        self.assertEqual(len(worth), 5)
        for name in worth:
            self.assertTrue(any(name in expression for expression in expressions()), name)
        known = set(re.findall(r"^\| `(apono_\w+)`", text, re.MULTILINE))
        for expression in expressions():
            self.assertLessEqual(set(re.findall(r"apono_\w+", expression)), known)
            self.assertIn('{namespace="access",service="orders-connector"}', expression)


if __name__ == "__main__":
    unittest.main()
