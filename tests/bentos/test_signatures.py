"""Signed packages: what a service that requires signatures takes, and why it refuses the rest."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from typer.testing import CliRunner

from bentos.runtime import active_release, followers
from bentos.runtime.active_release import Live
from bentos.runtime.manifest import seal
from entityclip.cli import app
from entityclip.model.checkpoint_card import read_card
from entityclip.paths import PackageLayout, StateLayout

pytest.importorskip("model_signing", reason="the extra signing is not installed")

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from google.protobuf.json_format import Parse
from in_toto_attestation.v1 import statement_pb2 as spb
from in_toto_attestation.v1.statement import Statement


def keys(folder: Path, name: str) -> tuple[Path, Path]:
    """A private key and its public key, as files."""
    private, pem = ec.generate_private_key(ec.SECP256R1()), serialization.Encoding.PEM
    secret, public = folder / f"{name}.pem", folder / f"{name}.pub"
    how = (serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    secret.write_bytes(private.private_bytes(pem, *how))
    public.write_bytes(private.public_key().public_bytes(pem, serialization.PublicFormat.SubjectPublicKeyInfo))
    return secret, public


def release(*arguments: object) -> tuple[int, str]:
    """Exit status and output of a command."""
    done = CliRunner().invoke(app, ["release", *map(str, arguments)])
    return done.exit_code, f"{done.output}{done.exception}"


@pytest.fixture
def state(tmp_path: Path) -> StateLayout:
    return StateLayout(tmp_path / "state")


@pytest.fixture
def team(tmp_path: Path, state: StateLayout) -> Path:
    """The private key of a team whose signature the service requires."""
    secret, public = keys(tmp_path, "team")
    status, output = release("signatures", "required", "--key", public, "--state", state.root)
    assert (status, "required: 1 trusted keys" in output) == (0, True), output
    return secret


@pytest.fixture
def copy(package: PackageLayout, tmp_path: Path) -> PackageLayout:
    return PackageLayout(shutil.copytree(package.root, tmp_path / "v1.0.0"))


def test_a_package_signed_by_the_team_is_activated(copy, state, team) -> None:
    assert release("sign", copy.root, "--key", team)[0] == 0
    status, output = release("activate", copy.root, "--state", state.root, "--json")
    assert status == 0, output
    assert json.loads(state.live.read_text())["champion"] == str(copy.root)


def test_unsigned_forged_and_changed_packages_are_refused_each_with_its_reason(copy, state, team, tmp_path) -> None:
    def refusal() -> str:
        status, output = release("activate", copy.root, "--state", state.root)
        assert status == 1
        assert not state.live.exists()
        return output

    assert "not signed (v1.0.0.sig is missing)" in refusal()
    assert "sign it: entityclip release sign" in refusal()
    stranger, _ = keys(tmp_path, "stranger")
    release("sign", copy.root, "--key", stranger)
    assert "v1.0.0.sig was made with a key that this service does not trust" in refusal()
    release("sign", copy.root, "--key", team)
    signed = json.loads(copy.signature.read_text())
    envelope = signed["dsseEnvelope"]
    forged = envelope["payload"][:-8] + "AAAA" + envelope["payload"][-4:]
    copy.signature.write_text(json.dumps(signed | {"dsseEnvelope": envelope | {"payload": forged}}))
    assert "v1.0.0.sig is forged" in refusal()
    copy.signature.write_text("no signature")
    assert "v1.0.0.sig cannot be read as a signature" in refusal()
    copy.signature.write_text(json.dumps(signed))
    weights = copy.checkpoint.weights
    content = bytearray(weights.read_bytes())
    content[-1] ^= 1
    weights.write_bytes(bytes(content))
    assert "'model.safetensors' differs from the manifest" in refusal()
    seal(copy)  # who can write the package can also write the manifest
    changed = refusal()
    assert "not what was signed: 'manifest.json', 'model.safetensors'" in changed
    (copy.root / "added").write_text("x")
    seal(copy)
    assert "Extra files found in model 'v1.0.0': added" in refusal()
    assert release("signatures", "off", "--state", state.root)[0] == 0
    assert release("activate", copy.root, "--state", state.root)[0] == 0


def test_a_rollback_needs_the_signature_too(copy, state, team, tmp_path) -> None:
    unsigned = PackageLayout(tmp_path / "v0.9.0")
    shutil.copytree(copy.root, unsigned.root)
    assert release("signatures", "off", "--state", state.root)[0] == 0
    assert release("activate", unsigned.root, "--state", state.root)[0] == 0
    release("sign", copy.root, "--key", team)
    public = team.with_suffix(".pub")
    assert release("signatures", "required", "--key", public, "--state", state.root)[0] == 0
    assert release("activate", copy.root, "--state", state.root)[0] == 0
    status, output = release("rollback", "--state", state.root)
    assert (status, "not signed (v0.9.0.sig is missing)" in output) == (1, True), output
    assert json.loads(state.live.read_text())["champion"] == str(copy.root)
    state.live.write_text(Live(champion=copy.root).model_dump_json())
    assert "the release that is packed with the service has none" in release("rollback", "--state", state.root)[1]


def test_a_policy_without_a_key_or_that_is_damaged_refuses(copy, state, tmp_path) -> None:
    assert "name the team's with --key" in release("signatures", "required", "--state", state.root)[1]
    (tmp_path / "no.pub").write_text("no key")
    status, output = release("signatures", "required", "--key", tmp_path / "no.pub", "--state", state.root)
    assert (status, "not a public key" in output) == (1, True), output
    assert "not a private key" in release("sign", copy.root, "--key", tmp_path / "no.pub")[1]
    state.root.mkdir(exist_ok=True)
    state.signatures.write_text("{}x")
    assert "not a signature policy" in release("activate", copy.root, "--state", state.root)[1]


def test_a_package_lists_what_it_was_made_of(package: PackageLayout) -> None:
    bill = json.loads(package.sbom.read_text())
    assert (bill["bomFormat"], bill["specVersion"]) == ("CycloneDX", "1.6")
    assert bill["metadata"]["component"]["type"] == "machine-learning-model"
    found = {component["name"]: component["version"] for component in bill["components"]}
    pins = [line.split()[0].partition("==") for line in package.requirements.read_text().splitlines()]
    assert found == {name: version for name, _, version in pins}
    assert {"bentoml", "torch", "pyarrow"} <= found.keys()


def test_the_provenance_is_an_in_toto_statement_that_the_signature_covers(copy, state, team) -> None:
    written = copy.provenance.read_text()
    Parse(written, statement := spb.Statement())
    Statement.copy_from_pb(statement).validate()
    found, card = json.loads(written), read_card(copy.checkpoint)
    assert found["predicateType"] == "https://slsa.dev/provenance/v1"
    assert found["subject"] == [{"name": "model.safetensors", "digest": {"sha256": card.weights_sha256}}]
    definition = found["predicate"]["buildDefinition"]
    digests = {one["name"]: one["digest"] for one in definition["resolvedDependencies"]}
    assert digests["workspace"] == {"gitCommit": "c" * 40}
    assert digests.keys() == {"workspace", "data version", "rules of the data", "training code"}
    assert definition["externalParameters"] == {"settings": card.config}
    assert release("sign", copy.root, "--key", team)[0] == 0
    copy.provenance.write_text(written.replace("c" * 40, "d" * 40))
    seal(copy)
    status, output = release("activate", copy.root, "--state", state.root)
    assert (status, "not what was signed: 'manifest.json', 'provenance.intoto.json'" in output) == (1, True), output


def test_an_unsigned_challenger_gets_no_caller(copy, other_package, state, team) -> None:
    Live(champion=copy.root).write(state.live)
    worker = followers.Status(state)  # its lock tells that a service runs
    worker.write(followers.Follower(seen=None, release="v1.0.0"))
    status, output = release("canary", other_package, "--state", state.root)
    assert (status, "not signed" in output) == (1, True), output
    assert active_release.read(state) == Live(champion=copy.root)
