"""A package of its own cimports Channel and ChannelListener from the installed wheel, and gets each message."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
BOUND = 300  # seconds for one build, on a machine with other things to do

SETUP = """
from Cython.Build import cythonize
from setuptools import Extension, setup

setup(name="adder", ext_modules=cythonize([Extension("adder", ["adder.pyx"])], language_level=3))
"""
ADDER = """
from muxtcp._channel cimport Channel, ChannelListener

cdef class Adder(ChannelListener):
    cdef readonly long messages
    cdef readonly long total
    cdef readonly object ended

    cdef int message(self, Channel channel, const char *data, Py_ssize_t size) except -1:
        cdef Py_ssize_t index
        self.messages += 1
        for index in range(size):
            self.total += <unsigned char>data[index]
        return 0

    cpdef on_eof(self, Channel channel):
        channel.send_nowait(b"%d" % self.total)
        self.ended = channel.name
"""
PROGRAM = """
import adder
import muxtcp

adders = []


def handler(channel):
    adders.append(adder.Adder())
    channel.listen(adders[0])


async def main():
    async with muxtcp.serve(handler, "127.0.0.1", 0) as server, muxtcp.connect(server.addresses[0]) as session:
        async with session.open("sum") as channel:
            await channel.send_many([bytes([1, 2, 3])] * 1_000)
            await channel.send_eof()
            print(muxtcp.__file__)
            print(await channel.recv(), adders[0].messages, adders[0].ended)


muxtcp.run(main())
"""


def run(*command: str | Path, cwd: Path, path: Path) -> str:
    """What a program prints; it finds what is installed in `path` first, and nothing of the repository."""
    done = subprocess.run(
        [sys.executable, *command],
        cwd=cwd,
        env={"PATH": "/usr/bin:/bin", "PYTHONPATH": str(path)},
        capture_output=True,
        text=True,
        timeout=BOUND,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.slow
def test_a_package_cimports_from_the_installed_wheel(tmp_path: Path) -> None:
    source, wheels, site, package = (tmp_path / name for name in ("source", "wheels", "site", "package"))
    package.mkdir()
    offline = "--quiet", "--no-index", "--no-deps", "--no-build-isolation", "--disable-pip-version-check"
    # A copy with the C files and objects of earlier builds, which are right or redone, but without a stale build/lib.
    shutil.copytree(ROOT, source, ignore=shutil.ignore_patterns(".*", "lib.*", "*.so", "*.egg-info"))
    run("-m", "pip", "wheel", *offline, "--wheel-dir", wheels, source, cwd=tmp_path, path=site)
    [wheel] = wheels.glob("muxtcp-*.whl")
    run("-m", "pip", "install", *offline, "--target", site, wheel, cwd=tmp_path, path=site)

    for declaration in (ROOT / "ext" / "muxtcp").glob("_*.pxd"):
        assert (site / "muxtcp" / declaration.name).read_bytes() == declaration.read_bytes()

    for name, content in {"setup.py": SETUP, "adder.pyx": ADDER, "program.py": PROGRAM}.items():
        (package / name).write_text(content)
    run("setup.py", "--quiet", "build_ext", "--inplace", cwd=package, path=site)
    imported, printed = run("program.py", cwd=package, path=site).splitlines()
    assert Path(imported).is_relative_to(site)
    assert printed == "b'6000' 1000 sum"
