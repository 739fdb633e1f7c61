"""What can be done for a process that holds plaintext: no core dump, no debugger, no swap, no more copies than need be.

``gateway/hardening.py`` is the same, on purpose: a gateway and a node share nothing but ``model``, which does no IO, and forty lines that
never change are cheaper than a room for them. A test holds the two together.
"""

from __future__ import annotations

import ctypes
import logging
import os
import resource

_PR_SET_DUMPABLE = 4
_MCL_CURRENT, _MCL_FUTURE, _MCL_ONFAULT = 1, 2, 4

logger = logging.getLogger(__name__)


def close_to_others() -> None:
    """No core dumps, also not through a pipe, and no ptrace or /proc/PID/mem by the same user (prctl(2)); children inherit both."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    zero = ctypes.c_ulong(0)
    if ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_DUMPABLE, zero, zero, zero, zero) != 0:
        logger.warning("this process can be traced by others of its user: %s", os.strerror(ctypes.get_errno()))


def keep_out_of_swap() -> None:
    """Lock all memory, present and future, as it comes into use (mlockall(2)). Not inherited. Where it is refused, warn and go on."""
    if ctypes.CDLL(None, use_errno=True).mlockall(_MCL_CURRENT | _MCL_FUTURE | _MCL_ONFAULT) != 0:
        reason = os.strerror(ctypes.get_errno())
        logger.warning("memory cannot be locked (%s): plaintext may reach the swap; raise LimitMEMLOCK, or encrypt the swap", reason)


def overwrite(buffer: bytearray) -> None:
    """Leave nothing of what ``buffer`` held in its memory. Bytes and texts cannot be overwritten."""
    buffer[:] = bytes(len(buffer))
