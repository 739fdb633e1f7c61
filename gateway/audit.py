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
at the same time are combined, who gets the pen writes for all who wait. The chain (``model.audit``) goes on over files and restarts.
"""

from __future__ import annotations

import fcntl
import glob
import logging
import mmap
import os
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from model import audit
from model.audit import GENESIS, ChainError, Head
from model.errors import AuditUnavailable
from model.version import format_time

SYNC_SECONDS = 0.25
CHECK_SECONDS = 0.1
"""How soon it is noticed that somebody took the file away."""
LOCK_SECONDS = 30.0
"""How long to wait for the process before to let go of the log; longer than a worker takes to end."""

_MODE = os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC

logger = logging.getLogger(__name__)


class AuditError(Exception):
    """The log cannot be used; the text names the file and says what an operator can do."""


class _Entry:
    """What one thread wants written, and whether it has been."""

    __slots__ = ("members", "written")

    def __init__(self, members: Mapping[str, object]) -> None:
        self.members = members
        self.written = False


class AuditLog:
    """The log in the file at ``path``, for one process at a time. A file that outgrows ``limit_bytes`` is renamed ``NAME-LASTSEQ.SUFFIX``.

    Raises AuditError where another process has it, or its last line is damaged; OSError where it cannot be opened.
    """

    def __init__(self, path: Path, gateway: str, limit_bytes: int) -> None:
        self._path = path
        self._gateway = gateway
        self._limit_bytes = limit_bytes
        self._lock_file = _locked(path.with_name(f"{path.name}.lock"))
        self._queue_lock = threading.Lock()
        self._queue: list[_Entry] = []
        self._pen = threading.Lock()
        self._failing = self._unsynced = self._torn = self._lost = False
        _finish_rotation(path)
        self._checked = 0.0
        self._head = _head_before(path)
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

        A crash in between leaves the file under both names; ``_finish_rotation`` sees to that.
        """
        os.fdatasync(self._file)
        final, fresh = _rotated(self._path, self._head.seq), self._path.with_name(f"{self._path.name}.new")
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
        _sync_folder(self._path.parent)

    def _resume(self) -> int:
        """Find the chain's end in the file as it was left; how many bytes of an unfinished line were cut off (0: none).

        Nothing was done on account of a line that was not finished. Raises AuditError for a last line that is damaged.
        """
        if self._size == 0:
            return 0
        with mmap.mmap(self._file, self._size, access=mmap.ACCESS_READ) as content:
            end = content.rfind(b"\n") + 1
            if end:
                self._head = _after(content[content.rfind(b"\n", 0, end - 1) + 1 : end], self._path)
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
            self._unsynced = False
            file = os.dup(self._file)
        try:
            os.fdatasync(file)
        except OSError as error:
            self._lost = self._failing = True
            logger.critical("the audit log cannot be synced (%s): requests are refused until the gateway is started anew", error.strerror)
        finally:
            os.close(file)


class Trail:
    """What one request leaves in the log. ``principal``, ``credential`` and ``namespace`` are set as they become known."""

    __slots__ = ("_action", "_log", "_request_id", "_source", "_uses", "begun", "credential", "namespace", "principal")

    def __init__(self, log: AuditLog, request_id: str, source: str, action: str) -> None:
        self._log = log
        self._request_id = request_id
        self._source = source
        self._action = action
        self._uses: dict[str, list[str]] = {}
        self.begun = False
        self.principal: str | None = None
        self.credential: str | None = None
        self.namespace: str | None = None

    def wants(self, capability: str, name: str) -> None:
        """Note that the request is for ``capability`` on ``name``, which is a valid name, or the prefix of names."""
        self._uses.setdefault(capability, []).append(name)

    def begin(self) -> None:
        """Record the request, before anything is done. Raises AuditUnavailable: then nothing may be done."""
        self._log.write({"event": "request", **self._what()})
        self.begun = True

    def end(self, status: int, code: str | None) -> None:
        """Record the answer. Raises AuditUnavailable if there is no other line of this request."""
        if self.begun:
            self._log.note({"event": "answer", "request": self._request_id, "status": status, "code": code})
        else:
            self._log.write({"event": "refusal", **self._what(), "status": status, "code": code})

    def _what(self) -> dict[str, object]:
        return {
            "request": self._request_id,
            "source": self._source,
            "principal": self.principal,
            "credential": self.credential,
            "namespace": self.namespace,
            "action": self._action,
            "uses": {capability: list(dict.fromkeys(names)) for capability, names in self._uses.items()},
        }


def _locked(path: Path) -> int:
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


def _rotated(path: Path, seq: int) -> Path:
    return path.with_name(f"{path.stem}-{seq:015}{path.suffix}")


def _newest(path: Path) -> Path | None:
    """The rotated file that the one at ``path`` follows; None for the first."""
    return max(path.parent.glob(f"{glob.escape(path.stem)}-{'[0-9]' * 15}{glob.escape(path.suffix)}"), default=None)


def _finish_rotation(path: Path) -> None:
    """If a crash left the file under its final name too, let it have only that."""
    newest = _newest(path)
    if newest is not None and path.exists() and path.samefile(newest):
        path.unlink()


def _head_before(path: Path) -> Head:
    """Where the chain stands before the first line of the file at ``path``: at the end of the newest rotated one."""
    newest = _newest(path)
    if newest is None:
        return GENESIS
    with newest.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
        return _after(content[content.rfind(b"\n", 0, len(content) - 1) + 1 :], newest)


def _after(line: bytes, path: Path) -> Head:
    try:
        return audit.follow(audit.before(line), line)
    except ChainError as error:
        raise AuditError(f"{path}: {error}; keep the file, but move it away: then a new chain begins") from error


def _sync_folder(path: Path) -> None:
    folder = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
