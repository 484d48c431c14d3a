"""docs/forwarder.md does not lie: commands are understood, listings run as printed, numbers are the code's."""

import re
import shlex
import shutil
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from muxtcp.cli import main as command
from muxtcp.cli import usage
from muxtcp.cli.main import parser

PAGE = (Path(__file__).parents[2] / "docs" / "forwarder.md").read_text()
COMMANDS = re.findall(
    r"^(?:ExecStart=\S*/|[A-Z_]+=\S+ )?(muxtcp (?:forward|gateway|call|serve) [^&\n]*)", PAGE, re.MULTILINE
)


def test_there_are_commands_to_check() -> None:
    assert len(COMMANDS) > 12


@pytest.mark.parametrize("line", COMMANDS)
def test_a_command_is_understood(line: str) -> None:
    assert parser().parse_args(shlex.split(line)[1:]).command


def test_the_exit_codes_are_those_of_the_command() -> None:
    told = {
        "a port in use": usage.CANNOT_LISTEN,
        "a token or certificate is refused": usage.REFUSED,
        "the gateway's host is unknown": usage.NO_LINK,
        "a malformed argument": usage.USAGE,
    }
    for what, code in told.items():
        assert re.search(rf"\| {what}.*exit code {code} \|", PAGE), what


def test_the_defaults_are_those_of_the_command() -> None:
    options = parser().parse_args(["forward", "gw:1", "--resume"])
    assert f"`--max-connections` ({options.max_connections:,})" in PAGE
    assert f"`--drain-timeout` ({options.drain_timeout:g} s)" in PAGE
    assert f"longer than `SECONDS` ({options.resume:g})" in PAGE


def listing(language: str) -> tuple[str, str]:
    """The one listing of this language that says what it prints, and that."""
    [found] = re.findall(rf"```{language}\n([^`]*?)```\n+It prints:\n+```text\n(.*?)```", PAGE, re.DOTALL)
    return found


def test_the_program_runs_as_printed(tmp_path: Path) -> None:
    code, expected = listing("python")
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.stdout, done.stderr) == (expected, "")


@pytest.mark.skipif(shutil.which("curl") is None, reason="not installed: curl (package curl)")
def test_the_trial_runs_as_printed(tmp_path: Path) -> None:
    script, expected = listing("bash")
    for port in "8000", "7700", "8080":  # which may be taken here
        with socket.socket() as sock:
            sock.bind(("127.0.0.1", 0))
            script = re.sub(rf"(?<=[: ]){port}\b", str(sock.getsockname()[1]), script)
    names = f'python() {{ exec "{sys.executable}" "$@"; }}\nmuxtcp() {{ python -m muxtcp "$@"; }}\n'
    done = subprocess.run(
        ["bash", "-mc", names + script], cwd=tmp_path, stdout=subprocess.PIPE, text=True, timeout=60, check=False
    )
    assert done.stdout == expected


def test_the_command_of_a_package_is_this_one() -> None:
    project = (Path(__file__).parents[2] / "pyproject.toml").read_text()
    assert f'muxtcp = "{command.__module__.removesuffix(".main")}:main"' in project
