"""Files written so that nobody sees half of one: a temporary file in the same directory, fsync, rename, mode 0600.

Root gives a file that replaces another the owner of that one: who could read it, such as a server under a user of its own, still can.
"""

from __future__ import annotations

import errno
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from cli.failure import Exit, Failure


@contextmanager
def replacing(path: Path, room: int = 0) -> Iterator[BinaryIO]:
    """A new file that takes ``path``'s place (that of its target, for a symbolic link) when the block ends well, and else vanishes.

    The file exists, with mode 0600 and ``room`` bytes on the disk, before the block begins: a directory that cannot be written to, or
    a full disk, is found out first.
    Raises Failure (usage) for what the operating system refuses.
    """
    path = path.resolve()
    if path.exists() and not path.is_file():
        raise Failure(f"{path} is no regular file", "choose a place for a file, or - for stdout", Exit.USAGE)
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    try:
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        try:
            with os.fdopen(descriptor, "wb") as file:
                if os.geteuid() == 0 and path.exists():
                    os.fchown(descriptor, path.stat().st_uid, path.stat().st_gid)
                _reserve(descriptor, room)
                yield file
                file.truncate()
                os.fsync(file.fileno())
            temporary.replace(path)
            _sync_directory(path.parent)
        finally:
            temporary.unlink(missing_ok=True)
    except OSError as error:
        raise Failure(f"cannot write {path}: {error.strerror}", "choose a place that can be written to", Exit.USAGE) from None


def write(path: Path, content: str | bytes) -> None:
    """Put ``content`` (text as UTF-8) at ``path``, atomically and with mode 0600."""
    with replacing(path) as file:
        file.write(content.encode("utf-8") if isinstance(content, str) else content)


def _reserve(descriptor: int, room: int) -> None:
    """Have ``room`` bytes kept for the file, on systems that can. Raises OSError where there are not so many."""
    if room and hasattr(os, "posix_fallocate"):
        try:
            os.posix_fallocate(descriptor, 0, room)
        except OSError as error:
            if error.errno in {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}:
                raise


def _sync_directory(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
