"""Owns reading the chart, rendering it with both Helms, and asking the connector about what came out. Never judges what it sees."""

import contextlib
import functools
import json
import os
import pathlib
import random
import re
import shutil
import signal
import socket
import subprocess
import tempfile
import time
import urllib.error
import urllib.request

import helm_python
import yaml

ROOT = pathlib.Path(__file__).resolve().parents[2]
CHART = ROOT / "deploy/helm/apono-connector"
VALUES = {path.stem: yaml.safe_load(path.read_text()) for path in sorted((ROOT / "tests/install/helm-values").glob("*.yaml"))}
SCHEMA = json.loads((CHART / "values.schema.json").read_text())
# A version between the oldest the chart takes and the newest there is: nothing that is rendered depends on it.
KUBERNETES = "1.33.0"
RELEASE, NAMESPACE = "shop", "access"
# Longest wait for a process on a busy machine.
PATIENCE_S = 60


class Refused(Exception):
    """Helm did not render; the text is what it said."""


def merged(*layers):
    """Values over values, as Helm lays them; a None stays, because it takes a default away."""
    result = {}
    for layer in layers:
        for key, value in layer.items():
            both = isinstance(value, dict) and isinstance(result.get(key), dict)
            result[key] = merged(result[key], value) if both else value
    return result


def nested(path, value):
    """`a.b`, 1 becomes {"a": {"b": 1}}."""
    for key in reversed(path.split(".")):
        value = {key: value}
    return value


def with_(name, path, value):
    return merged(VALUES[name], nested(path, value))


def places(schema=SCHEMA, path=""):
    """Every value of the schema with its path."""
    if "$ref" in schema:
        schema = SCHEMA["definitions"][schema["$ref"].rpartition("/")[2]]
    yield path, schema
    for name, inner in schema.get("properties", {}).items():
        yield from places(inner, f"{path}.{name}".strip("."))


def keys(table, prefix=""):
    """Every value of a tree with its path."""
    for name, value in table.items():
        if isinstance(value, dict):
            yield from keys(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value


def run_helm(*arguments, stdin=None):
    """What the old Helm prints; Refused when it fails."""
    command = [os.environ["APONO_TEST_HELM"], *map(str, arguments)]
    done = subprocess.run(command, input=stdin, capture_output=True, text=True, timeout=PATIENCE_S, check=False, cwd=ROOT)
    if done.returncode:
        raise Refused(done.stderr)
    return done.stdout


def by_name(text):
    documents = [document for document in yaml.safe_load_all(text) if document]
    objects = {(d["kind"], d["metadata"].get("namespace"), d["metadata"]["name"]): d for d in documents}
    assert len(objects) == len(documents), "two objects of one name"
    return objects


def old(values, chart=CHART, release=RELEASE, namespace=NAMESPACE):
    """The objects Helm 3.6 makes of these values."""
    return by_name(run_helm(
        "template", release, chart, "--namespace", namespace, "--kube-version", KUBERNETES, "--values", "-",
        stdin=json.dumps(values)))


def new(values, chart=CHART):
    """The objects Helm 4 makes of these values, and its notes."""
    try:
        with helm_python.Chart.load(chart) as loaded:
            rendered = loaded.render(values, name=RELEASE, namespace=NAMESPACE)
    except helm_python.HelmError as error:
        raise Refused(str(error)) from error
    notes = rendered.pop(f"{CHART.name}/templates/NOTES.txt")
    return by_name("\n---\n".join(rendered.values())), notes


@functools.cache
def objects(name):
    """The objects of one of the sets of values in helm-values."""
    return old(VALUES[name])


def of_kind(found, kind):
    return [body for (its_kind, _, _), body in found.items() if its_kind == kind]


def only(found, kind):
    (body,) = of_kind(found, kind)
    return body


def pods(found):
    """The specs of the pods: the connector's, and the one of `helm test`."""
    return [only(found, "StatefulSet")["spec"]["template"]["spec"], only(found, "Pod")["spec"]]


def toml(found):
    return only(found, "ConfigMap")["data"]["connector.toml"]


def environment(pod):
    """The variables of a pod's container as the cluster would set them; what comes from a secret is made up."""
    fields = {"metadata.name": "shop-0", "metadata.namespace": NAMESPACE, "spec.nodeName": "node-1"}
    # In every container.
    variables = {"KUBERNETES_SERVICE_HOST": "10.96.0.1", "KUBERNETES_SERVICE_PORT": "443"}
    for entry in pod["containers"][0]["env"]:
        source = entry.get("valueFrom", {})
        if "fieldRef" in source:
            variables[entry["name"]] = fields[source["fieldRef"]["fieldPath"]]
        elif source:
            variables[entry["name"]] = "http://someone:password@proxy.example.com:3128"
        else:
            variables[entry["name"]] = re.sub(r"\$\(([A-Z_]+)\)", lambda hit: variables[hit[1]], entry["value"])
    return variables


def connector(arguments, text, variables):
    """Runs the connector to its end with this configuration: its exit status and all it said."""
    with tempfile.TemporaryDirectory() as folder:
        file = pathlib.Path(folder, "connector.toml")
        file.write_text(text)
        done = subprocess.run(
            [os.environ["APONO_TEST_CONNECTOR"], *arguments], env={**variables, "APONO_CONFIG": str(file)},
            capture_output=True, text=True, timeout=PATIENCE_S, check=False)
        return done.returncode, done.stdout + done.stderr


class Running:
    """The connector at work with a rendered configuration and no control plane; only its folders and its port are others."""

    def __init__(self, folder, text, variables):
        self.port = free_port()
        file, token = folder / "connector.toml", folder / "token"
        token.write_text("token")
        replaced = {
            '"0.0.0.0:8080"': f'"127.0.0.1:{self.port}"',
            '"/var/lib/apono-connector"': f'"{folder}/state"',
            '"/etc/apono-connector/token/token"': f'"{token}"',
            # Nobody answers there.
            '"api.example.com"': '"https://127.0.0.1:9"',
        }
        for here, there in replaced.items():
            assert text.count(here) == 1, here
            text = text.replace(here, there)
        file.write_text(text)
        self.variables = {**variables, "APONO_CONFIG": str(file)}
        with open(folder / "log", "wb") as log:
            self.process = subprocess.Popen(
                [os.environ["APONO_TEST_CONNECTOR"], "run"], env=self.variables, stdout=log, stderr=log)

    def ask(self, path):
        """Status and body of a GET."""
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.port}{path}", timeout=5) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode()

    def wait_until_it_answers(self):
        end = time.monotonic() + PATIENCE_S
        while True:
            with contextlib.suppress(OSError):
                return self.ask("/healthz")
            assert self.process.poll() is None, "the connector ended by itself"
            assert time.monotonic() < end, "the connector does not answer"
            time.sleep(0.05)

    def told(self, *arguments):
        """What another process with the same configuration is told, as `kubectl exec` starts one: its exit status and all it said."""
        done = subprocess.run([os.environ["APONO_TEST_CONNECTOR"], *arguments], env=self.variables, capture_output=True, text=True,
                              timeout=PATIENCE_S, check=False)
        return done.returncode, done.stdout + done.stderr

    def stop(self):
        """Its exit status after SIGTERM."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(PATIENCE_S)


@contextlib.contextmanager
def running(text, variables):
    with tempfile.TemporaryDirectory() as folder:
        daemon = Running(pathlib.Path(folder), text, variables)
        try:
            daemon.wait_until_it_answers()
            yield daemon
        finally:
            daemon.process.kill()
            daemon.process.wait()


def free_port():
    """One the system does not hand out by itself, so that nobody gets it in between."""
    while True:
        port = random.randrange(20000, 32000)
        with socket.socket() as listener, contextlib.suppress(OSError):
            listener.bind(("127.0.0.1", port))
            return port


@contextlib.contextmanager
def next_version():
    """A copy of the chart as its next version would be."""
    with tempfile.TemporaryDirectory() as folder:
        copy = pathlib.Path(folder, CHART.name)
        shutil.copytree(CHART, copy)
        file = copy / "Chart.yaml"
        text = re.sub(r'(?m)^(version|appVersion): .*$', r'\1: "9.9.9"', file.read_text())
        file.write_text(text)
        yield copy
