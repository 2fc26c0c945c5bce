"""What the Helm chart makes and promises. Run by scripts/check-helm.sh test."""

import base64
import json
import pathlib
import re
import tomllib
import unittest

import yaml

from tests.install.helm_chart import (
    CHART, ROOT, VALUES, environment, keys, merged, new, next_version, objects, of_kind, old, only, pods, running, toml, with_)


class BothHelms(unittest.TestCase):
    def test_make_the_same_objects_of_every_set_of_values(self):
        for name in VALUES:
            with self.subTest(values=name):
                self.assertEqual(objects(name), new(VALUES[name])[0])

    def test_have_the_version_of_the_connector(self):
        cargo = tomllib.loads((ROOT / "Cargo.toml").read_text())["package"]["version"]
        about = yaml.safe_load((CHART / "Chart.yaml").read_text())
        self.assertEqual((about["version"], about["appVersion"]), (cargo, cargo))
        (container,) = pods(objects("default"))[0]["containers"]
        self.assertEqual(container["image"], f"registry.example.com/apono-connector:{cargo}")
        (container,) = pods(objects("everything"))[0]["containers"]
        self.assertEqual(container["image"], "registry.example.com:5000/team/apono-connector@" + VALUES["everything"]["image"]["digest"])


def expressions():
    (group,) = only(objects("everything"), "PrometheusRule")["spec"]["groups"]
    return [rule["expr"] for rule in group["rules"]]


class Secrets(unittest.TestCase):
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
        self.assertEqual(entries["NO_PROXY"]["value"], "169.254.170.23,fd00:ec2::23,.internal.example.com")
        self.assertNotIn("NO_PROXY", environment(pods(objects("default"))[0]))


class Power(unittest.TestCase):
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


def policy(found, component="connector"):
    """The egress and ingress of the pods of a component, judged by the one policy that selects them."""
    (spec,) = [body["spec"] for body in of_kind(found, "NetworkPolicy")
               if body["spec"]["podSelector"]["matchLabels"]["app.kubernetes.io/component"] == component]
    return spec


class Network(unittest.TestCase):
    def test_by_default_nobody_comes_in_and_little_goes_out(self):
        spec = policy(objects("default"))
        self.assertEqual(spec["policyTypes"], ["Ingress", "Egress"])
        self.assertEqual(spec["ingress"], [])
        out = [({(p["protocol"], p["port"]) for p in rule["ports"]}, sorted(to["ipBlock"]["cidr"] for to in rule.get("to", [])))
               for rule in spec["egress"]]
        private = ["10.0.0.0/8", "100.64.0.0/10", "172.16.0.0/12", "192.168.0.0/16", "fc00::/7"]
        self.assertEqual(out, [
            ({("UDP", 53), ("TCP", 53)}, []), ({("TCP", 443)}, []), ({("TCP", 5432)}, private),
            ({("TCP", 80)}, ["169.254.170.23/32", "fd00:ec2::23/128"])])

    def test_the_ports_of_the_addresses_that_are_set_are_open_and_no_others(self):
        spec = policy(objects("everything"))
        names, https, databases, identity, more = spec["egress"]
        self.assertEqual(sorted(port["port"] for port in https["ports"]), [443, 3128, 6443, 8200, 8443, 8444])
        self.assertEqual(https["to"], [{"ipBlock": {"cidr": "10.0.0.0/8"}}])
        self.assertEqual([port["port"] for port in databases["ports"]], [5432, 6432])
        self.assertEqual(names["to"], VALUES["everything"]["networkPolicy"]["dns"]["to"])
        self.assertEqual(more, VALUES["everything"]["networkPolicy"]["extraEgress"][0])
        self.assertEqual(spec["ingress"], [{
            "from": VALUES["everything"]["networkPolicy"]["metricsFrom"], "ports": [{"protocol": "TCP", "port": 8080}]}])
        _, https = policy(objects("private-network"))["egress"]
        self.assertEqual([port["port"] for port in https["ports"]], [443, 3128])
        for url in ("api.example.com:8443", "https://[2001:db8::1]:8443/a", "https://api.example.com:8443"):
            _, https, *_ = policy(old(with_("default", "apono.url", url)))["egress"]
            self.assertEqual([port["port"] for port in https["ports"]], [443, 8443], url)

    def test_every_selector_finds_the_connector_and_not_its_test(self):
        for name in VALUES:
            found = objects(name)
            workload = only(found, "StatefulSet")
            selector = workload["spec"]["selector"]["matchLabels"]
            pod, test = workload["spec"]["template"]["metadata"]["labels"], only(found, "Pod")["metadata"]["labels"]
            selectors = [selector, only(found, "Service")["spec"]["selector"]]
            selectors += [body["spec"]["selector"]["matchLabels"] for body in of_kind(found, "PodDisruptionBudget")]
            if of_kind(found, "NetworkPolicy"):
                selectors.append(policy(found)["podSelector"]["matchLabels"])
                closed = policy(found, "test")
                self.assertLessEqual(closed["podSelector"]["matchLabels"].items(), test.items())
                self.assertEqual((closed["ingress"], closed["egress"], closed["policyTypes"]), ([], [], ["Ingress", "Egress"]))
            selectors += [c["labelSelector"]["matchLabels"] for c in pods(found)[0].get("topologySpreadConstraints", [])]
            for labels in selectors:
                with self.subTest(values=name, labels=labels):
                    self.assertLessEqual(labels.items(), pod.items())
                    self.assertFalse(labels.items() <= test.items())
            service = only(found, "Service")["metadata"]["labels"]
            for body in of_kind(found, "ServiceMonitor"):
                self.assertLessEqual(body["spec"]["selector"]["matchLabels"].items(), service.items())


class Updates(unittest.TestCase):
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
            with self.subTest(values=name), next_version() as copy:
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


class Alerts(unittest.TestCase):
    def test_there_is_one_for_everything_the_documentation_calls_worth_it(self):
        text = (ROOT / "docs/metrics.md").read_text()
        worth = re.findall(r"^- `(?:increase\()?(apono_\w+)", text.partition("Worth an alert")[2], re.MULTILINE)
        self.assertGreater(len(worth), 4)
        for name in worth:
            self.assertTrue(any(name in expression for expression in expressions()), name)
        for expression in expressions():
            self.assertIn('{namespace="access",service="orders-connector"}', expression)

    def test_they_ask_for_series_that_are_there_from_the_start(self):
        with running(toml(objects("default")), environment(pods(objects("default"))[0])) as daemon:
            status, metrics = daemon.ask(only(objects("everything"), "ServiceMonitor")["spec"]["endpoints"][0]["path"])
        self.assertEqual(status, 200)
        for expression in expressions():
            for name in re.findall(r"apono_\w+", expression):
                self.assertRegex(metrics, rf"(?m)^{name}[ {{]")


if __name__ == "__main__":
    unittest.main()
