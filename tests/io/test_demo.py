"""The demo: what it shows is computed without a terminal, and the command keeps its promises with real processes."""

import asyncio
import contextlib
import io
import json
import random
import signal
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from itertools import islice
from pathlib import Path

import pytest

import muxtcp
from muxtcp.demo import server
from muxtcp.demo.__main__ import main
from muxtcp.demo.board import POINTS, RATE_TICKS, TICK, Board
from muxtcp.demo.client import follow
from muxtcp.demo.feeds import FEEDS, HEARTBEAT, Sample, bursts, by_chance, decode, encode, steady, swelling
from muxtcp.demo.process import ServerFailed, ServerProcess
from muxtcp.demo.views import Lines, amount, milliseconds, report, sparkline, status

COMMAND = [sys.executable, "-m", "muxtcp.demo"]


def connected_board(*names: str) -> Board:
    board = Board(names)
    board.on_state("connected", muxtcp.StateInfo(1))
    return board


def sample(number: int, sent_at: float = 0.0, reading: float = 50.0) -> Sample:
    return Sample(number, sent_at, reading)


# --- feeds ------------------------------------------------------------------------------------------------------------


def test_nine_feeds_of_different_rhythms_and_sizes() -> None:
    assert len(FEEDS) == 9
    assert len({feed.size for feed in FEEDS.values()}) == 9
    assert FEEDS[HEARTBEAT].priority is muxtcp.Priority.URGENT


@pytest.mark.parametrize(
    ("rhythm", "rate"), [(steady(4), 4), (by_chance(5), 5), (bursts(10, 2.0), 5), (swelling(5, 5, 3.0), 5)]
)
def test_rhythms_keep_their_rate(rhythm: Callable[[random.Random], AsyncIterator[float]], rate: float) -> None:
    delays = list(islice(rhythm(random.Random(1)), 2_000))
    assert min(delays) >= 0
    assert 2_000 / sum(delays) == pytest.approx(rate, rel=0.05)


def test_a_swelling_rate_stays_between_its_bounds() -> None:
    rates = [1 / delay for delay in islice(swelling(2, 60, 8.0)(random.Random(1)), 500)]
    assert min(rates) == pytest.approx(2, rel=0.1)
    assert max(rates) == pytest.approx(60, rel=0.1)


def test_samples_survive_the_wire_at_their_size() -> None:
    message = encode(Sample(7, 1.5, -2.25), 100)
    assert len(message) == 100
    assert decode(message) == Sample(7, 1.5, -2.25)
    with pytest.raises(ValueError, match="needs 24 bytes, the message has 23"):
        decode(message[:23])


# --- the board --------------------------------------------------------------------------------------------------------


def test_a_resumed_session_goes_on_counting() -> None:
    board = connected_board("a")
    board.add("a", sample(0), 10, now=0.0)
    board.on_state("reconnecting", muxtcp.StateInfo(1, cause=OSError("cut")))
    assert (board.state, board.detail) == ("reconnecting", "cut")
    board.on_state("resumed", muxtcp.StateInfo(1, gap=0.125, replayed=3))
    assert (board.state, board.detail) == ("connected", "")
    board.add("a", sample(2), 10, now=0.0)
    summary = board.summary()
    assert (summary["sessions"], summary["resumptions"], summary["longest_gap_ms"], summary["gaps"]) == (1, 1, 125.0, 1)


def test_messages_are_counted_by_session() -> None:
    board = connected_board("a", "b")
    board.add("a", sample(0), 10, now=0.0)
    board.add("a", sample(1), 20, now=0.0)
    board.on_state("disconnected", muxtcp.StateInfo(0, cause=OSError("gone")))
    board.on_state("connected", muxtcp.StateInfo(2))
    board.add("a", sample(0), 30, now=0.0)
    board.tick(12.34)
    assert board.summary() == {
        "seconds": 12.3,
        "sessions": 2,
        "reconnects": 1,
        "resumptions": 0,
        "longest_gap_ms": 0.0,
        "gaps": 0,
        "doubled": 0,
        "heartbeat_ms": None,
        "streams": {
            "a": {"messages": 3, "bytes": 60, "after_reconnect": [1]},
            "b": {"messages": 0, "bytes": 0, "after_reconnect": [0]},
        },
    }


@pytest.mark.parametrize(
    ("numbers", "gaps", "doubled"),
    [([0, 1, 2], 0, 0), ([1], 1, 0), ([0, 5], 4, 0), ([0, 0], 0, 1), ([0, 1, 0, 1, 2], 0, 2), ([2, 1, 3], 2, 1)],
)
def test_lost_and_doubled_messages_are_found(numbers: list[int], gaps: int, doubled: int) -> None:
    board = connected_board("a")
    for number in numbers:
        board.add("a", sample(number), 10, now=0.0)
    assert (board.gaps, board.doubled) == (gaps, doubled)


def test_the_heartbeats_median_age_is_the_latency() -> None:
    board = connected_board(HEARTBEAT, "other")
    assert board.latency is None
    for age in (0.001, 0.009, 0.002):
        board.add(HEARTBEAT, sample(0, sent_at=100.0), 24, now=100.0 + age)
    board.add("other", sample(0, sent_at=0.0), 24, now=100.0)
    assert board.latency == pytest.approx(0.002)


def test_rates_are_those_of_the_last_ticks() -> None:
    board = connected_board("a")
    for number in range(8):
        board.add("a", sample(number), 100, now=0.0)
    board.tick(TICK)
    seconds = RATE_TICKS * TICK
    assert board.rates == (8 / seconds, 800 / seconds)
    assert board.rows["a"].history == [0] * (POINTS - 1) + [8]
    for _ in range(RATE_TICKS):
        board.tick(TICK)
    assert board.rates == (0, 0)


def test_the_state_says_what_the_connector_does() -> None:
    board = Board(["a"])
    said = []
    for state, info in [
        ("connecting", muxtcp.StateInfo(1)),
        ("waiting", muxtcp.StateInfo(1, delay=0.25, cause=OSError("refused"))),
        ("connected", muxtcp.StateInfo(2)),
        ("disconnected", muxtcp.StateInfo(0, cause=OSError("gone"))),
    ]:
        board.on_state(state, info)
        said.append((board.state, board.detail))
    assert said == [
        ("connecting", ""),
        ("connecting", "attempt 2 in 0.2 s: refused"),
        ("connected", ""),
        ("reconnecting", "gone"),
    ]


# --- what it looks like -----------------------------------------------------------------------------------------------


def test_sparklines_scale_to_their_top() -> None:
    assert sparkline([0, 1, 4, 8]) == " ▁▄█"
    assert sparkline([0, 1, 1_000]) == " ▁█"
    assert sparkline([0, 0]) == "  "
    assert sparkline([]) == ""


@pytest.mark.parametrize(
    ("size", "text"), [(0, "0 B"), (999, "999 B"), (1_300, "1.3 kB"), (2_500_000, "2.5 MB"), (7e9, "7.0 GB")]
)
def test_amounts_have_the_unit_that_suits(size: float, text: str) -> None:
    assert amount(size) == text


def test_milliseconds_are_a_dash_when_unknown() -> None:
    assert (milliseconds(None), milliseconds(0.00123)) == ("-", "1.2 ms")


def test_lines_come_every_second_and_at_each_change() -> None:
    out = io.StringIO()
    board = Board(["a"])
    with Lines(out) as display:
        for state, seconds in [("", 0.0), ("", 0.5), ("connected", 0.75), ("", 0.9), ("", 1.0), ("disconnected", 1.2)]:
            if state:
                board.on_state(state, muxtcp.StateInfo(1, cause=OSError("gone")))
            board.tick(seconds)
            display.show(board)
    assert [line.split("  ")[1:3] for line in out.getvalue().splitlines()] == [
        [" 0.0 s", "connecting"],
        [" 0.8 s", "connected"],
        [" 1.0 s", "connected"],
        [" 1.2 s", "reconnecting: gone"],
    ]


def test_status_and_report_name_the_numbers() -> None:
    board = connected_board("a", HEARTBEAT)
    board.add(HEARTBEAT, sample(0, sent_at=1.0), 1_000, now=1.002)
    board.add("a", sample(3), 1_000, now=0.0)
    board.tick(1.0)
    assert status(board) == (
        "   1.0 s  connected  2 channels  1 msg/s  1.0 kB/s  heartbeat 2.0 ms  reconnects 0  resumptions 0  "
        "gaps 3  doubled 0"
    )
    assert "1.0 s, 1 session: reconnects 0  resumptions 0  gaps 3  doubled 0" in report(board)
    assert "  a                       1 messages     1.0 kB   by session: 1" in report(board)


def test_the_picture_shows_every_channel_and_the_state() -> None:
    rich_console = pytest.importorskip("rich.console", reason="the live display needs rich")
    from muxtcp.demo.live import LiveDisplay, picture

    board = Board(FEEDS)
    board.on_state("connected", muxtcp.StateInfo(1))
    for name in FEEDS:
        board.add(name, sample(0, reading=12.345), 1_000, now=0.0)
    board.tick(3.0)
    console = rich_console.Console(file=io.StringIO(), width=120, record=True)
    console.print(picture(board))
    text = console.export_text()
    assert "3.0 s  connected" in text
    assert all(name in text for name in FEEDS)
    assert text.count("12.35") == text.count("█") == 9

    out = io.StringIO()
    with LiveDisplay(out) as display:
        display.show(board)
    assert "connected" in out.getvalue()


# --- with a server ----------------------------------------------------------------------------------------------------


class WatchedBoard(Board):
    """A board that can be waited for."""

    def __init__(self) -> None:
        super().__init__(FEEDS)
        self.changed = asyncio.Event()

    def add(self, name: str, sample: Sample, size: int, now: float) -> None:
        super().add(name, sample, size, now)
        self.changed.set()

    async def until_all_spoke(self, session: int) -> None:
        """Wait until each channel of the session with this number, from 0, has brought a message."""
        while not all(len(row.per_session) > session and row.per_session[session] for row in self.rows.values()):
            self.changed.clear()
            await self.changed.wait()

    async def until_all_spoke_again(self) -> None:
        """Wait until each channel has brought another message."""
        before = {name: row.messages for name, row in self.rows.items()}
        while any(row.messages == before[name] for name, row in self.rows.items()):
            self.changed.clear()
            await self.changed.wait()


@contextlib.asynccontextmanager
async def following(board: Board, host: str, port: int, **options: float) -> AsyncIterator[None]:
    task = asyncio.create_task(follow(board, host, port, **options))
    yield
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task


async def test_all_channels_go_on_after_each_kill() -> None:
    board = WatchedBoard()
    async with ServerProcess("127.0.0.1", 0) as process, following(board, "127.0.0.1", process.port):
        await board.until_all_spoke(session=0)
        port = process.port
        for session in (1, 2):
            await process.kill()
            await process.start()
            assert process.port == port
            await board.until_all_spoke(session=session)
    assert board.reconnects == 2
    assert (board.gaps, board.doubled) == (0, 0)


async def test_all_channels_go_on_through_cut_connections_without_a_gap() -> None:
    board = WatchedBoard()
    async with (
        muxtcp.serve(server.handler, "127.0.0.1", 0) as running,
        following(board, "127.0.0.1", running.sockets[0].getsockname()[1], break_every=0.02),
    ):
        while board.resumptions < 10:
            await board.until_all_spoke_again()
    assert (board.sessions, board.gaps, board.doubled) == (1, 0, 0)
    assert board.longest_gap > 0


async def test_the_handler_serves_nothing_but_feeds() -> None:
    async with muxtcp.serve(server.handler, "127.0.0.1", 0) as running, muxtcp.connect(running.addresses[0]) as session:
        channel = await session.open("no-such-feed", mode="r")
        with pytest.raises(muxtcp.ChannelRefused, match="no feed 'no-such-feed', only heartbeat") as refused:
            await channel.recv()
    assert refused.value.code == muxtcp.Code.NOT_FOUND


async def test_a_server_that_cannot_listen_is_an_error(capfd: pytest.CaptureFixture[str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        process = ServerProcess("127.0.0.1", taken.getsockname()[1])
        with pytest.raises(ServerFailed, match="exit code 1"):
            await process.start()
    assert capfd.readouterr().err.count("\n") == 1


# --- the command ------------------------------------------------------------------------------------------------------


def children(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def alive(pid: int) -> bool:
    return Path(f"/proc/{pid}").exists()


def test_seconds_and_json_give_one_line() -> None:
    result = subprocess.run([*COMMAND, "--seconds", "1", "--json"], capture_output=True, text=True, timeout=60)
    assert result.returncode == 0, result.stderr
    summary = json.loads(result.stdout)
    assert result.stdout.count("\n") == 1
    assert set(summary["streams"]) == set(FEEDS)
    assert all(channel["messages"] for channel in summary["streams"].values())
    assert (summary["reconnects"], summary["gaps"], summary["doubled"]) == (0, 0, 0)
    assert "connected  9 channels" in result.stderr


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_it_cleanly(number: signal.Signals) -> None:
    command = [*COMMAND, "--kill-every", "60"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        while "connected" not in process.stdout.readline():
            pass
        servers = children(process.pid)
        process.send_signal(number)
        out, err = process.communicate(timeout=30)
    assert (process.returncode, err) == (0, "")
    assert "session: reconnects 0  resumptions 0  gaps 0  doubled 0" in out
    assert len(servers) == 1
    assert not alive(servers[0])


def test_client_and_server_run_apart() -> None:
    with subprocess.Popen([*COMMAND, "server", "--port", "0"], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        port = process.stdout.readline().strip().rpartition(":")[2]
        client = subprocess.run(
            [*COMMAND, "client", "--port", port, "--seconds", "1"], capture_output=True, text=True, timeout=60
        )
        process.send_signal(signal.SIGINT)
        assert process.wait(timeout=30) == 0
    assert (client.returncode, client.stderr) == (0, "")
    assert "1 session: reconnects 0" in client.stdout


def test_a_server_without_its_parent_ends() -> None:
    command = [*COMMAND, "server", "--port", "0", "--until-stdin-ends"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdout.readline()
        process.stdin.close()
        assert process.wait(timeout=30) == 1


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["client", "--host", "nowhere.invalid"], "'nowhere.invalid'"),
        (["server", "--port", "{taken}"], "cannot listen on 127.0.0.1:{taken}"),
        (["--port", "{taken}"], "cannot listen on 127.0.0.1:{taken}"),
    ],
)
def test_an_unusable_address_is_one_line_and_exit_code_1(arguments: list[str], complaint: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        taken = listener.getsockname()[1]
        command = [*COMMAND, *(argument.format(taken=taken) for argument in arguments)]
        result = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert result.returncode == 1
    assert result.stderr.startswith("muxtcp.demo: ")
    assert complaint.format(taken=taken) in result.stderr
    assert result.stderr.count("\n") == 1


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["--seconds", "0"], "'0' is not a number of seconds above 0"),
        (["--seconds", "soon"], "'soon' is not a number of seconds above 0"),
        (["--port", "65536"], "'65536' is not a port from 0 to 65535"),
        (["client", "--port", "0"], "not 0"),
        (["client", "--kill-every", "5"], "a client alone has no server to kill"),
        (["server", "--json"], "a server alone has none"),
        (["server", "--break-every", "3"], "a server alone cuts nothing"),
        (["client", "--web"], "--web is the server's"),
        (["--web", "--kill-every", "3"], "its page has a button that kills it"),
        (["--web", "--web-port", "x"], "'x' is not a port from 0 to 65535"),
        (["peer"], "invalid choice: 'peer'"),
    ],
)
def test_bad_usage_is_exit_code_2(arguments: list[str], complaint: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as exit_:
        main(arguments)
    assert exit_.value.code == 2
    assert complaint in capsys.readouterr().err


def test_help_has_examples(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as exit_:
        main(["--help"])
    assert exit_.value.code == 0
    assert "python -m muxtcp.demo --kill-every 5" in capsys.readouterr().out
