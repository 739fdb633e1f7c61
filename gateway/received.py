"""What has come of a request, as gunicorn's parser reads it: all of it, at once, and never more."""

from __future__ import annotations

from gunicorn.http.unreader import Unreader

_PART_BYTES = 65_536


class Received(Unreader):
    """Bytes in memory. gunicorn's own unreader copies all that is left at each read, and waits for the client where there is nothing left.

    What was read is overwritten.
    """

    def __init__(self) -> None:
        super().__init__()
        self._data = bytearray()
        self._start = 0

    def put(self, data: bytes | bytearray) -> None:
        """Append ``data``."""
        self._data += data

    def read(self, size: int | None = None, read_ahead: int | None = None) -> bytes:
        """The next ``size`` bytes, fewer only where there are no more; without a size, the next part."""
        del read_ahead
        start = self._start
        end = min(start + (_PART_BYTES if size is None or size < 0 else size), len(self._data))
        part = bytes(self._data[start:end])
        self._data[start:end] = bytes(end - start)
        self._start = end
        return part

    def unread(self, data: bytes | bytearray) -> None:
        """Put back what was read last."""
        assert self._start >= len(data), "only what was read can be put back"
        self._data[self._start - len(data) : self._start] = data
        self._start -= len(data)

    def take_buffered(self) -> bytes:
        """All that is left."""
        rest = self.read(len(self._data) - self._start)
        self._data.clear()
        self._start = 0
        return rest
