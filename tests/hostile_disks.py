"""Disks that fail under a running process: full ones (a small file system in memory), and ones that refuse to write."""

from __future__ import annotations

import contextlib
import resource
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from real_cluster import RealCluster

from cli import processes
from cli.processes import Server

SMALL_BYTES = 4 * 1024 * 1024


class SmallDisk:
    """A file system of its own in place of a folder."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._filler = folder / "filler"

    def fill(self) -> None:
        """Leave no room at all."""
        with self._filler.open("wb", buffering=0) as filler, contextlib.suppress(OSError):
            while True:
                filler.write(bytes(4_096))

    def make_room(self) -> None:
        self._filler.unlink(missing_ok=True)

    def make_read_only(self) -> None:
        """Raises CalledProcessError while somebody has a file open for writing."""
        self._remount("ro")

    def make_writable(self) -> None:
        self._remount("rw")

    def _remount(self, how: str) -> None:
        subprocess.run(["mount", "-o", f"remount,{how}", str(self._folder)], check=True, capture_output=True)


@contextlib.contextmanager
def small_disk(cluster: RealCluster, server: str) -> Iterator[SmallDisk]:
    """Inside, the folder of a server that does not run lies on a small disk; its files go there and come back.

    Skips the test where this process may not mount a file system.
    """
    folder = cluster.directory / server
    aside = folder.with_name(f"{server}-aside")
    shutil.copytree(folder, aside)
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={SMALL_BYTES},mode=0700", "tmpfs", str(folder)], check=False, capture_output=True, text=True
    )
    if mounted.returncode != 0:
        shutil.rmtree(aside)
        pytest.skip(f"no file system can be mounted here: {mounted.stderr.strip()}")
    try:
        shutil.copytree(aside, folder, dirs_exist_ok=True)
        disk = SmallDisk(folder)
        yield disk
        cluster.kill(server)
        disk.make_room()
        shutil.rmtree(aside)
        shutil.copytree(folder, aside)
    finally:
        cluster.kill(server)
        subprocess.run(["umount", str(folder)], check=True, capture_output=True)
        shutil.copytree(aside, folder, dirs_exist_ok=True)
        shutil.rmtree(aside)


@contextlib.contextmanager
def no_growth(server: Server) -> Iterator[None]:
    """Inside, no file that the server writes to can grow: writing beyond its beginning is an error."""
    limits = {pid: resource.prlimit(pid, resource.RLIMIT_FSIZE) for pid in processes.pids(server)}
    for pid, (_, hard) in limits.items():
        resource.prlimit(pid, resource.RLIMIT_FSIZE, (0, hard))
    try:
        yield
    finally:
        for pid, limit in limits.items():
            with contextlib.suppress(ProcessLookupError):
                resource.prlimit(pid, resource.RLIMIT_FSIZE, limit)


def flip(path: Path, offset: int, count: int = 64) -> None:
    """Invert some bytes of a file in place."""
    with path.open("r+b") as file:
        file.seek(offset)
        data = file.read(count)
        file.seek(offset)
        file.write(bytes(byte ^ 0xFF for byte in data))
