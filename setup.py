"""How the compiled rooms in ext/ become modules of the package; everything else is in pyproject.toml.

Build modes come from the environment, so that they also reach isolated builds. Each is off unless set to something
other than 0; they combine:

    MUXTCP_DEBUG=1      assertions in the compiled code, no optimisation, symbols
    MUXTCP_SANITIZE=1   AddressSanitizer and UndefinedBehaviorSanitizer; a finding ends the process
    MUXTCP_FUZZ=1       the same for a fuzzer that is guided by coverage; needs CC=clang
    MUXTCP_COVERAGE=1   line tracing, with each .c beside its .pyx, where coverage's Cython plugin looks for it
"""

import hashlib
import os
import sys
from pathlib import Path

import Cython
from Cython.Build import cythonize
from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext
from setuptools.command.build_py import build_py

ROOMS = Path("ext/muxtcp")
DECLARATIONS = sorted(map(str, [*ROOMS.glob("*.pxd"), *ROOMS.glob("*.h")]))


def enabled(mode: str) -> bool:
    """Whether the environment asks for a build mode."""
    return os.environ.get(f"MUXTCP_{mode}", "0") not in {"", "0"}


DEBUG, FUZZ, COVERAGE = enabled("DEBUG"), enabled("FUZZ"), enabled("COVERAGE")
SANITIZE = enabled("SANITIZE") or FUZZ

DIRECTIVES = {
    "language_level": 3,
    "boundscheck": False,
    "wraparound": False,
    "cdivision": True,
    "initializedcheck": False,
    "binding": True,
    "embedsignature": False,
    "auto_pickle": False,
    "linetrace": COVERAGE,
}
MACROS = [
    *([] if DEBUG else [("CYTHON_WITHOUT_ASSERTIONS", "1")]),
    *([("CYTHON_TRACE_NOGIL", "1")] if COVERAGE else []),
]
SANITIZERS = [
    *(["-fsanitize=address,undefined"] if SANITIZE else []),
    # What Cython writes adds 0 to NULL; gcc's sanitizer bears it, clang's does not.
    *(["-fsanitize=fuzzer-no-link", "-fno-sanitize=pointer-overflow"] if FUZZ else []),
]
COMPILE_ARGS = [
    "-O0" if DEBUG else "-O1" if SANITIZE else "-O3",
    *(["-g", "-fno-omit-frame-pointer"] if DEBUG or SANITIZE else []),
    *SANITIZERS,
    *(["-fno-sanitize-recover=all"] if SANITIZE else []),
]

# What decides the outcome of a build beside the sources. Timestamps do not show any of it, so each build leaves it
# behind as a stamp, and a build that finds another's stamp starts afresh.
FINGERPRINT = repr(
    (DIRECTIVES, MACROS, COMPILE_ARGS, sys.version, Cython.__version__, [os.environ.get(v) for v in ("CC", "CFLAGS")])
)
C_DIRECTORY = None if COVERAGE else f"build/cython-{hashlib.sha256(FINGERPRINT.encode()).hexdigest()[:12]}"


class BuildExt(build_ext):
    """Cython to C to modules, forced when anything but a source has changed."""

    def run(self) -> None:
        stamp = Path(self.build_temp, "muxtcp.stamp")
        if not stamp.exists() or stamp.read_text() != FINGERPRINT:
            self.force = True
            stamp.unlink(missing_ok=True)  # a build that fails half-way must not leave a stamp behind
        super().run()
        stamp.parent.mkdir(parents=True, exist_ok=True)
        stamp.write_text(FINGERPRINT)
        if not self.inplace:
            # `python -m muxtcp.bench` in the root of the repository finds ./muxtcp first: let it be whole.
            self.copy_extensions_to_source()

    def build_extension(self, ext: Extension) -> None:
        # Here and not in setup(): an sdist then lists the .pyx as the source, and builds nothing.
        [compiled] = cythonize(
            ext, build_dir=C_DIRECTORY, compiler_directives=DIRECTIVES, force=COVERAGE and self.force
        )
        ext.sources = compiled.sources
        super().build_extension(ext)


class BuildPy(build_py):
    """The package, with the declarations that others cimport beside its modules."""

    def run(self) -> None:
        super().run()
        if not self.editable_mode:
            for declaration in DECLARATIONS:
                self.copy_file(declaration, str(Path(self.build_lib, "muxtcp", Path(declaration).name)))


setup(
    ext_modules=[
        Extension(
            f"muxtcp.{source.stem}",
            [str(source)],
            # So that an edit of any declaration recompiles, and an sdist is whole without a manifest.
            depends=[str(source), *DECLARATIONS],
            define_macros=MACROS,
            extra_compile_args=COMPILE_ARGS,
            extra_link_args=SANITIZERS,
        )
        for source in sorted(ROOMS.glob("*.pyx"))
    ],
    cmdclass={"build_ext": BuildExt, "build_py": BuildPy},
)
