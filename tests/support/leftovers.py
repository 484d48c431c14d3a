"""What a program holds beside its own objects, to be counted before and after."""

import ctypes
import gc
import sys
from pathlib import Path

DESCRIPTORS = Path("/proc/self/fd")


class MallInfo(ctypes.Structure):
    """`struct mallinfo2` of glibc: mallinfo(3)."""

    _fields_ = [
        (name, ctypes.c_size_t)
        for name in [
            "arena",
            "ordblks",
            "smblks",
            "hblks",
            "hblkhd",
            "usmblks",
            "fsmblks",
            "uordblks",
            "fordblks",
            "keepcost",
        ]
    ]


libc = ctypes.CDLL(None)
sanitized = getattr(libc, "__sanitizer_get_current_allocated_bytes", None)  # it has an allocator of its own
if sanitized is not None:
    sanitized.restype = ctypes.c_size_t
else:
    libc.mallinfo2.restype = MallInfo


def objects() -> int:
    """Blocks that the interpreter has given away, exactly; the memory of the process grows by whole arenas."""
    return sys.getallocatedblocks()


def allocated() -> int:
    """Bytes that malloc() has given away: what C code holds, and each Python object of more than 512 bytes."""
    if sanitized is not None:
        return int(sanitized())
    info = libc.mallinfo2()
    return int(info.uordblks + info.hblkhd)


def descriptors() -> int:
    return len(list(DESCRIPTORS.iterdir()))


def sockets() -> int:
    """Loops have descriptors of other kinds that come with the first use of something, and stay."""
    return sum(descriptor.is_socket() for descriptor in DESCRIPTORS.iterdir())


def timers() -> list[str]:
    """The timers of any loop that will still fire, as text: they are not kept alive by being looked at."""
    handles = [item for item in gc.get_objects() if type(item).__name__ == "TimerHandle"]
    return [repr(handle) for handle in handles if not handle.cancelled()]
