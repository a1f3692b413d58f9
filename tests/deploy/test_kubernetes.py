"""What ``deploy/kubernetes/`` grants: one writer on a local volume, no privilege, no open network."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

DEPLOY = Path(__file__).resolve().parents[2] / "deploy"
PARTS: list[dict[str, Any]] = [
    part for path in sorted((DEPLOY / "kubernetes").glob("*.yaml")) for part in yaml.safe_load_all(path.read_text())
]
WORKLOADS = [part for part in PARTS if "template" in part.get("spec", {})]
PODS = [workload["spec"]["template"]["spec"] for workload in WORKLOADS]
CONTAINERS = [container for pod in PODS for container in pod["containers"]]


def claims() -> list[dict[str, Any]]:
    own = [part["spec"] for part in PARTS if part["kind"] == "PersistentVolumeClaim"]
    return own + [claim["spec"] for part in WORKLOADS for claim in part["spec"].get("volumeClaimTemplates", [])]


def test_one_pod_writes_the_workspace_and_its_sqlite_files_on_a_volume_of_its_own() -> None:
    assert [(part["kind"], part["spec"]["replicas"]) for part in WORKLOADS] == [("StatefulSet", 1)]
    assert [claim["accessModes"] for claim in claims()] == [["ReadWriteOncePod"]]


def test_no_container_has_a_privilege() -> None:
    assert len(CONTAINERS) == 2
    for container in CONTAINERS:
        context = container["securityContext"]
        assert context["allowPrivilegeEscalation"] is False
        assert context["privileged"] is False
        assert context["readOnlyRootFilesystem"] is True
        assert context["capabilities"] == {"drop": ["ALL"]}
        assert container["resources"]["limits"]["memory"]
    for pod in PODS:
        context = pod["securityContext"]
        assert context["runAsNonRoot"] is True
        assert context["runAsUser"] == context["fsGroup"] == context["runAsGroup"] != 0
        assert context["seccompProfile"] == {"type": "RuntimeDefault"}
        assert pod["automountServiceAccountToken"] is False
        assert not {"hostNetwork", "hostPID", "hostIPC"} & pod.keys()
        assert not any("hostPath" in volume for volume in pod["volumes"])


def test_whatever_a_container_writes_is_a_volume() -> None:
    """The image is read-only: work, home and scratch are mounted, and Python writes no bytecode beside its sources."""
    for container in CONTAINERS:
        mounted = {mount["mountPath"] for mount in container["volumeMounts"]}
        assert {"/volume", "/home/entityclip", "/tmp", "/var/tmp"} <= mounted
        values = {entry["name"]: entry.get("value", "") for entry in container["env"]}
        assert values["ENTITYCLIP_WORKSPACE"].startswith("/volume/")
        assert values["ENTITYCLIP_STATE"].startswith("/volume/")
        assert values["PYTHONDONTWRITEBYTECODE"] == "1"
    assert "--uid 1000" in (DEPLOY / "Dockerfile").read_text()


def test_the_namespace_refuses_pods_with_privileges() -> None:
    (namespace,) = (part for part in PARTS if part["kind"] == "Namespace")
    assert namespace["metadata"]["labels"]["pod-security.kubernetes.io/enforce"] == "restricted"
    assert {part["metadata"]["namespace"] for part in PARTS if part is not namespace} == {namespace["metadata"]["name"]}


def test_the_network_reaches_the_pod_at_one_port_from_named_places_and_it_reaches_no_others() -> None:
    (policy,) = (part["spec"] for part in PARTS if part["kind"] == "NetworkPolicy")
    (labels,) = (workload["spec"]["template"]["metadata"]["labels"] for workload in WORKLOADS)
    assert policy["podSelector"] == {"matchLabels": labels}
    assert policy["policyTypes"] == ["Ingress", "Egress"]
    (reached,) = policy["ingress"]
    assert reached["ports"] == [{"protocol": "TCP", "port": "http"}]
    named = [*reached["from"], *(peer for entry in policy["egress"] for peer in entry["to"])]
    assert all(selector.get("matchLabels") for peer in named for selector in peer.values())
    assert all(entry["ports"] for entry in policy["egress"])
