"""The audit log: who asked for what, and what came of it. A request that cannot be recorded is refused.

A request leaves two lines. The first, ``request``, says who asks for which capabilities on which names; it is written before any node is
asked, and without it nothing is done. The second, ``answer``, says the status; no answer depends on it, for by then the request has had
its effect, and hiding that would help nobody. So a ``request`` without ``answer`` (the gateway was killed, or the disk filled up, in
between) means: take it that it was carried out and answered. One line would have to lie: written before, it knows no outcome; written
after, a crash in between leaves an act without a trace. What is turned away before it could do anything (bad credentials, a denied name,
malformed) leaves one line, ``refusal``, and is answered only once that is written.

A line is written (write(2)) before its request goes on, so it survives the end of this process, however it comes. Every quarter of a second
what was written is synced to the disk; a power cut may take what came after. If a sync ever fails, nothing is known about the lines before
it, and every request is refused until an operator has looked and started the gateway anew.

A request costs one write: an ``answer`` rides with the next line of any request, or goes with the next sync; and threads that want to write
at the same time are combined, who gets the pen writes for all who wait. The chain (``model.audit``) goes on over files and restarts
(``gateway.audit_files``). What a request's lines say is ``gateway.trail``'s.
"""

from __future__ import annotations

import logging
import mmap
import os
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from gateway.audit_files import finish_rotation, head_after, head_before, locked, rotated, sync_folder
from model import audit
from model.errors import AuditUnavailable
from model.version import format_time

SYNC_SECONDS = 0.25
CHECK_SECONDS = 0.1
"""How soon it is noticed that somebody took the file away."""

_MODE = os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC

logger = logging.getLogger(__name__)


class _Entry:
    """What one thread wants written, and whether it has been."""

    __slots__ = ("members", "written")

    def __init__(self, members: Mapping[str, object]) -> None:
        self.members = members
        self.written = False


class AuditLog:
    """The log in the file at ``path``, for one process at a time. A file that outgrows ``limit_bytes`` gets its final name.

    Raises AuditError where another process has it, or its last line is damaged; OSError where it cannot be opened.
    """

    def __init__(self, path: Path, gateway: str, limit_bytes: int) -> None:
        self._path = path
        self._gateway = gateway
        self._limit_bytes = limit_bytes
        self._lock_file = locked(path.with_name(f"{path.name}.lock"))
        self._queue_lock = threading.Lock()
        self._queue: list[_Entry] = []
        self._pen = threading.Lock()
        self._failing = self._unsynced = self._torn = self._lost = False
        finish_rotation(path)
        self._checked = 0.0
        self._head = head_before(path)
        self._file = os.open(path, _MODE, 0o600)
        self._size = os.fstat(self._file).st_size
        cut_bytes = self._resume()
        self._ended = threading.Event()
        self._syncer = threading.Thread(target=self._sync_now_and_then, name="audit-sync", daemon=True)
        self._syncer.start()
        self.write({"event": "start", "cut_bytes": cut_bytes})

    def write(self, members: Mapping[str, object]) -> None:
        """Have a line with the time, this gateway and ``members`` in the file when this returns. Raises AuditUnavailable."""
        entry = self._entry(members)
        with self._queue_lock:
            self._queue.append(entry)
        with self._pen:
            if not entry.written:
                self._write_all_that_wait()
        if not entry.written:
            raise AuditUnavailable

    def note(self, members: Mapping[str, object]) -> None:
        """Have a line written with the next one, or the next sync."""
        entry = self._entry(members)
        with self._queue_lock:
            self._queue.append(entry)

    def check(self) -> None:
        """Raise AuditUnavailable if lines cannot be written. After a failure this tries whether they can again."""
        if self._failing:
            self.write({"event": "resume"})

    def close(self) -> None:
        """Write and sync what is left, and let go of the file."""
        self._ended.set()
        self._syncer.join()
        self._sync()
        with self._pen:
            os.close(self._file)
            self._lost = True
        os.close(self._lock_file)

    def _entry(self, members: Mapping[str, object]) -> _Entry:
        return _Entry({"time": format_time(time.time_ns() // 1000), "gateway": self._gateway, **members})

    def _write_all_that_wait(self) -> None:
        """One write for every entry of the queue. Called with the pen held; an entry of a failed write stays unwritten."""
        with self._queue_lock:
            entries, self._queue = self._queue, []
        if not entries:
            return
        head, lines = self._head, list[bytes]()
        for entry in entries:
            head, line = audit.append(head, entry.members)
            lines.append(line)
        try:
            self._put(lines)
        except OSError as error:
            if not self._failing:
                logger.error("the audit log cannot be written (%s): requests are refused", error.strerror)
            self._failing = True
            return
        self._head = head
        self._failing = False
        for entry in entries:
            entry.written = True

    def _put(self, lines: Sequence[bytes]) -> None:
        """Append ``lines``, all or none. Raises OSError."""
        if self._lost:
            raise OSError(0, "it could not be synced, or was closed")
        self._check_place()
        if self._torn:
            os.ftruncate(self._file, self._size)
            self._torn = False
        data = b"".join(lines)
        if self._size and self._size + len(data) > self._limit_bytes:
            self._rotate()
        rest = memoryview(data)
        self._torn = True
        while rest:
            rest = rest[os.write(self._file, rest) :]
        self._torn = False
        self._size += len(data)
        self._unsynced = True

    def _check_place(self) -> None:
        """Now and then, and while anything is amiss, make sure that the file is where it belongs. Raises OSError."""
        now = time.monotonic()
        if self._failing or now - self._checked > CHECK_SECONDS:
            if not os.path.samestat(os.stat(self._path, follow_symlinks=False), os.fstat(self._file)):
                raise OSError(0, "another file stands in its place")
            self._checked = now

    def _rotate(self) -> None:
        """Give the file its final name and begin a new one: by a link, which unlike a rename never takes another file's place.

        A crash in between leaves the file under both names; ``finish_rotation`` sees to that.
        """
        os.fdatasync(self._file)
        final, fresh = rotated(self._path, self._head.seq), self._path.with_name(f"{self._path.name}.new")
        file = os.open(fresh, _MODE | os.O_TRUNC, 0o600)
        try:
            os.link(self._path, final)
            try:
                fresh.replace(self._path)
            except OSError:
                final.unlink()
                raise
        except OSError:
            os.close(file)
            raise
        os.close(self._file)
        self._file, self._size = file, 0
        sync_folder(self._path.parent)

    def _resume(self) -> int:
        """Find the chain's end in the file as it was left; how many bytes of an unfinished line were cut off (0: none).

        Nothing was done on account of a line that was not finished. Raises AuditError for a last line that is damaged.
        """
        if self._size == 0:
            return 0
        with mmap.mmap(self._file, self._size, access=mmap.ACCESS_READ) as content:
            end = content.rfind(b"\n") + 1
            if end:
                self._head = head_after(content[content.rfind(b"\n", 0, end - 1) + 1 : end], self._path)
        cut_bytes = self._size - end
        if cut_bytes:
            logger.warning("%s: an unfinished line of %d bytes is cut off", self._path, cut_bytes)
            os.ftruncate(self._file, end)
            self._size = end
        return cut_bytes

    def _sync_now_and_then(self) -> None:
        while not self._ended.wait(SYNC_SECONDS):
            self._sync()

    def _sync(self) -> None:
        """Write what waits, and bring everything to the disk without keeping writers waiting."""
        with self._pen:
            self._write_all_that_wait()
            if not self._unsynced:
                return
            try:
                file = os.dup(self._file)
            except OSError as error:
                logger.error("the audit log cannot be synced for the moment (%s)", error.strerror)
                return
            self._unsynced = False
        try:
            os.fdatasync(file)
        except OSError as error:
            self._lost = self._failing = True
            logger.critical("the audit log cannot be synced (%s): requests are refused until the gateway is started anew", error.strerror)
        finally:
            os.close(file)
