"""No core dump of a process that has keys: neither a limit on the file nor a handler of the kernel's lets its memory out.

The limit is kept by what the process starts; that Linux dumps nothing of it, not even for a handler like systemd-coredump, each
program must ask for by itself. It also keeps debuggers of the same user away. Root still reads the memory.
"""

from __future__ import annotations

import ctypes
import resource
import sys

from keys.errors import KeysError

_SET_DUMPABLE = 4  # PR_SET_DUMPABLE of linux/prctl.h: prctl(2)


def switch_off() -> None:
    """For the whole process, for good. Raises KeysError where Linux refuses, which it has no reason to."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    if sys.platform == "linux" and ctypes.CDLL(None).prctl(_SET_DUMPABLE, 0, 0, 0, 0) != 0:
        raise KeysError("core dumps of this process cannot be switched off")
