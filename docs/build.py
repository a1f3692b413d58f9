"""Collects the sources of the documentation site in one folder: the pages of docs/ and those generated from code.

    python docs/build.py build/docs

``make docs`` runs it before ``mkdocs build``. The generated pages are the references of the command line, of the HTTP
service and of the settings. Documents at the top of the repository become pages of the site.
"""

from __future__ import annotations

import json
import re
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
TOP = {"CONTRIBUTING.md": "contributing.md", "CHANGELOG.md": "changelog.md", "SECURITY.md": "security.md"}
"""Document at the top of the repository -> its page."""

_FENCED = re.compile(r"(^```.*?^```$)", re.DOTALL | re.MULTILINE)


def build(target: Path) -> None:
    """Write all pages into ``target``, which is replaced."""
    shutil.rmtree(target, ignore_errors=True)
    shutil.copytree(ROOT / "docs", target, ignore=shutil.ignore_patterns("*.py", "__pycache__"))
    for name, page in TOP.items():
        text = (ROOT / name).read_text(encoding="utf-8")
        (target / page).write_text(re.sub(r"\]\((?:docs/)?(?=[\w./-]+\.(?:md|png|svg))", "](", text), encoding="utf-8")
    for path in target.rglob("*.md"):
        text = _point_to_pages(path.read_text(encoding="utf-8"))
        path.write_text(_join_japanese(text) if path.name.endswith(".ja.md") else text, encoding="utf-8")
    for name, text in {"cli": cli_reference(), "http": http_reference(), "settings": settings_reference()}.items():
        (target / "reference" / f"{name}.md").write_text(text, encoding="utf-8")


def _point_to_pages(text: str) -> str:
    """Links to documents at the top of the repository, as links to their pages."""
    for name, page in TOP.items():
        text = re.sub(rf"\]\((?:\.\./)?{re.escape(name)}", f"]({page}", text)
    return text


def _join_japanese(text: str) -> str:
    """Lines of one paragraph joined where Markdown would show a blank between two Japanese characters."""
    wide = r"[\u3000-\u30ff\u4e00-\u9fff\uff00-\uffef]"
    seam = re.compile(rf"(?<={wide})\n *(?![\s\-#|`>]|\d+\.)|(?<=[^\s|`>])\n *(?={wide})")
    return "".join(part if part.startswith("```") else seam.sub("", part) for part in _FENCED.split(text))


# ---------------------------------------------------------------- command line
def cli_reference() -> str:
    """Every command of ``entityclip`` with its help and its options."""
    from typer._click import Context
    from typer.main import get_command

    from entityclip.cli import app

    root = get_command(app)
    lines = ["# Command line", "", "`entityclip` is the only program. Exit codes: 0 done, 1 refused or failed with a "]
    lines[-1] += "reason, 2 wrong usage, 3 busy."
    with Context(root, info_name="entityclip") as context:
        for command, name in _commands(root, context, "entityclip"):
            lines += ["", *_command(command, name)]
    return "\n".join(lines) + "\n"


def _commands(group: Any, context: Any, name: str) -> Iterator[tuple[Any, str]]:
    """Each command below ``group`` with its full name, depth first."""
    yield group, name
    for child in group.list_commands(context) if hasattr(group, "list_commands") else ():
        command = group.get_command(context, child)
        if command is not None and not command.hidden:
            yield from _commands(command, context, f"{name} {child}")


def _command(command: Any, name: str) -> list[str]:
    """The section of one command."""
    arguments = [one for one in command.params if one.param_type_name == "argument"]
    options = [one for one in command.params if one.param_type_name == "option" and not getattr(one, "hidden", False)]
    wanted = [one.metavar or one.name.upper() for one in arguments]
    usage = " ".join([name, *wanted, *(["[OPTIONS]"] if options else [])])
    lines = [f"{'#' * min(2 + max(name.count(' ') - 1, 0), 4)} {name}", ""]
    if not hasattr(command, "list_commands"):
        lines += ["```text", usage, "```", ""]
    lines += _help(command.help or "")
    rows = [_row(f"`{one.metavar or one.name.upper()}`", one) for one in arguments if getattr(one, "help", None)]
    rows += [_row(", ".join(f"`{flag}`" for flag in [*one.opts, *one.secondary_opts]), one) for one in options]
    rows = [row for row in rows if not row.startswith(("| `--install-completion", "| `--show-completion"))]
    return [*lines, *(["", "| option | default | meaning |", "|---|---|---|", *rows] if rows else [])]


def _help(text: str) -> list[str]:
    r"""Help as Markdown: a paragraph that begins with ``\b`` or is indented is kept line by line."""
    lines: list[str] = []
    for paragraph in re.split(r"\n\s*\n", text.strip("\n")):
        rows = paragraph.split("\n")
        if rows[0].strip() == "\b" or all(row.startswith("  ") for row in rows):
            head = [row.strip() for row in rows[1:2] if rows[0].strip() == "\b" and row.rstrip().endswith(":")]
            code = [row for row in rows if row.strip() != "\b" and row.strip() not in head]
            lines += [*head, "", "```sh", *(row.strip() for row in code), "```", ""]
        else:
            lines += [*(_plain(row.strip()) for row in rows), ""]
    return lines


def _row(name: str, option: Any) -> str:
    """One line of the table of options."""
    needed = getattr(option, "required", False)
    default = "required" if needed else "" if option.default in (None, False, (), []) else f"`{_value(option.default)}`"
    return f"| {name} | {default} | {_plain(getattr(option, 'help', None) or '')} |"


def _value(default: Any) -> str:
    if callable(default):
        return "computed"
    return str(getattr(default, "value", default)) or '""'


def _plain(text: str) -> str:
    """Text for a cell or a paragraph: nothing in it is taken for markup."""
    return " ".join(text.split()).replace("|", "\\|").replace("<", "&lt;").replace("[", "\\[").replace("*", "\\*")


# ---------------------------------------------------------------- HTTP
def http_reference() -> str:
    """Every endpoint of the service, from the OpenAPI document that it answers with."""
    from _bentoml_sdk import Service
    from starlette.testclient import TestClient

    from bentos import service

    application = next(one for one in vars(service).values() if isinstance(one, Service))
    document = TestClient(app=application.to_asgi()).get("/docs.json").json()
    schemas = document["components"]["schemas"]
    lines = [
        "# HTTP",
        "",
        "The same as `/docs.json`, the OpenAPI description of a running service. Send `Authorization: Bearer KEY` with "
        "each request, JSON or a multipart form; [Serving](../serving.md) has examples.",
    ]
    meanings: dict[str, str] = {}
    for path, method, operation in _operations(document):
        refusals = {status: one["description"] for status, one in operation["responses"].items() if status != "200"}
        meanings |= refusals
        lines += ["", f"## {method.upper()} {path}", "", _html(operation.get("description", ""))]
        lines += _fields("Request", _body(operation.get("requestBody", {}), schemas), defaults=True)
        lines += _fields("Answer", _body(operation["responses"]["200"], schemas))
        lines += ["", f"Refused with [{', '.join(refusals)}](#statuses)."] if refusals else []
    lines += ["", "## Statuses", "", 'Each refusal is JSON: `{"error": REASON}`. 429 and 503 have `Retry-After`.']
    lines += ["", "| status | meaning |", "|---|---|"]
    lines += [f"| {status} | {_plain(meaning)} |" for status, meaning in sorted(meanings.items())]
    lines += ["", "## Objects"]
    for name, schema in sorted(schemas.items()):
        if not name.endswith("Request"):
            lines += ["", f"### {name}", "", _html(schema.get("description", "")), *_fields("", schema)]
    return "\n".join(lines) + "\n"


def _operations(document: dict[str, Any]) -> list[tuple[str, str, dict[str, Any]]]:
    """Path, method and description of every endpoint; probes, which are read with GET, come last."""
    found = [(path, method, one) for path, methods in document["paths"].items() for method, one in methods.items()]
    return sorted(found, key=lambda operation: operation[1] == "get")


def _html(text: str) -> str:
    """BentoML describes its own endpoints in HTML."""
    return _plain(re.sub(r"</?code>", "`", re.sub(r"</?b>", "", text)))


def _body(message: dict[str, Any], schemas: dict[str, Any]) -> dict[str, Any]:
    """The schema of a request or an answer, of a form where it takes both."""
    content = message.get("content", {})
    schema: dict[str, Any] = next((one["schema"] for one in content.values()), {})
    return schemas[schema["$ref"].rpartition("/")[2]] if "$ref" in schema else schema


def _fields(title: str, schema: dict[str, Any], *, defaults: bool = False) -> list[str]:
    """A table of an object's fields; what a caller sends has defaults."""
    properties = schema.get("properties", {})
    if not properties:
        return []
    rows = []
    for name, field in properties.items():
        default = "required" if name in schema.get("required", ()) else _default(field)
        cells = [f"`{name}`", _type(field), *([default] if defaults else []), _plain(field.get("description", ""))]
        rows.append(f"| {' | '.join(cells)} |")
    head = ["field", "type", *(["default"] if defaults else []), "meaning"]
    table = [f"| {' | '.join(head)} |", "|---" * len(head) + "|", *rows]
    return [*(["", f"**{title}**"] if title else []), "", *table]


def _default(field: dict[str, Any]) -> str:
    default = field.get("default")
    return "" if default in (None, [], "") else f"`{default}`"


def _type(field: dict[str, Any]) -> str:
    """A JSON schema's type in a few words."""
    if "$ref" in field:
        name = field["$ref"].rpartition("/")[2]
        return f"[{name}](#{name.lower()})"
    if "anyOf" in field:
        return " or ".join(_type(one) for one in field["anyOf"] if one.get("type") != "null")
    if "enum" in field:
        return ", ".join(f"`{one}`" for one in field["enum"])
    if field.get("type") == "array":
        return f"list of {_type(field.get('items', {}))}"
    kind = {"binary": "file", "date": "date"}.get(field.get("format", ""), field.get("type", "any"))
    bounds = [f"{sign} {field[key]}" for key, sign in (("minimum", "≥"), ("maximum", "≤")) if key in field]
    return " ".join([kind, *bounds])


# ---------------------------------------------------------------- settings
def settings_reference() -> str:
    """Every setting of ``entityclip.yaml`` and of a training, from the models that read them."""
    from entityclip.settings import WorkspaceConfig
    from entityclip.training.config import TrainConfig

    lines = [
        "# Settings",
        "",
        "A workspace keeps its settings in `entityclip.yaml`. `entityclip init DIR` writes one with every default; "
        "a key that is left out keeps its default. The last section is the file for `--config` of a training.",
    ]
    for section, about in WorkspaceConfig.model_fields.items():
        lines += ["", f"## {section}", "", _plain(about.description or "")]
        models = _models(about.annotation)
        for model in models:
            lines += [*_title(model, len(models)), *_settings(model)]
    lines += ["", "## Training", "", "`entityclip train --dry-run` prints them for a preset."]
    lines += _settings(TrainConfig)
    return "\n".join(lines) + "\n"


def _models(annotation: Any) -> list[Any]:
    """The pydantic models that a section may be: one, or one for each writer."""
    from typing import get_args

    from pydantic import BaseModel

    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [model for part in get_args(annotation) for model in _models(part)]


def _title(model: Any, alternatives: int) -> list[str]:
    """What a model is for, where a section may be one of several."""
    return ["", f"**{_plain((model.__doc__ or model.__name__).splitlines()[0])}**"] if alternatives > 1 else []


def _settings(model: Any) -> list[str]:
    """A table with one row for each setting, those of nested models included."""
    return ["", "| setting | default | meaning |", "|---|---|---|", *_setting_rows(model, "")]


def _setting_rows(model: Any, prefix: str) -> Iterator[str]:
    for name, field in model.model_fields.items():
        nested = _models(field.annotation)
        if nested:
            for one in nested:
                yield from _setting_rows(one, f"{prefix}{name}.")
            continue
        value = None if field.is_required() else field.get_default(call_default_factory=True)
        default = "required" if field.is_required() else f"`{json.dumps(value, default=list, ensure_ascii=False)}`"
        default = default.replace("|", "\\|")
        yield f"| `{prefix}{name}` | {default} | {_plain(field.description or '')} |"


if __name__ == "__main__":
    build(Path(sys.argv[1] if len(sys.argv) > 1 else "build/docs"))
