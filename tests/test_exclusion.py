"""A node's store belongs to one process at a time."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from node.exclusion import hold
from node.schema import StoreError

ROOT = Path(__file__).parent.parent
HOLDER = """\
import sys
from pathlib import Path
from node.exclusion import hold
hold(Path(sys.argv[1]))
print("held", flush=True)
sys.stdin.read()
"""


@contextmanager
def holder(database: Path) -> Iterator[subprocess.Popen[bytes]]:
    """Another process that holds the store."""
    with subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(database)], cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        try:
            assert process.stdout.readline() == b"held\n"
            yield process
        finally:
            process.kill()


def test_a_second_process_is_refused_and_told_why(tmp_path: Path) -> None:
    database = tmp_path / "store.db"
    with holder(database), pytest.raises(StoreError, match=r"store\.db: another process works on this store"):
        hold(database, waiting_seconds=0)


def test_it_waits_for_a_process_that_ends_however_that_ends(tmp_path: Path) -> None:
    database = tmp_path / "store.db"
    with holder(database) as other:
        other.kill()
        with holder(database):
            pass


def test_a_lock_that_cannot_be_made_is_told(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match=r"nowhere/store\.db\.lock: cannot be opened \(No such file or directory\)"):
        hold(tmp_path / "nowhere" / "store.db")
