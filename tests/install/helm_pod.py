"""Plays the kubelet: runs the pods of the chart with the user, the files, the modes and the read-only root they are given.

Run by scripts/check-helm.sh test, as root.
"""

import json
import os
import pathlib
import subprocess
import tempfile
import unittest

from tests.install.helm_chart import NAMESPACE, PATIENCE_S, environment, objects, only, pods

# In a network, a process table and a tree of mounts of its own, which end with it. The tree has what a pod's has, and the C library, because
# the connector under test is not the static one of the image. `$1` is the stage, `$2` the user, `$3` the connector.
KUBELET = r"""
stage=$1 user=$2 programs=${3%/*}
ip link set lo up
mount -t tmpfs -o mode=755 none "$stage/root"
cd "$stage/root"
for folder in usr lib lib64 bin; do
    [ -e "/$folder" ] || continue
    if [ -L "/$folder" ]; then ln -s "$(readlink "/$folder")" "$folder"; continue; fi
    mkdir "$folder"; mount --bind "/$folder" "$folder"; mount -o remount,bind,ro "$folder"
done
mkdir dev; : >dev/null; mount --bind /dev/null dev/null
: >apono-connector; mount --bind "$3" apono-connector
# The authorities the image brings.
mkdir -p etc/ssl/certs; : >etc/ssl/certs/ca-certificates.crt; mount --bind /etc/ssl/certs/ca-certificates.crt etc/ssl/certs/ca-certificates.crt
while read -r volume place mode; do
    mkdir -p "./$place"
    mount --bind "$stage/volumes/$volume" "./$place"
    [ "$mode" = rw ] || mount -o remount,bind,ro "./$place"
done <"$stage/mounts"
mount -o remount,ro .
# As the container's: no capability, nothing to be gained, only the variables of the pod.
mapfile -d '' variables <"$stage/environment"
as_in_the_pod() {
    exec chroot . /usr/bin/setpriv --reuid "$user" --regid "$user" --groups "$user" --no-new-privs --bounding-set=-all --inh-caps=-all \
        /usr/bin/env -i "${variables[@]}" /apono-connector "$@"
}
say() { printf '%s\0' "$@" >>"$stage/said"; }
asked() { local answer status=0; answer=$(as_in_the_pod "$@" 2>&1) || status=$?; say "$1" "$status" "$answer"; return "$status"; }
"""
CHECK = KUBELET + "asked check-config\n"
WORK = KUBELET + r"""
# A control plane on this machine, with the token given: another store each time, so that it knows only who came with that token.
begin_control_plane() {
    plane_files="$stage/plane-$1"
    mkdir -p "$plane_files"
    printf %%s "$1" >"$plane_files/token"
    "$programs/apono-control-plane" serve --listen 127.0.0.1:8700 --store "$plane_files/store" --connector-token-file "$plane_files/token" \
        --admin-token-file "$plane_files/admin" >>"$stage/plane.log" 2>&1 &
    plane=$!
}
is_known() {
    "$programs/apono-control-plane" connectors --url http://127.0.0.1:8700 --admin-token-file "$plane_files/admin" >"$stage/known" 2>&1 &&
        grep -q shop-0 "$stage/known"
}
answers_ready() {
    exec 3<>/dev/tcp/127.0.0.1/8080 || return
    printf 'GET /readyz HTTP/1.1\r\nhost: pod\r\nconnection: close\r\n\r\n' >&3
    local line; read -r line <&3; exec 3>&-
    [[ $line == *' 200 '* ]]
}
wait_until() {
    local tries
    for ((tries = 0; tries < %(patience)d * 10; tries++)); do
        if "$1" 2>/dev/null; then say "$1" 0 yes; return; fi
        kill -0 "$connector" || break
        sleep 0.1
    done
    say "$1" 1 no
}

begin_control_plane the-first-connector-token
(as_in_the_pod run) >"$stage/log" 2>&1 &
connector=$!
wait_until answers_ready
asked healthcheck || true
asked grants || true
say known 0 "$(is_known; cat "$stage/known")"

# The secret changes: the kubelet swaps the folder behind the links.
kill "$plane"; wait "$plane" || true
mkdir "$stage/volumes/token/..next"
cp -a "$stage/volumes/token/..version/token" "$stage/volumes/token/..next/token"
printf the-second-connector-token >"$stage/volumes/token/..next/token"
ln -s ..next "$stage/volumes/token/..swap"; mv -T "$stage/volumes/token/..swap" "$stage/volumes/token/..data"
begin_control_plane the-second-connector-token
wait_until is_known

say written 0 "$(cd var/lib/apono-connector && find . -type f -printf '%%f %%m %%U\n' | sort)"
kill -TERM "$connector"
status=0; wait "$connector" || status=$?
say stop "$status" "$(tail -n 1 "$stage/log")"
""" % {"patience": PATIENCE_S}


class Stage:
    """The folders of one pod's volumes, as a kubelet fills them."""

    def __init__(self, folder, found, pod):
        self.folder, self.pod, self.user = folder, pod, pod["securityContext"]["runAsUser"]
        (folder / "root").mkdir()
        for volume in pod["volumes"] + [{"name": "state"}] * (pod["containers"][0]["args"] == ["run"]):
            self.fill(folder / "volumes" / volume["name"], volume, found)
        mounts = pod["containers"][0]["volumeMounts"]
        lines = [f"{mount['name']} {mount['mountPath'].strip('/')} {'ro' if mount.get('readOnly') else 'rw'}\n" for mount in mounts]
        (folder / "mounts").write_text("".join(lines))
        (folder / "environment").write_text("".join(f"{name}={value}\0" for name, value in environment(pod).items()))

    def fill(self, place, volume, found):
        """Each key is a link into a folder that is swapped whole when it changes; the group is the pod's."""
        group = self.pod["securityContext"]["fsGroup"]
        if volume["name"] == "state":
            place.mkdir(parents=True)
            os.chown(place, 0, group)
            place.chmod(0o2775)
            return
        if "configMap" in volume:
            (text,) = only(found, "ConfigMap")["data"].values()
            assert text.count('"api.example.com"') == 1
            # The reference control plane speaks plain http, which is for its own machine only.
            content, mode = {"connector.toml": text.replace('"api.example.com"', '"http://127.0.0.1:8700"')}, 0o644
        else:
            content = {item["path"]: "the-first-connector-token" for item in volume["secret"]["items"]}
            mode = volume["secret"]["defaultMode"]
        real = place / "..version"
        real.mkdir(parents=True)
        (place / "..data").symlink_to(real.name)
        for name, text in content.items():
            (real / name).write_text(text)
            os.chown(real / name, 0, group)
            (real / name).chmod(mode)
            (place / name).symlink_to(f"..data/{name}")

    def play(self, script):
        """What was asked, and the exit status and text of each answer."""
        done = subprocess.run(
            ["unshare", "--mount", "--net", "--pid", "--fork", "--kill-child", "--propagation", "private", "bash", "-euc", script, "kubelet",
             str(self.folder), str(self.user), os.environ["APONO_TEST_CONNECTOR"]],
            capture_output=True, text=True, timeout=4 * PATIENCE_S, check=False)
        said = self.folder / "said"
        assert said.exists(), done.stderr
        parts = said.read_text().split("\0")[:-1]
        said.unlink()
        return {what: (int(status), text) for what, status, text in zip(parts[::3], parts[1::3], parts[2::3])}


class Pods(unittest.TestCase):
    def staged(self, name, number):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        path = pathlib.Path(folder.name)
        path.chmod(0o755)
        return Stage(path, objects(name), pods(objects(name))[number])

    def test_the_connectors_gets_ready_takes_a_new_token_and_leaves_its_ledger(self):
        stage = self.staged("default", 0)
        said = stage.play(WORK)
        log = (stage.folder / "log").read_text()
        told = "\n".join([str(said), log, (stage.folder / "plane.log").read_text()])
        # Registered with the token of the mounted file, readable by the group of the pod.
        self.assertEqual(said["answers_ready"], (0, "yes"), told)
        self.assertEqual(said["healthcheck"], (0, '{"alive":true}'), told)
        self.assertEqual(said["grants"], (0, "no grants"), told)
        for place in (f"{NAMESPACE}/shop-0", "node-1", "kubernetes"):
            self.assertIn(place, said["known"][1])
        # The same process went on with the new token.
        self.assertEqual(said["is_known"], (0, "yes"), told)
        self.assertEqual(log.count('"running"'), 1, told)
        self.assertEqual(said["stop"][0], 0, told)
        # The ledger and its lock, for the connector's user alone.
        self.assertEqual(said["written"][1].splitlines(), ["ledger.lock 600 65532", "ledger.redb 600 65532"])
        for line in log.splitlines():
            self.assertIn("level", json.loads(line), "not a line of JSON")
        self.assertNotIn("-connector-token", log)

    def test_the_one_of_helm_test_says_that_the_configuration_is_good(self):
        said = self.staged("default", 1).play(CHECK)
        self.assertEqual(said["check-config"], (0, "the configuration is good"))


if __name__ == "__main__":
    unittest.main()
