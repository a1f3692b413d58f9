"""Every command that documents, messages and docstrings name exists, and takes the options that they give it."""

from __future__ import annotations

import ast
import contextlib
import io
import re
import runpy
import sys
from collections import defaultdict
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import typer.core
from typer.main import get_command

from entityclip.cli import app

ROOT = Path(__file__).parents[1]
DOCUMENTS = [
    *ROOT.glob("*.md"),
    *(path for folder in ("docs", "deploy", "examples") for path in (ROOT / folder).rglob("*.md")),
]
SCRIPTS = [
    ROOT / "Makefile",
    ROOT / "prefect.yaml",
    *(p for p in (ROOT / "deploy").rglob("*.*") if p.is_file() and p.suffix != ".md"),
]
PACKAGES = ("entityclip", "flows", "bentos", "expectations", "benchmarks", "examples")
CODE = [path for name in PACKAGES for path in (ROOT / name).rglob("*.py")]

_WORDS = r"(?P<words>(?: +[^\s`'\"|;&()#,\[\]…]+)*)"
_PROGRAM = r"(?P<program>python3? -m (?:entityclip|bentos|flows\.\w+)|python3? benchmarks/\w+\.py|entityclip|make)"
_COMMAND = re.compile(_PROGRAM + r"(?![\w/.:=-])" + _WORDS)
_BEGINS = r"(?:^|[|;&(] *|\$ +|[\w.]+=\S* +)"
IN_SHELL = re.compile(_BEGINS + _COMMAND.pattern)
IN_TEXT = re.compile(r"(?:^|[\s`'\"(/])" + _COMMAND.pattern)
CODE_IN_MARKDOWN = re.compile(r"^```\w*\n(.*?)^```|`([^`]+)`", re.DOTALL | re.MULTILINE)

NAME = re.compile(r"[a-z][a-z-]*")

Command = tuple[str, ...]


def shell_lines(path: Path) -> Iterator[str]:
    text = path.read_text(encoding="utf-8", errors="replace")
    if path.suffix == ".md":
        text = "\n".join(block or span.replace("\n", " ") for block, span in CODE_IN_MARKDOWN.findall(text))
    for line in text.replace("\\\n", " ").splitlines():
        yield line.split(" # ")[0].strip()


def texts(path: Path) -> Iterator[str]:
    """Strings of a module, docstrings among them; what an f-string fills in is left out."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield from node.value.splitlines()


def cited() -> Iterator[tuple[Path, str, list[str]]]:
    """File, program and words behind it, of every command that is cited anywhere."""
    for path in DOCUMENTS:
        for line in shell_lines(path):
            for found in IN_SHELL.finditer(line):
                yield path, found["program"], found["words"].split()
    for path in CODE:
        for found in (found for line in texts(path) for found in IN_TEXT.finditer(line)):
            if found["program"] != "make" or found[0][0] in "`'":  # else the English word
                yield path, found["program"], found["words"].split()
    for path in SCRIPTS:
        for found in (found for line in shell_lines(path) for found in IN_TEXT.finditer(line)):
            if found["program"].startswith("python"):  # else a name of something
                yield path, found["program"], found["words"].split()


def collected() -> tuple[dict[Command, dict[str, Path]], dict[str, Path]]:
    """Program and subcommands -> options with the file that cites each; and targets of make."""
    commands: dict[Command, dict[str, Path]] = defaultdict(dict)
    targets: dict[str, Path] = {}
    for path, program, words in cited():
        if program == "make":
            targets |= {word: path for word in words[:1] if "=" not in word and not word.startswith("-")}
            continue
        plain = re.sub("^python3", "python", program)
        subcommands = words[: subcommand_count(plain, words)]
        options = {word.split("=")[0]: path for word in words if re.match("--[a-z]", word)}
        commands[(plain, *subcommands)] |= {"--help": path} | ({} if "avx2.py" in plain else options)
    return commands, targets


def subcommand_count(program: str, words: list[str]) -> int:
    """How many of the words name a command: the others are its arguments."""
    if program in ("entityclip", "python -m entityclip"):
        return depth(get_command(app), words)
    most = {"python -m bentos": 2}.get(program, 0)
    return next((i for i, word in enumerate(words[:most]) if not NAME.fullmatch(word)), len(words[:most]))


def depth(command: Any, words: list[str]) -> int:
    """How far the words lead down a tree of commands; one that is missing counts, so that it is found missing."""
    if not words or not isinstance(command, typer.core.TyperGroup) or not NAME.fullmatch(words[0]):
        return 0
    found = command.get_command(command.make_context("entityclip", [], resilient_parsing=True), words[0])
    return 1 + (depth(found, words[1:]) if found else 0)


COMMANDS, TARGETS = collected()


def help_of(program: str, *subcommands: str) -> str:
    """What the program prints for ``--help``, run in this process as it is run from a shell."""
    output, before, code = io.StringIO(), (sys.argv, sys.path[:]), None
    sys.argv = [program, *subcommands, "--help"]
    with contextlib.redirect_stdout(output), contextlib.redirect_stderr(output):
        try:
            run(program)
        except SystemExit as ended:
            code = ended.code
        finally:
            sys.argv, sys.path[:] = before
    assert not code, output.getvalue()
    return output.getvalue()


def run(program: str) -> None:
    if script := re.fullmatch(r"python (benchmarks/\w+\.py)", program):
        sys.path.insert(0, str(ROOT / "benchmarks"))
        runpy.run_path(str(ROOT / script[1]), run_name="__main__")
    elif program.split()[-1] == "entityclip":
        app(prog_name="entityclip")  # ``main`` would end this process
    else:
        runpy.run_module(program.split()[-1], run_name="__main__", alter_sys=True)


def takes_options(program: str) -> bool:
    name = program.split()[-1]
    spec = None if name.endswith(".py") else find_spec(name)
    path = ROOT / name if spec is None else Path(spec.origin or "")
    return name in ("entityclip", "bentos") or "typer" in path.read_text()


def test_the_search_finds_what_is_known_to_be_cited() -> None:
    known = {
        ("entityclip", "train"): "--preset",
        ("entityclip", "review", "import"): "--reviewer",
        ("entityclip", "run"): "--source-path",
        ("entityclip", "keys", "create"): "--scope",
        ("python benchmarks/faults.py",): "--kills",
    }
    assert {command: option for command, option in known.items() if option not in COMMANDS.get(command, {})} == {}
    assert {"demo", "test", "up", "down", "setup"} <= TARGETS.keys()


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_every_command_that_is_cited_exists_with_its_options(command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("COLUMNS", "TERMINAL_WIDTH"):
        monkeypatch.setenv(name, "250")
    cites = COMMANDS[command]
    if not takes_options(command[0]):
        assert cites.keys() == {"--help"}, f"{cites}: this program takes no options"
        return
    shown = help_of(*command)
    missing = {option: str(path.relative_to(ROOT)) for option, path in cites.items() if not in_help(option, shown)}
    assert missing == {}


def in_help(option: str, shown: str) -> bool:
    return re.search(rf"(?<![\w-]){option}(?![\w-])", shown) is not None


BENCHMARKS = sorted(path.name for path in (ROOT / "benchmarks").glob("*.py"))


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", BENCHMARKS)
def test_every_benchmark_starts_and_prints_json(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERMINAL_WIDTH", "250")
    shown = help_of(f"python benchmarks/{name}")
    assert in_help("--json", shown)  # of avx2.py, it is the example's


def test_every_target_of_make_that_is_cited_exists() -> None:
    makefile = (ROOT / "Makefile").read_text()
    there = set(re.findall(r"^([a-z][\w-]*):", makefile, re.MULTILINE))
    assert {target: str(path) for target, path in TARGETS.items() if target not in there} == {}
