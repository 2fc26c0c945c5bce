"""What the image holds, and that it runs as its guide says. Run by `scripts/check-image.sh test`, in namespaces of its own."""

import gzip
import hashlib
import json
import os
import re
import shutil
import stat
import struct
import subprocess
import tempfile
import time
import tomllib
import unittest
from pathlib import Path

from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator
from image_run import NAME, PATIENCE, USER, Connector, Front, Names, make_authority, raise_loopback, until

REPOSITORY = Path(__file__).resolve().parents[2]
TREE = Path(os.environ["APONO_IMAGE_TREE"])
CONFIG = json.loads(Path(os.environ["APONO_IMAGE_CONFIG"]).read_text())["Docker"]["config"]
BLOBS = Path(os.environ["APONO_IMAGE_LAYOUT"]) / "blobs/sha256"
CONTROL_PLANE = os.environ["APONO_CONTROL_PLANE"]
PLANE_PORT = 8700

# Largest compressed image in bytes.
LARGEST_IMAGE = 25_000_000
# Largest memory of an idle connector in KiB.
LARGEST_IDLE = 64 * 1024
# How long the connector idles before its memory is read, in seconds.
IDLE = 20
# Longest clean stop with nothing in hand in seconds; the promise with work in hand is 28.
LONGEST_STOP = 28

FOLDER_OF_DOCUMENTS = "usr/share/doc/apono-connector"
CONTENTS = {
    "apono-connector": "-rwxr-xr-x 0:0",
    "etc": "drwxr-xr-x 0:0",
    "etc/ssl": "drwxr-xr-x 0:0",
    "etc/ssl/certs": "drwxr-xr-x 0:0",
    "etc/ssl/certs/ca-certificates.crt": "-rw-r--r-- 0:0",
    "usr": "drwxr-xr-x 0:0",
    "usr/share": "drwxr-xr-x 0:0",
    "usr/share/doc": "drwxr-xr-x 0:0",
    FOLDER_OF_DOCUMENTS: "drwxr-xr-x 0:0",
    f"{FOLDER_OF_DOCUMENTS}/provenance.json": "-rw-r--r-- 0:0",
    f"{FOLDER_OF_DOCUMENTS}/sbom.cdx.json": "-rw-r--r-- 0:0",
    "var": "drwxr-xr-x 0:0",
    "var/lib": "drwxr-xr-x 0:0",
    "var/lib/apono-connector": f"drwx------ {USER}:{USER}",
}


def digest_of(path):
    return hashlib.sha256(path.read_bytes()).hexdigest()


def document(name):
    return json.loads((TREE / FOLDER_OF_DOCUMENTS / name).read_text())


def headers_of(program):
    """The kinds of a 64-bit ELF file's segments, and how many libraries its dynamic section asks for."""
    data = program.read_bytes()
    offset, size, count = struct.unpack_from("<Q", data, 32)[0], *struct.unpack_from("<HH", data, 54)
    segments = [struct.unpack_from("<IIQQQQ", data, offset + i * size) for i in range(count)]
    needed = 0
    for kind, _, start, _, _, length in segments:
        # PT_DYNAMIC holds pairs; DT_NEEDED is 1.
        if kind == 2:
            needed += sum(struct.unpack_from("<Q", data, start + at)[0] == 1 for at in range(0, length, 16))
    return [segment[0] for segment in segments], needed


class TheImage(unittest.TestCase):
    maxDiff = None

    def test_it_holds_one_program_authorities_what_describes_it_and_the_state_folder(self):
        found = {}
        for path in sorted(TREE.rglob("*")):
            at = path.lstat()
            found[str(path.relative_to(TREE))] = f"{stat.filemode(at.st_mode)} {at.st_uid}:{at.st_gid}"
            size = "" if path.is_dir() else f"{at.st_size:>10}"
            print(f"\n    {stat.filemode(at.st_mode)} {at.st_uid:>5}:{at.st_gid:<5} {size:>10} /{path.relative_to(TREE)}", end="")
        print()
        self.assertEqual(found, CONTENTS)

    def test_it_is_small(self):
        layers = json.loads((BLOBS.parents[1] / "index.json").read_text())["manifests"][0]["digest"]
        manifest = json.loads((BLOBS / layers.removeprefix("sha256:")).read_text())
        for layer in manifest["layers"]:
            gzip.open(BLOBS / layer["digest"].removeprefix("sha256:")).read(1)
        compressed = sum(layer["size"] for layer in manifest["layers"]) + manifest["config"]["size"]
        print(f"\n    compressed {compressed / 1e6:.1f} MB, the program alone {(TREE / 'apono-connector').stat().st_size / 1e6:.1f} MB")
        self.assertLess(compressed, LARGEST_IMAGE)

    def test_its_program_needs_no_loader_and_no_library(self):
        segments, needed = headers_of(TREE / "apono-connector")
        # PT_LOAD is there, PT_INTERP is not.
        self.assertIn(1, segments)
        self.assertNotIn(3, segments)
        self.assertEqual(needed, 0)

    def test_it_says_how_it_is_run(self):
        config = CONFIG
        self.assertEqual(config["User"], f"{USER}:{USER}")
        self.assertEqual(config["Entrypoint"], ["/apono-connector"])
        self.assertEqual(config["Cmd"], ["run"])
        self.assertEqual(list(config["Volumes"]), ["/var/lib/apono-connector"])
        self.assertEqual(config["Healthcheck"]["Test"], ["CMD", "/apono-connector", "healthcheck"])
        self.assertNotIn("ExposedPorts", config)
        version = tomllib.loads((REPOSITORY / "Cargo.toml").read_text())["package"]["version"]
        labels = {key.rsplit(".", 1)[1]: text for key, text in config["Labels"].items() if key.startswith("org.opencontainers.image.")}
        self.assertEqual(labels["version"], version)
        self.assertEqual(labels["revision"], os.environ["APONO_IMAGE_REVISION"])
        self.assertEqual(labels["licenses"], "Apache-2.0")

    def test_the_list_of_components_is_cyclonedx_and_is_what_the_lock_file_says(self):
        text = (TREE / FOLDER_OF_DOCUMENTS / "sbom.cdx.json").read_text()
        self.assertIsNone(JsonStrictValidator(SchemaVersion.V1_5).validate_str(text))
        locked = {
            (package["name"], package["version"]): package.get("checksum")
            for package in tomllib.loads((REPOSITORY / "Cargo.lock").read_text())["package"]
        }
        components = json.loads(text)["components"]
        crates = [part for part in components if part["purl"].startswith("pkg:cargo/")]
        for crate in crates:
            self.assertEqual(crate["hashes"][0]["content"], locked[crate["name"], crate["version"]], crate["name"])
            self.assertTrue(crate["licenses"], crate["name"])
        linked = {part["name"] for part in components if part["scope"] == "required"}
        print(f"\n    {len(crates)} crates, {sum(part['scope'] == 'required' for part in components)} components in the image", end=" ")
        self.assertLessEqual({"tokio", "rustls", "aws-lc-sys", "redb", "glibc", "rust-std", "ca-certificates"}, linked)
        # What is only for building, for tests, and for the reference control plane.
        self.assertTrue({"cc", "syn", "proptest", "rusqlite", "utoipa"}.isdisjoint(linked))
        self.assertTrue({"proptest", "rusqlite", "utoipa"}.isdisjoint(part["name"] for part in components))

    def test_the_components_are_those_the_program_names(self):
        # Messages of panics hold the path of their source: a witness that is not the tool that wrote the list.
        program = (TREE / "apono-connector").read_bytes()
        witnessed = {name.decode() for name in re.findall(rb"/registry/src/[^/]+/([A-Za-z0-9_-]+-[0-9][A-Za-z0-9.+_-]*)/", program)}
        listed = {f"{part['name']}-{part['version']}" for part in document("sbom.cdx.json")["components"] if part["scope"] == "required"}
        self.assertGreater(len(witnessed), 30)
        self.assertEqual(witnessed - listed, set())

    def test_the_provenance_is_of_this_program_and_these_sources(self):
        statement = document("provenance.json")
        self.assertEqual(statement["subject"][0]["digest"]["sha256"], digest_of(TREE / "apono-connector"))
        build = statement["predicate"]["buildDefinition"]
        sources = {part["name"]: part for part in build["resolvedDependencies"]}
        self.assertEqual(sources["Cargo.lock"]["digest"]["sha256"], digest_of(REPOSITORY / "Cargo.lock"))
        self.assertEqual(sources["sources"]["digest"]["gitCommit"], os.environ["APONO_IMAGE_REVISION"])
        self.assertEqual(build["externalParameters"]["baseImage"], os.environ["APONO_IMAGE_BASE"])
        self.assertIn("rustc 1.", sources["rustc"]["annotations"]["version"])

    def test_no_secret_and_no_path_of_the_builder_is_in_its_settings(self):
        self.assertEqual([entry for entry in CONFIG.get("Env") or [] if not entry.startswith("PATH=")], [])


class TheConnectorInIt(unittest.TestCase):
    """One control plane, reached by name over TLS; connectors come and go."""

    @classmethod
    def setUpClass(cls):
        raise_loopback()
        cls.stage = Path(tempfile.mkdtemp(prefix="apono-image."))
        cls.addClassCleanup(shutil.rmtree, cls.stage)
        cls.stage.chmod(0o711)
        make_authority(cls.stage)
        cls.authority = (cls.stage / "ca.pem").read_bytes()
        with (cls.stage / "plane.log").open("wb") as log:
            tokens = ["--connector-token-file", cls.stage / "connector.token", "--admin-token-file", cls.stage / "admin.token"]
            serve = [CONTROL_PLANE, "serve", "--listen", f"127.0.0.1:{PLANE_PORT}", "--store", cls.stage / "plane.sqlite", *tokens]
            plane = subprocess.Popen(serve, stdout=log, stderr=log)
        cls.addClassCleanup(plane.wait)
        cls.addClassCleanup(plane.kill)
        until("the control plane", lambda: "listening" in (cls.stage / "plane.log").read_text())
        cls.names, cls.front = Names(), Front(PLANE_PORT, cls.stage)
        cls.addClassCleanup(cls.front.shutdown)
        cls.addClassCleanup(cls.front.server_close)

    def connector(self, hosts="", authorities=None):
        work = self.stage / self._testMethodName
        state = work / "state"
        shutil.copytree(TREE / "var/lib/apono-connector", state)
        os.chown(state, USER, USER)
        hosts = "127.0.0.1 localhost\n" + hosts
        made = Connector(TREE, work, state, hosts, self.authority if authorities is None else authorities)
        self.addCleanup(made.end)
        return made

    def polls(self, connector):
        def polled():
            if connector.process.poll() is not None:
                raise AssertionError(f"it ended: {connector.log.read_text()}")
            return self.front.first("/tasks/lease", connector.started)

        return until("the first poll", polled) - connector.started

    def instances(self):
        ask = [CONTROL_PLANE, "connectors", "--url", f"http://127.0.0.1:{PLANE_PORT}", "--admin-token-file", self.stage / "admin.token"]
        return subprocess.run(ask, check=True, capture_output=True, text=True).stdout

    def test_it_runs_under_its_own_user_on_a_read_only_root_and_stops_cleanly(self):
        asked_before = len(self.names.asked)
        connector = self.connector(hosts=f"127.0.0.1 {NAME}\n").start()
        first_poll = self.polls(connector)
        self.assertIn("image", self.instances())
        self.assertEqual(self.names.asked[asked_before:], [], "the hosts file was enough")
        self.assertEqual(connector.status("Uid"), [str(USER)] * 4)
        self.assertEqual(connector.status("Gid"), [str(USER)] * 4)
        self.assertEqual(connector.status("Groups"), [])
        self.assertEqual(connector.status("CapEff"), ["0" * 16])
        self.assertEqual(connector.status("NoNewPrivs"), ["1"])
        with self.assertRaises(OSError):
            (connector.root / "written").touch()
        healthy = connector.run("healthcheck")
        self.assertEqual((healthy.returncode, healthy.stdout.strip()), (0, '{"alive":true}'))
        self.assertEqual(connector.run("grants").returncode, 0)
        time.sleep(max(0, IDLE - (time.monotonic() - connector.started)))
        resident, own = connector.kib("Rss"), connector.kib("Pss")
        status, took = connector.stop()
        print(
            f"\n    start to first poll {first_poll * 1000:.0f} ms; after {IDLE} s idle: RSS {resident / 1024:.1f} MiB,"
            f" PSS {own / 1024:.1f} MiB; SIGTERM to exit {took * 1000:.0f} ms",
            end=" ",
        )
        self.assertLess(resident, LARGEST_IDLE)
        self.assertEqual(status, 0, connector.log.read_text())
        self.assertLess(took, LONGEST_STOP)
        self.assertNotEqual(connector.run("healthcheck").returncode, 0, "unhealthy once it is gone")
        left = {path.name: (path.stat().st_uid, stat.filemode(path.stat().st_mode)) for path in connector.state.iterdir()}
        self.assertEqual(left["ledger.redb"], (USER, "-rw-------"))

    def test_it_finds_the_control_plane_by_dns_loads_nothing_and_makes_no_call_the_unit_forbids(self):
        asked_before = len(self.names.asked)
        connector = self.connector()
        trace = connector.root.parent / "trace"
        # As a grandchild, so that the process started here is the connector itself.
        connector.start(before=["strace", "--daemonize", "--follow-forks", "-qq", "-o", str(trace)])
        self.polls(connector)
        self.assertIn((NAME, 1), self.names.asked[asked_before:])
        self.assertEqual(connector.stop()[0], 0, connector.log.read_text())
        calls = until("the end of the trace", lambda: "exit_group(0)" in trace.read_text() and trace.read_text())
        # From the program's own start: before it come the tools that made its root and its user.
        own = calls[calls.index('execve("/apono-connector"') :]
        self.assertEqual(re.findall(r'open(?:at)?\([^\n]*\.so[^\n]*', own), [])
        self.assertEqual(re.findall(r"(?:mmap|mprotect)\([^\n]*PROT_WRITE\|PROT_EXEC[^\n]*", own), [])
        made = set(re.findall(r"^\d+ +([a-z0-9_]+)\(", own, re.MULTILINE))
        self.assertIn("epoll_wait", made)
        print(f"\n    {len(made)} kinds of system calls", end=" ")
        self.assertEqual(made - allowed_calls() - {"execve"}, set())

    def test_it_trusts_the_bundle_of_the_image_and_nothing_else(self):
        connector = self.connector(hosts=f"127.0.0.1 {NAME}\n", authorities=b"").start()
        until("a refused certificate", lambda: self.front.refused > 0)
        self.assertIsNone(self.front.first("/", connector.started))
        self.assertEqual(connector.run("healthcheck").returncode, 0, "no control plane is no reason to be killed")
        self.assertEqual(connector.stop()[0], 0)

    def test_an_instance_that_comes_back_on_its_state_is_the_same_instance(self):
        connector = self.connector(hosts=f"127.0.0.1 {NAME}\n")
        seen = []
        for _ in range(2):
            connector.start()
            self.polls(connector)
            seen.append(self.instances().count("\n"))
            self.assertEqual(connector.stop()[0], 0)
        self.assertEqual(seen[0], seen[1])


class TheGuide(unittest.TestCase):
    def options(self, text, image):
        """The options of a `docker run`, without those that say who keeps it running."""
        line = re.search(r"docker run (.*?)" + re.escape(image), text.replace("\\\n", " "), re.DOTALL)[1]
        return set(re.findall(r"--[a-z-]+(?: [^-\s]\S*)?", line)) - {"--rm", "--detach", "--restart unless-stopped"}

    def test_the_unit_of_the_container_runs_the_line_of_the_guide(self):
        guide = self.options((REPOSITORY / "docs/install/vm.md").read_text(), "apono-connector:0.1.0")
        unit = self.options((REPOSITORY / "deploy/systemd/apono-connector-container.service").read_text(), "${APONO_IMAGE}")
        self.assertGreaterEqual(len(guide), 9)
        self.assertEqual(guide, unit)

    def test_its_example_is_a_good_configuration(self):
        with tempfile.TemporaryDirectory() as folder:
            config = Path(folder, "connector.toml")
            config.write_text((REPOSITORY / "deploy/systemd/connector.toml.example").read_text())
            lines = (REPOSITORY / "deploy/systemd/environment.example").read_text().splitlines()
            environment = dict(line.split("=", 1) for line in lines if line and not line.startswith("#"))
            said = subprocess.run(
                [TREE / "apono-connector", "check-config"],
                env={**environment, "APONO_CONFIG": str(config)},
                capture_output=True,
                text=True,
                timeout=PATIENCE,
            )
        self.assertEqual((said.returncode, said.stdout.strip()), (0, "the configuration is good"), said.stderr)


def calls_of(name):
    """The system calls of one of systemd's groups, with the groups in it."""
    said = subprocess.run(["systemd-analyze", "syscall-filter", name], check=True, capture_output=True, text=True).stdout
    words = [line.strip() for line in said.splitlines()[1:] if line.strip() and not line.strip().startswith("#")]
    return set().union(*(calls_of(word) if word.startswith("@") else {word} for word in words))


def allowed_calls():
    """What the unit's filter lets through."""
    allowed = set()
    for line in (REPOSITORY / "deploy/systemd/apono-connector.service").read_text().splitlines():
        if line.startswith("SystemCallFilter="):
            groups = line.removeprefix("SystemCallFilter=")
            for group in groups.removeprefix("~").split():
                allowed = allowed - calls_of(group) if groups.startswith("~") else allowed | calls_of(group)
    return allowed


if __name__ == "__main__":
    unittest.main(verbosity=2)
