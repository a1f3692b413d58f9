from __future__ import annotations

import errno
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from flows.retrain import _says_full

LOADED = """
import sys
import flows.page, flows.reuse
from entityclip.presets import preset
preset("demo")
print(sorted({"torch", "open_clip", "transformers", "great_expectations", "bentoml"} & set(sys.modules)))
"""


def test_a_run_that_reuses_every_step_waits_for_no_library_that_computes() -> None:
    done = subprocess.run([sys.executable, "-c", LOADED], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


def test_a_full_disk_is_known_by_what_files_and_databases_say(tmp_path: Path) -> None:
    database = sqlite3.connect(tmp_path / "small.sqlite")
    database.execute("PRAGMA max_page_count = 2")
    with pytest.raises(sqlite3.OperationalError) as full:
        database.execute("CREATE TABLE a AS SELECT zeroblob(100000)")
    with pytest.raises(sqlite3.OperationalError) as wrong:
        database.execute("SELECT nothing")
    assert _says_full(full.value)
    assert _says_full(OSError(errno.ENOSPC, "No space left on device"))
    assert not _says_full(wrong.value)
    assert not _says_full(FileNotFoundError(errno.ENOENT, "No such file"))
