"""What a program holds beside its own objects, to be counted before and after."""

import gc
from pathlib import Path

DESCRIPTORS = Path("/proc/self/fd")


def resident() -> int:
    """Bytes of anonymous memory that the process has in RAM."""
    status = Path("/proc/self/status").read_text()
    return int(status.split("RssAnon:")[1].split()[0]) * 1_024


def descriptors() -> int:
    return len(list(DESCRIPTORS.iterdir()))


def sockets() -> int:
    """Loops have descriptors of other kinds that come with the first use of something, and stay."""
    return sum(descriptor.is_socket() for descriptor in DESCRIPTORS.iterdir())


def timers() -> list[str]:
    """The timers of any loop that will still fire, as text: they are not kept alive by being looked at."""
    handles = [item for item in gc.get_objects() if type(item).__name__ == "TimerHandle"]
    return [repr(handle) for handle in handles if not handle.cancelled()]
