"""One process at a time works on a node's store: leases and fences are in memory, and two would break each other's promises."""

from __future__ import annotations

import fcntl
import os
import time
from pathlib import Path

from node.schema import StoreError

WAITING_SECONDS = 30.0
"""How long to wait for the process before to let go of the store; longer than a worker takes to end."""


def hold(database: Path, waiting_seconds: float = WAITING_SECONDS) -> None:
    """Hold the store at ``database`` for as long as this process lives; the kernel lets go of it then. Raises StoreError.

    Forks must not outlive this process: they would hold it too.
    """
    path = database.with_name(f"{database.name}.lock")
    try:
        file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise StoreError(f"{path}: cannot be opened ({error.strerror})") from error
    deadline = time.monotonic() + waiting_seconds
    while True:
        try:
            return fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() > deadline:
                os.close(file)
                raise StoreError(f"{database}: another process works on this store; end it first") from None
            time.sleep(0.1)
