"""The files of an audit log: who may write them, what a full one is called, and where its chain of lines stands.

The file that is written is ``NAME.SUFFIX``, full ones are ``NAME-LASTSEQ.SUFFIX`` beside it, and ``NAME.SUFFIX.lock`` says who writes.
"""

from __future__ import annotations

import fcntl
import glob
import mmap
import os
import time
from pathlib import Path

from model import audit
from model.audit import GENESIS, ChainError, Head

LOCK_SECONDS = 30.0
"""How long to wait for the process before to let go of the log; longer than a worker takes to end."""


class AuditError(Exception):
    """The log cannot be used; the text names the file and says what an operator can do."""


def locked(path: Path) -> int:
    """The lock file at ``path``, held; waits for a process that is ending. Raises AuditError."""
    file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    deadline = time.monotonic() + LOCK_SECONDS
    while True:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() > deadline:
                os.close(file)
                raise AuditError(f"{path}: another process writes this audit log; each gateway needs its own") from None
            time.sleep(0.1)
        else:
            return file


def rotated(path: Path, seq: int) -> Path:
    """The final name of the file at ``path``, whose last line has the number ``seq``."""
    return path.with_name(f"{path.stem}-{seq:015}{path.suffix}")


def _newest(path: Path) -> Path | None:
    """The rotated file that the one at ``path`` follows; None for the first."""
    return max(path.parent.glob(f"{glob.escape(path.stem)}-{'[0-9]' * 15}{glob.escape(path.suffix)}"), default=None)


def finish_rotation(path: Path) -> None:
    """If a crash left the file under its final name too, let it have only that."""
    newest = _newest(path)
    if newest is not None and path.exists() and path.samefile(newest):
        path.unlink()


def head_before(path: Path) -> Head:
    """Where the chain stands before the first line of the file at ``path``: at the end of the newest rotated one."""
    newest = _newest(path)
    if newest is None:
        return GENESIS
    with newest.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
        return head_after(content[content.rfind(b"\n", 0, len(content) - 1) + 1 :], newest)


def head_after(line: bytes, path: Path) -> Head:
    """Where the chain stands after ``line``, the last of the file at ``path``. Raises AuditError for one that is damaged."""
    try:
        return audit.follow(audit.before(line), line)
    except ChainError as error:
        raise AuditError(f"{path}: {error}; keep the file, but move it away: then a new chain begins") from error


def sync_folder(path: Path) -> None:
    """Bring the names in a folder to the disk. Raises OSError."""
    folder = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
