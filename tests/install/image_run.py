"""Owns a running image: its tree as a read-only root under its own user, and what stands around it. Never looks at what came out.

Everything happens in the network and mount namespaces the tests were started in, so nothing of the machine is reached or changed.
"""

import fcntl
import os
import shutil
import signal
import socket
import socketserver
import ssl
import struct
import subprocess
import threading
import time
from pathlib import Path

# The user in the image, and the name the control plane has for it.
USER = 65532
NAME = "control-plane.test"
# What every runtime puts into `/dev`; the program asks `/dev/urandom` for randomness.
DEVICES = ("null", "zero", "full", "random", "urandom")
# Longest wait for anything, in seconds: generous, because the machine may be busy.
PATIENCE = 60


def until(what, true):
    """Waits until `true()` is, and returns what it returned."""
    end = time.monotonic() + PATIENCE
    while time.monotonic() < end:
        if found := true():
            return found
        time.sleep(0.02)
    raise AssertionError(f"waited {PATIENCE} s for {what}")


def raise_loopback():
    """Switches the loopback device of this network namespace on."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as door:
        # SIOCGIFFLAGS, SIOCSIFFLAGS, IFF_UP.
        _, flags = struct.unpack("16sh", fcntl.ioctl(door, 0x8913, struct.pack("16sh", b"lo", 0)))
        fcntl.ioctl(door, 0x8914, struct.pack("16sh", b"lo", flags | 1))


def make_authority(folder):
    """Makes a certificate authority (`ca.pem`) and a certificate of it for NAME (`server.pem`, `server.key`)."""
    key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2"]
    (folder / "leaf").write_text(f"subjectAltName=DNS:{NAME}\nbasicConstraints=critical,CA:FALSE\n")
    for command in (
        ["req", "-x509", *key, "-keyout", "ca.key", "-out", "ca.pem", "-subj", "/CN=authority of the test"],
        ["req", *key, "-keyout", "server.key", "-out", "server.csr", "-subj", f"/CN={NAME}"],
        ["x509", "-req", "-in", "server.csr", "-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial", "-days", "2"]
        + ["-extfile", "leaf", "-out", "server.pem"],
    ):
        subprocess.run(["openssl", *command], cwd=folder, check=True, capture_output=True)


class Names(threading.Thread):
    """A name server that knows NAME, on port 53; `asked` are the questions."""

    def __init__(self):
        super().__init__(daemon=True)
        self.asked = []
        self.door = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.door.bind(("127.0.0.1", 53))
        self.start()

    def run(self):
        while True:
            question, client = self.door.recvfrom(512)
            end = question.index(b"\0", 12)
            labels, place = [], 12
            while place < end:
                labels.append(question[place + 1 : place + 1 + question[place]].decode())
                place += 1 + question[place]
            kind = struct.unpack(">H", question[end + 1 : end + 3])[0]
            self.asked.append((".".join(labels), kind))
            # An address (kind 1) is 127.0.0.1; of any other kind there is nothing.
            known = ".".join(labels) == NAME and kind == 1
            answer = b"\xc0\x0c" + struct.pack(">HHIH", 1, 1, 5, 4) + bytes([127, 0, 0, 1]) if known else b""
            head = question[:2] + struct.pack(">HHHHH", 0x8180, 1, int(known), 0, 0)
            self.door.sendto(head + question[12 : end + 5] + answer, client)


class Front(socketserver.ThreadingTCPServer):
    """TLS in front of the control plane; keeps when which request came, and how many clients did not like the certificate."""

    daemon_threads = True
    allow_reuse_address = True

    def __init__(self, plane_port, folder):
        super().__init__(("127.0.0.1", 443), None)
        self.plane_port = plane_port
        self.requests = []
        self.refused = 0
        self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.context.load_cert_chain(folder / "server.pem", folder / "server.key")
        threading.Thread(target=self.serve_forever, daemon=True).start()

    def finish_request(self, request, client_address):
        try:
            client = self.context.wrap_socket(request, server_side=True)
        except OSError:
            self.refused += 1
            return
        with client, socket.create_connection(("127.0.0.1", self.plane_port)) as plane:
            back = threading.Thread(target=self.pass_on, args=(plane, client, False), daemon=True)
            back.start()
            self.pass_on(client, plane, True)
            back.join()

    def pass_on(self, source, sink, watch):
        try:
            while data := source.recv(65536):
                if watch and data.split(b" ", 1)[0] in (b"GET", b"POST"):
                    self.requests.append((time.monotonic(), data.split(b"\r\n", 1)[0].decode()))
                sink.sendall(data)
            sink.shutdown(socket.SHUT_WR)
        except OSError:
            pass

    def first(self, part, since):
        """When the first request with `part` in its path came since then, or None."""
        return next((at for at, line in list(self.requests) if at >= since and part in line), None)


class Connector:
    """The image's tree with what a container runtime adds, mounted read-only, and the connector in it."""

    def __init__(self, tree, work, state, hosts, authorities=b""):
        self.root, self.log = work / "root", work / "log"
        shutil.copytree(tree, self.root, symlinks=True)
        for folder in ("proc", "dev", "etc/apono-connector"):
            (self.root / folder).mkdir()
        for device in DEVICES:
            (self.root / "dev" / device).touch()
        (self.root / "etc/hosts").write_text(hosts)
        (self.root / "etc/resolv.conf").write_text("nameserver 127.0.0.1\noptions timeout:5\n")
        with (self.root / "etc/ssl/certs/ca-certificates.crt").open("ab") as bundle:
            bundle.write(authorities)
        token, self.state = self.root / "etc/apono-connector/token", state
        token.write_text((work.parent / "connector.token").read_text())
        token.chmod(0o400)
        os.chown(token, USER, USER)
        config = self.root / "etc/apono-connector/connector.toml"
        config.write_text('[control_plane]\ntoken_file = "/etc/apono-connector/token"\n')
        self.mount("--bind", self.root, self.root)
        self.mount("-t", "proc", "proc", self.root / "proc")
        for device in DEVICES:
            self.mount("--bind", Path("/dev", device), self.root / "dev" / device)
        self.mount("--bind", state, self.root / "var/lib/apono-connector")
        self.mount("-o", "remount,bind,ro", self.root)
        self.environment = {
            "APONO_CONNECTOR_ID": "image",
            "APONO_URL": NAME,
            "APONO_CONFIG": "/etc/apono-connector/connector.toml",
        }
        self.process = None

    @staticmethod
    def mount(*arguments):
        subprocess.run(["mount", *map(str, arguments)], check=True)

    def command(self, *arguments):
        inside = ["chroot", f"--userspec={USER}:{USER}", "--groups=", str(self.root), "/apono-connector", *arguments]
        return ["setpriv", "--no-new-privs", *inside]

    def start(self, before=()):
        self.started = time.monotonic()
        with self.log.open("ab") as log:
            command = [*before, *self.command("run")]
            self.process = subprocess.Popen(command, env=self.environment_with_path(), stdout=log, stderr=log)
        return self

    def environment_with_path(self):
        # For `setpriv` and `chroot`; the connector starts nothing.
        return {**self.environment, "PATH": os.environ["PATH"]}

    def run(self, *arguments):
        """Runs the program once, as `docker exec` would."""
        return subprocess.run(
            self.command(*arguments), env=self.environment_with_path(), capture_output=True, text=True, timeout=PATIENCE
        )

    def status(self, field):
        lines = Path(f"/proc/{self.process.pid}/status").read_text().splitlines()
        return next(line.split(":", 1)[1].split() for line in lines if line.startswith(field + ":"))

    def kib(self, field):
        lines = Path(f"/proc/{self.process.pid}/smaps_rollup").read_text().splitlines()
        return next(int(line.split()[1]) for line in lines if line.startswith(field + ":"))

    def stop(self):
        """Asks it to stop; returns its exit status and the seconds it took."""
        asked = time.monotonic()
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(PATIENCE), time.monotonic() - asked

    def end(self):
        if self.process and self.process.poll() is None:
            self.process.kill()
            self.process.wait(PATIENCE)
        subprocess.run(["umount", "--recursive", str(self.root)], check=True)
