"""`muxtcp call` and `muxtcp serve`, with files, pipes and lines."""

import asyncio
import hashlib
import os
import random
import signal
import subprocess
from pathlib import Path

import pytest
from support.commands import BOUND, command

from muxtcp.cli import main
from muxtcp.cli.files import Tally, lines, pieces, size_of, write
from muxtcp.cli.usage import Failure

HERE = "127.0.0.1:0"
BULK = random.Random(11).randbytes(2_000_000)


def test_a_file_arrives_and_both_sides_tell_its_checksum(tmp_path: Path) -> None:
    source, copy = tmp_path / "source", tmp_path / "copy"
    source.write_bytes(BULK)
    with command("serve", HERE, "upload", "-o", str(copy), "--checksum") as server:
        url = server.until(r"serving on (\S+)")
        with command("call", url, "other", "--meta", "a=b") as wrong:
            assert wrong.end() == 1
            assert "NOT_FOUND (0x10): no service 'other'" in wrong.said
        with command("call", url, "upload", "-i", str(source), "--checksum") as call:
            assert (call.end(), server.end()) == (0, 0)
    assert copy.read_bytes() == BULK
    digest = hashlib.sha256(BULK).hexdigest()
    assert f"sent 2,000,000 bytes in 31 messages, sha256 {digest}\n" in call.said
    assert f"received 2,000,000 bytes in 31 messages, sha256 {digest}\n" in server.said


def test_lines_through_pipes_and_back_until_a_signal(tmp_path: Path) -> None:
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with command("serve", f"unix://{tmp_path}/echo.sock", "--echo") as server:
        with command("call", server.until(r"serving on (\S+)"), "any", "--lines", **pipes) as call:
            assert call.process.stdin is not None
            assert call.process.stdout is not None
            for text in "one", "", "three":
                print(text, file=call.process.stdin, flush=True)
                assert call.process.stdout.readline() == f"{text}\n"
            out, _ = call.process.communicate("no newline", timeout=BOUND)
            assert (out, call.process.returncode) == ("no newline\n", 0)
        assert server.end(signal.SIGTERM) == 0


def test_bad_usage_is_one_line(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    for arguments, code, what in [
        (["call", "host:1", "x", "--meta", "a"], 2, "'a' is not KEY=VALUE"),
        (["call", "host:1", "x", "-i", "/none"], 2, "cannot read /none: No such file or directory"),
        (["call", "host:1", "x", "-o", "/none/x"], 2, "cannot write /none/x: No such file or directory"),
        (["serve", HERE, "--echo", "-o", "x"], 2, "--echo sends back what comes"),
        (["serve", "0.0.0.0:0"], 2, "others can reach tcp://0.0.0.0:0"),
        (["call", f"unix://{tmp_path}/none", "x"], 5, "No such file or directory"),
    ]:
        with pytest.raises(SystemExit) as ended:
            raise SystemExit(main(arguments))
        said = capsys.readouterr().err
        assert (ended.value.code, said.count("\n"), what in said) == (code, 1, True), said


async def test_what_a_pipe_has_is_cut_into_lines() -> None:
    reading, writing = os.pipe()

    async def read() -> list[bytes]:
        return [line async for line in lines(reading)]

    task = asyncio.create_task(read())
    try:
        for piece in b"one\ntw", b"o\n\nthr", b"ee":
            await asyncio.sleep(0)
            os.write(writing, piece)
    finally:
        os.close(writing)
    assert await task == [b"one", b"two", b"", b"three"]
    os.close(reading)


async def test_a_regular_file_has_pieces_and_a_size(tmp_path: Path) -> None:
    path = str(tmp_path / "file")
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT)
    try:
        await write(descriptor, BULK)
        os.lseek(descriptor, 0, os.SEEK_SET)
        assert size_of(descriptor) == len(BULK)
        assert b"".join([piece async for piece in pieces(descriptor)]) == BULK
    finally:
        os.close(descriptor)


async def test_a_reader_that_has_left_is_told() -> None:
    reading, writing = os.pipe()
    os.close(reading)
    with pytest.raises(Failure, match="cannot write what was received: Broken pipe"):
        await write(writing, b"x")
    os.close(writing)


def test_a_tally_counts() -> None:
    tally = Tally()
    for piece in b"ab", b"c":
        tally.add(piece)
    assert str(tally) == f"3 bytes in 2 messages, sha256 {hashlib.sha256(b'abc').hexdigest()}"
