"""Owns what the Terraform tests need of this machine: emulators and database servers that end with their test, runs of Terraform. Never a check."""

import ctypes
import json
import os
import pathlib
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request

import boto3

REPOSITORY = pathlib.Path(__file__).resolve().parents[2]
DEPLOY = REPOSITORY / "deploy"
MODULES = ("connector-ecs", "connector-eks", "management-account", "member-account", "rds-database-user")
REGION = "eu-west-1"
# Longest wait for a server; each takes about a second on an idle machine.
PATIENCE_SECONDS = 120
# Longest run of Terraform; the longest takes half a minute, most of it waits of the provider.
RUN_SECONDS = 400


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def end_with_parent() -> None:
    """Runs in the child: the kernel ends it when this process is gone, however that went."""
    ctypes.CDLL(None).prctl(1, signal.SIGKILL)


def until(holds, what: str) -> None:
    end = time.monotonic() + PATIENCE_SECONDS
    while not holds():
        if time.monotonic() > end:
            raise AssertionError(f"waited {PATIENCE_SECONDS} s in vain: {what}")
        time.sleep(0.1)


class MiniStack:
    """The emulator that keeps Fargate, EFS and policies and checks signatures. `with` ends it."""

    def __init__(self):
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        clean = {name: value for name, value in os.environ.items() if not name.startswith("AWS_")}
        settings = {
            "AUTH": "true",
            "BIND_HOST": "127.0.0.1",
            "GATEWAY_PORT": str(self.port),
            # These listen on ports that cannot be chosen.
            "IOT_MTLS_ENABLED": "0",
            "SFTP_ENABLED": "0",
            "DOCKER_HOST": "unix:///nonexistent",
        }
        self.process = subprocess.Popen(
            [os.environ["APONO_TEST_MINISTACK"]],
            env={**clean, **settings},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            preexec_fn=end_with_parent,
        )
        until(self.answers, "MiniStack answers")

    def answers(self) -> bool:
        if self.process.poll() is not None:
            raise AssertionError(f"MiniStack ended with {self.process.returncode}")
        try:
            return urllib.request.urlopen(f"{self.url}/_ministack/health", timeout=5).status == 200
        except OSError:
            return False

    def client(self, service: str, account: str, session: dict | None = None):
        """A client of an account's root, whose access key is the account's number, or of a session."""
        session = session or {"AccessKeyId": account, "SecretAccessKey": "root"}
        return boto3.client(
            service,
            region_name=REGION,
            endpoint_url=self.url,
            aws_access_key_id=session["AccessKeyId"],
            aws_secret_access_key=session["SecretAccessKey"],
            aws_session_token=session.get("SessionToken"),
        )

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.kill()
        self.process.wait()


class Workspace:
    """A copy of `deploy` in which Terraform runs, so that nothing is left in the repository."""

    def __init__(self):
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="apono-terraform-"))
        shutil.copytree(DEPLOY, self.folder / "deploy", ignore=shutil.ignore_patterns(".terraform*", "*.tfstate*"))
        (self.folder / "credentials").write_text("".join(
            f"[{name}]\naws_access_key_id = {account}\naws_secret_access_key = root\n"
            for name, account in (("default", "111111111111"), ("management", "222222222222"), ("member", "333333333333"))
        ))
        mirror = os.environ.get("APONO_TERRAFORM_MIRROR", "")
        # Nothing is ever asked of the network.
        mirrors = f'filesystem_mirror {{\n path = "{mirror or self.folder}"\n include = ["registry.terraform.io/*/*"]\n }}'
        (self.folder / "settings").write_text(f"provider_installation {{\n {mirrors}\n}}\n")
        self.environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith(("AWS_", "TF_"))},
            "TF_CLI_CONFIG_FILE": str(self.folder / "settings"),
            "TF_IN_AUTOMATION": "1",
            "TF_INPUT": "0",
            "CHECKPOINT_DISABLE": "1",
            "AWS_SHARED_CREDENTIALS_FILE": str(self.folder / "credentials"),
            "AWS_CONFIG_FILE": os.devnull,
            "AWS_EC2_METADATA_DISABLED": "true",
            "AWS_REGION": REGION,
        }

    def point_at(self, url: str, **services: str) -> None:
        """Where AWS is, and where single services of it are."""
        self.environment["AWS_ENDPOINT_URL"] = url
        self.environment |= {f"AWS_ENDPOINT_URL_{name}": address for name, address in services.items()}

    def root(self, name: str, text: str | None = None, **variables) -> "Root":
        """A root module: a folder of `deploy/terraform`, or one made of the text, which sees the modules as `../NAME`."""
        folder = self.folder / "deploy" / "terraform" / name
        if text is not None:
            folder.mkdir()
            (folder / "main.tf").write_text(text)
        (folder / "test.auto.tfvars.json").write_text(json.dumps(variables))
        return Root(folder, self.environment)

    def variables_of(self, module: str, **variables) -> "Root":
        """A root module of a module's variables alone: wrong ones are refused without a provider."""
        folder = pathlib.Path(tempfile.mkdtemp(dir=self.folder))
        shutil.copy(self.folder / "deploy" / "terraform" / module / "variables.tf", folder)
        (folder / "test.auto.tfvars.json").write_text(json.dumps(variables))
        return Root(folder, self.environment)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        shutil.rmtree(self.folder)


class Root:
    def __init__(self, folder: pathlib.Path, environment: dict):
        self.folder, self.environment = folder, environment

    def run(self, *arguments: str, terraform: list[str] | None = None, **environment: str) -> subprocess.CompletedProcess:
        command = terraform or [sys.executable, str(pathlib.Path(__file__).with_name("terraform_cli.py"))]
        return subprocess.run(
            [*command, *arguments],
            cwd=self.folder,
            env={**self.environment, **environment},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=RUN_SECONDS,
            preexec_fn=end_with_parent,
        )

    def must(self, *arguments: str, **environment: str) -> str:
        done = self.run(*arguments, **environment)
        if done.returncode:
            raise AssertionError(f"`terraform {' '.join(arguments)}` in {self.folder.name} ended with {done.returncode}:\n{done.stdout}")
        return done.stdout

    def apply(self, **environment: str) -> str:
        """Prints and returns the summary, such as `Apply complete! Resources: 22 added, 0 changed, 0 destroyed.`"""
        self.must("init", "-no-color")
        return self.summary("apply", "-no-color", "-auto-approve", **environment)

    def destroy(self, **environment: str) -> str:
        return self.summary("destroy", "-no-color", "-auto-approve", "-refresh=false", **environment)

    def summary(self, *arguments: str, **environment: str) -> str:
        output = self.must(*arguments, **environment)
        line = next(line for line in output.splitlines() if " complete!" in line)
        print(f"\n  {self.folder.name}: {line}", file=sys.stderr)
        return line

    def outputs(self) -> dict:
        return {name: held["value"] for name, held in json.loads(self.must("output", "-json")).items()}

    def state(self) -> str:
        return (self.folder / "terraform.tfstate").read_text()

    def problems(self, *arguments: str, **environment: str) -> list[str]:
        """What a plan finds wrong, each as one line without its wrapping."""
        done = self.run("plan", "-json", *arguments, **environment)
        lines = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
        found = [f"{held['diagnostic']['summary']}: {held['diagnostic']['detail']}" for held in lines if held.get("@level") == "error"]
        if not found or not done.returncode:
            raise AssertionError(f"a plan in {self.folder.name} found nothing wrong:\n{done.stdout}")
        return found

    def changes(self, **environment: str) -> dict[str, list[str]]:
        """What a plan would change: the names of what differs, by address. Taken from its text, because asking for JSON starts the provider once more."""
        text = self.must("plan", "-no-color", **environment)
        found = {}
        for line in text.splitlines():
            if begun := re.match(r"  # (\S+) (?:will|must) be ", line):
                found[begun[1]] = []
            elif found and (named := re.match(r"\s+(?:[-+~]|-/\+)\s+(?!resource )(\S+)", line)):
                found[list(found)[-1]].append(named[1])
        if not found and "No changes." not in text:
            raise AssertionError(f"a plan in {self.folder.name} says neither what changes nor that nothing does:\n{text}")
        return found


class Postgres:
    """A server of one major version with a master user that is no superuser, as RDS has it. `with` ends it."""

    def __init__(self, binaries: str):
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="apono-terraform-postgres-"))
        self.port = free_port()
        # Servers refuse to run as root.
        self.user = ["runuser", "-u", "postgres", "--"] if os.geteuid() == 0 else []
        if self.user:
            shutil.chown(self.folder, "postgres")
        self.password_file = self.folder / "password"
        self.password_file.write_text("super")
        self.password_file.chmod(0o644)
        data = self.folder / "data"
        options = ["-U", "postgres", "--pwfile", self.password_file, "-A", "scram-sha-256", "--no-sync", "-E", "UTF8", "--locale=C.UTF-8"]
        subprocess.run([*self.user, f"{binaries}/initdb", "-D", data, *options], check=True, stdout=subprocess.DEVNULL, cwd=self.folder)
        settings = {"listen_addresses": "127.0.0.1", "port": self.port, "unix_socket_directories": self.folder, "fsync": "off"}
        command = [f"{binaries}/postgres", "-D", str(data), *(part for name, value in settings.items() for part in ("-c", f"{name}={value}"))]
        self.log = open(self.folder / "log", "wb")
        account = {"user": "postgres", "group": "postgres", "extra_groups": []} if self.user else {}
        self.process = subprocess.Popen(command, stdout=self.log, stderr=self.log, cwd=self.folder, preexec_fn=end_with_parent, **account)
        until(lambda: self.psql("SELECT 1", user="postgres", password="super", check=False).returncode == 0, "PostgreSQL answers")

    def environment(self, user: str, password: str) -> dict:
        return {"PGHOST": "127.0.0.1", "PGPORT": str(self.port), "PGUSER": user, "PGPASSWORD": password}

    def psql(self, sql: str, user: str = "master", password: str = "master", database: str = "postgres", check: bool = True):
        return subprocess.run(
            [os.environ["APONO_TEST_PSQL"], "--no-psqlrc", "-v", "ON_ERROR_STOP=1", "-At", "-d", database, "-c", sql],
            env={**os.environ, **self.environment(user, password)},
            check=check,
            capture_output=True,
            text=True,
        )

    def __enter__(self):
        return self

    def __exit__(self, *_):
        # At once and with all its processes.
        self.process.send_signal(signal.SIGQUIT)
        self.process.wait()
        self.log.close()
        shutil.rmtree(self.folder)
