"""The checks of names and of prose in .ci/ find what they are for, and nothing else."""

import runpy
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

CI = Path(__file__).parents[2] / ".ci"
NAMES = runpy.run_path(str(CI / "names.py"))
PROSE = runpy.run_path(str(CI / "prose.py"))


def problems(folder: Path, name: str, text: str) -> list[str]:
    """What the prose lint finds in a file of this name and text, without the file's path."""
    path = folder / name
    path.write_text(text, encoding="utf-8")
    found: Iterator[str] = PROSE["problems"](path)
    return [problem.removeprefix(f"{path}:") for problem in found]


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("a.md", "\nRows are laid to a release.\n"),
        ("a.py", '"""\nRows are laid to a release.\n"""\n'),
        ("a.py", "x = 1\n# Laid to a release.\n"),
        ("a.py", "\nraise ValueError(f'{1} is laid to a release')\n"),
    ],
)
def test_a_listed_word_is_found_with_its_line(tmp_path: Path, name: str, text: str) -> None:
    (problem,) = problems(tmp_path, name, text)
    assert problem.startswith("2: ")
    assert problem.endswith("write attributed to")


def test_code_and_quotations_are_not_checked(tmp_path: Path) -> None:
    text = 'The key `asked`, the message "nobody asked", and\n\n```\ntold\n```\n'
    assert problems(tmp_path, "a.md", text) == []
    assert problems(tmp_path, "a.py", "asked = {'told': 1}\n") == []


def test_a_class_defined_twice_is_named_with_both_places(tmp_path: Path) -> None:
    files = [tmp_path / "a.py", tmp_path / "b.py"]
    for path in files:
        path.write_text(
            "class Answer:\n    pass\n\n\nclass _Own:\n    pass\n" if path.stem == "a" else "class Answer: ...\n"
        )
    found: Any = NAMES["repeated_classes"](files)
    assert found == [f"class Answer: {files[0]}:1, {files[1]}:1"]


def test_a_file_name_may_occur_three_times() -> None:
    files = [Path(folder, "stage.py") for folder in "abc"]
    assert NAMES["crowded_names"](files) == []
    assert NAMES["crowded_names"]([*files, Path("d/stage.py")]) == ["stage.py: 4 files, at most 3"]
    assert NAMES["crowded_names"]([Path(folder, "__init__.py") for folder in "abcd"]) == []
