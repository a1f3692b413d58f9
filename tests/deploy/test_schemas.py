"""What cannot be started without Docker or a cluster fits the schema that its own tool publishes."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import kubernetes_validate
import pytest
import yaml

DEPLOY = Path(__file__).resolve().parents[2] / "deploy"
MANIFESTS = sorted((DEPLOY / "kubernetes").glob("*.yaml"))


def compose(path: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", "vendor.compose-spec", str(path)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_compose_file_is_one(tmp_path: Path) -> None:
    done = compose(DEPLOY / "compose.yaml")
    assert done.returncode == 0, done.stdout
    wrong = tmp_path / "compose.yaml"
    wrong.write_text((DEPLOY / "compose.yaml").read_text().replace("    ports:", "    prots:"))
    assert "prots" in compose(wrong).stdout


def test_what_compose_mounts_from_here_is_here() -> None:
    services = yaml.safe_load((DEPLOY / "compose.yaml").read_text())["services"]
    mounted = {v.split(":")[0] for service in services.values() for v in service.get("volumes", []) if v[0] == "."}
    assert {name for name in mounted if not (DEPLOY / name).exists()} == {"./prometheus/key"}  # a secret


@pytest.mark.parametrize("path", MANIFESTS, ids=lambda p: p.name)
def test_a_manifest_is_what_kubernetes_takes(path: Path) -> None:
    for part in yaml.safe_load_all(path.read_text()):
        kubernetes_validate.validate(part, "1.37", strict=True)
        with pytest.raises(kubernetes_validate.ValidationError):
            kubernetes_validate.validate(part | {"spce": {}}, "1.37", strict=True)
