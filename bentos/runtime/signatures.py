"""Signatures of packages. The manifest detects damage; a signature detects forgery.

Packages are signed by OpenSSF Model Signing with the team's own elliptic-curve key. The signature holds the hash of
every file of the package, and nothing is looked up in a network. Whether a signature is required is part of a service's
state, so that every command and flow that switches its release obeys it.
"""

from __future__ import annotations

import re
import tempfile
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import Field, ValidationError, model_validator

from entityclip.errors import ConfigError, SignatureError, faults
from entityclip.paths import PackageLayout, StateLayout
from entityclip.schemas import Record
from entityclip.storage import PRIVATE_FILE, atomic_path, private_folder

_DIFFERING = re.compile(r"Hash mismatch for \\?'(.+?)\\?': Expected|((?:Extra|Missing) files .+?)[\"\]]")
"""What the library says about files that are not those that were signed.

It shows a list of messages by ``repr``, which escapes the quotes of a message whose hash has a quote as well.
"""


_STRANGE = "{} was made with a key that this service does not trust"


class SignaturePolicy(Record):
    """Whether a service's releases must be signed, and by whom."""

    policy: Literal["off", "required"] = "off"
    public_keys: tuple[str, ...] = Field(default=(), description="PEM of each key; one of them must have signed.")

    @model_validator(mode="after")
    def _has_a_key(self) -> Self:
        if self.policy == "required" and not self.public_keys:
            raise ValueError("policy is 'required' without a public key; expected at least one")
        return self


def read_policy(state: StateLayout) -> SignaturePolicy:
    """The policy of the service; 'off' where none was set.

    Raises:
        ConfigError: The file is damaged.
    """
    try:
        return SignaturePolicy.model_validate_json(state.signatures.read_bytes())
    except FileNotFoundError:
        return SignaturePolicy()
    except ValidationError as error:
        raise ConfigError(
            f"{state.signatures}: not a signature policy: {faults(error)}; set it again: entityclip release signatures"
        ) from None


def write_policy(state: StateLayout, policy: Literal["off", "required"], *, keys: list[Path]) -> SignaturePolicy:
    """Set the policy, with the public keys in the files ``keys``.

    Raises:
        ConfigError: A file is not the public key of a supported curve, or there is none although one is required.
    """
    pems = []
    for path in keys:
        try:
            _verifier(path)
            pems.append(path.read_text(encoding="ascii"))
        except (OSError, ValueError) as error:
            raise ConfigError(
                f"{path}: not a public key ({error}); expected PEM of the curve P-256, P-384 or P-521"
            ) from error
    try:
        found = SignaturePolicy(policy=policy, public_keys=tuple(pems))
    except ValidationError:
        raise ConfigError("no public key; name the team's with --key, so that its signatures are accepted") from None
    private_folder(state.root)
    found.write(state.signatures, mode=PRIVATE_FILE)
    return found


def sign(package: PackageLayout, *, key: Path) -> Path:
    """Sign every file of the package with the private key in ``key``; returns the signature's file.

    Raises:
        ConfigError: The file is not a private key of a supported curve, or Model Signing is not installed.
    """
    signing = _model_signing("signing")
    try:
        config = signing.Config().use_elliptic_key_signer(private_key=key)
    except (OSError, ValueError, TypeError) as error:
        raise ConfigError(
            f"{key}: not a private key ({error}); expected PEM of the curve P-256, P-384 or P-521, without a password"
        ) from error
    with atomic_path(package.signature) as temporary:
        config.sign(package.root, temporary)
    return package.signature


def require_signed(state: StateLayout, package: PackageLayout | None) -> None:
    """Check the package's signature where the policy requires one.

    Args:
        state: Of the service.
        package: None: the one that is packed with the service, which has no signature.

    Raises:
        SignatureError: There is no signature, it is damaged, another key made it, or a file is not the one that was
            signed.
        ConfigError: The policy is damaged, or Model Signing is not installed.
    """
    policy = read_policy(state)
    if policy.policy == "off":
        return
    if package is None:
        raise SignatureError(
            f"{state.signatures}: a signature is required, and the release that is packed with the service has none; "
            "activate a signed one: entityclip release activate"
        )
    if not package.signature.is_file():
        raise SignatureError(
            f"{package.root}: not signed ({package.signature.name} is missing), and {state.signatures} requires it; "
            "sign it: entityclip release sign"
        )
    reasons = [_flaw(package, pem) for pem in policy.public_keys]
    if all(reasons):  # another key's reason matters most: it is about this package
        reason = next((reason for reason in reasons if reason != _STRANGE.format(package.signature.name)), reasons[0])
        raise SignatureError(f"{package.root}: {reason}")


def _flaw(package: PackageLayout, pem: str) -> str:
    """Why the package is not what the owner of the key signed; empty if it is."""
    from cryptography.exceptions import InvalidSignature

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "key.pem"
        path.write_text(pem, encoding="ascii")
        config = _verifier(path)
    try:
        config.verify(package.root, package.signature)
    except InvalidSignature:
        return f"{package.signature.name} is forged: its content is not what the key signed; sign the package again"
    except Exception as error:  # the library raises ValueError for every reason, and others for a damaged file
        if "Key mismatch" in str(error):
            return _STRANGE.format(package.signature.name)
        if "Signature mismatch" in str(error):
            names = (f"{changed!r}" if changed else others for changed, others in _DIFFERING.findall(str(error)))
            return f"not what was signed: {', '.join(names)}; package the release again"
        return f"{package.signature.name} cannot be read as a signature ({error}); sign the package again"
    return ""


def _verifier(key: Path) -> Any:
    return _model_signing("verifying").Config().use_elliptic_key_verifier(public_key=key)


def _model_signing(module: Literal["signing", "verifying"]) -> Any:
    try:
        import model_signing
    except ImportError as error:
        raise ConfigError(
            f"Model Signing is not installed ({error}); run: pip install 'entityclip[signing]'"
        ) from error
    return getattr(model_signing, module)
