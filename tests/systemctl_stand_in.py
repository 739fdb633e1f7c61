"""A stand-in for ``systemctl`` in the tests of docs/operating.md: runs the command lines of the real unit files on one "machine", a folder.

Knows ``start``, ``stop``, ``restart``, ``enable --now`` and ``kill``. A start returns when the process has said that it is ready, over the
socket of sd_notify(3), as units of ``Type=notify`` do. Of the sandbox only this is applied: no memory that is both written and run, where
the kernel can see to it (6.3 and later).
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import shlex
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

MACHINE = Path(os.environ["MACHINE"])
UNITS = Path(__file__).parent.parent / "deploy" / "systemd"
PR_SET_MDWE, PR_MDWE_REFUSE_EXEC_GAIN = 65, ctypes.c_ulong(1)
READY_SECONDS = 30.0
STOP_SECONDS = 30.0


def setting(unit: str, name: str) -> str:
    lines = (UNITS / f"{unit}.service").read_text().splitlines()
    return next(line.removeprefix(f"{name}=") for line in lines if line.startswith(f"{name}="))


def start(unit: str) -> None:
    variable, _, path = setting(unit, "Environment").partition("=")
    command = [sys.executable, *shlex.split(setting(unit, "ExecStart"))[1:]]
    if setting(unit, "MemoryDenyWriteExecute") == "yes":
        deny_write_execute()
    address = Path(os.environ["SOCKETS"]) / f"{os.getpid()}"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notices, (MACHINE / "journal").open("ab") as journal:
        notices.bind(str(address))
        notices.settimeout(READY_SECONDS)
        process = subprocess.Popen(
            command,
            cwd=MACHINE,
            env={
                "PATH": os.environ["PATH"],
                "PYTHONPATH": os.environ["PYTHONPATH"],
                variable: f"{MACHINE}{path}",
                "NOTIFY_SOCKET": str(address),
            },
            stdin=subprocess.DEVNULL,
            stdout=journal,
            stderr=journal,
            start_new_session=True,
        )
        pid_file(unit).write_text(str(process.pid))
        assert b"READY=1" in notices.recv(4096)


def deny_write_execute() -> None:
    """For this process and those that it starts (prctl(2))."""
    zero = ctypes.c_ulong(0)
    ctypes.CDLL(None).prctl(PR_SET_MDWE, PR_MDWE_REFUSE_EXEC_GAIN, zero, zero, zero)


def stop(unit: str, number: signal.Signals = signal.SIGTERM) -> None:
    """End the main process, which takes its worker along, or the whole session."""
    if not pid_file(unit).exists():
        return
    pid = int(pid_file(unit).read_text())
    with contextlib.suppress(ProcessLookupError):
        (os.kill if number is signal.SIGTERM else os.killpg)(pid, number)
    deadline = time.monotonic() + STOP_SECONDS
    while runs(pid):
        assert time.monotonic() < deadline, f"{unit} does not stop"
        time.sleep(0.02)
    pid_file(unit).unlink()


def runs(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def pid_file(unit: str) -> Path:
    return MACHINE / f"{unit}.pid"


def main(arguments: list[str]) -> None:
    match arguments:
        case ["start", unit] | ["enable", "--now", unit]:
            start(unit)
        case ["stop", unit]:
            stop(unit)
        case ["restart", unit]:
            stop(unit)
            start(unit)
        case ["kill", unit]:
            stop(unit, signal.SIGKILL)
        case _:
            sys.exit(f"not one of this stand-in's commands: {arguments}")


if __name__ == "__main__":
    main(sys.argv[1:])
