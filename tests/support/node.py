"""Whether Node is here, and new enough."""

import functools
import shutil
import subprocess

OLDEST = 20


@functools.cache
def missing_node() -> str | None:
    """Why tests in Node are left out, if they are."""
    if shutil.which("node") is None:
        return "there is no node"
    version = subprocess.run(["node", "--version"], capture_output=True, text=True, check=True).stdout.strip()
    if int(version.removeprefix("v").split(".")[0]) < OLDEST:
        return f"node is {version}, older than {OLDEST}"
    return None
