"""What a transport does, as plays for two protocols. Each returns what was seen, which is the same on both stages."""

import hashlib
from collections.abc import Awaitable, Callable
from typing import Any

from adapters.stage import BufferedRecorder, Notes, Recorder, Stage
from support.basics import until

Case = Callable[[Stage], Awaitable[Any]]
CASES: dict[str, Case] = {}

SOME = bytes(range(256)) * 400  # 100 KiB: less than a window, and than what the kernels take
MANY = bytes(range(256)) * 4_096  # 1 MiB
TOO_MANY = bytes(16 << 20)  # more than any window, and than what the kernels take


def case(play: Case) -> Case:
    CASES[play.__name__] = play
    return play


def outcome(call: Callable[..., Any], *args: Any) -> Any:
    """What it returns, or the kind of exception that it raises."""
    try:
        return call(*args)
    except Exception as error:
        return type(error).__name__


def both(stage: Stage) -> tuple[Any, Any]:
    return stage.client.calls, stage.server.calls


async def ended(stage: Stage) -> tuple[Any, Any]:
    """Both sides' calls, when both have had their last."""
    await until(lambda: stage.client.lost and stage.server.lost)
    await stage.settle()
    return both(stage)


# Beginning


@case
async def connection_made_comes_first_and_once(stage: Stage) -> Any:
    await stage.join(Recorder(), Recorder())
    await stage.settle()
    return both(stage)


@case
async def facts_of_an_open_transport(stage: Stage) -> Any:
    await stage.join(Recorder(), Recorder())
    return [
        (
            side.transport.is_closing(),
            side.transport.is_reading(),
            side.transport.can_write_eof(),
            side.transport.get_write_buffer_size(),
            side.transport.get_protocol() is side,
        )
        for side in (stage.client, stage.server)
    ]


@case
async def extra_info_has_addresses_and_a_default(stage: Stage) -> Any:
    await stage.join(Recorder(), Recorder())
    info = stage.client.transport.get_extra_info
    absent = [info(key) for key in ("sslcontext", "ssl_object", "peercert", "cipher", "no such key")]
    return absent, info("no such key", "a default")


@case
async def extra_info_socket(stage: Stage) -> Any:
    await stage.join(Recorder(), Recorder())
    return stage.client.transport.get_extra_info("socket") is not None


@case
async def a_connection_to_where_nobody_is(stage: Stage) -> Any:
    client = Recorder()
    raised = None
    try:
        await stage.refused(client)
        await until(lambda: client.lost)
    except OSError as error:
        raised = type(error).__name__
    return raised, client.calls


@case
async def what_is_written_in_connection_made_arrives(stage: Stage) -> Any:
    await stage.join(
        Recorder(made=lambda side: side.transport.write(b"hello")),
        Recorder(made=lambda side: side.transport.write(b"welcome")),
    )
    await until(lambda: stage.client.data == b"welcome" and stage.server.data == b"hello")
    return both(stage)


@case
async def a_server_that_closes_at_once(stage: Stage) -> Any:
    await stage.join(Recorder(), Recorder(made=lambda side: side.transport.close()))
    return await ended(stage)


@case
async def connection_made_raises(stage: Stage) -> Any:
    def fail(side: Notes) -> None:
        raise ZeroDivisionError

    with stage.seen():
        await stage.join(Recorder(), Recorder(made=fail))
        stage.client.transport.write(b"still there")
        await stage.settle()
    return both(stage), stage.unseen


# Data


@case
async def writes_arrive_whole_and_in_order(stage: Stage) -> Any:
    await stage.join(Recorder(), Recorder())
    write = stage.client.transport.write
    write(b"bytes,")
    write(bytearray(b"a bytearray,"))
    write(memoryview(b"a memoryview,"))
    write(memoryview(b"a cast one,!").cast("I"))
    write(b"")
    stage.client.transport.writelines([b"some", b" ", bytearray(b"lines"), memoryview(b"!")])
    await until(lambda: stage.server.data.endswith(b"lines!"))
    return both(stage)


@case
async def a_bytearray_may_be_changed_after_the_write(stage: Stage) -> Any:
    await stage.join(Recorder(), Recorder())
    data = bytearray(b"before")
    stage.client.transport.write(data)
    data[:] = b"after!"
    await until(lambda: stage.server.data)
    return both(stage)


@case
async def only_bytes_can_be_written(stage: Stage) -> Any:
    await stage.join(Recorder(), Recorder())
    write, writelines = stage.client.transport.write, stage.client.transport.writelines
    return outcome(write, "text"), outcome(write, 3), outcome(writelines, ["text"])


@case
async def a_large_write_arrives_whole(stage: Stage) -> Any:
    await stage.join(Recorder(), Recorder())
    stage.client.transport.write(MANY)
    stage.client.transport.write(b"end")
    await until(lambda: stage.server.received == len(MANY) + 3)
    return hashlib.sha256(stage.server.data).digest(), stage.server.names()


@case
async def answers_from_inside_data_received(stage: Stage) -> Any:
    await stage.join(Recorder(), Recorder(data=lambda side, data: side.transport.write(data.upper())))
    for word in (b"one", b"two", b"three"):
        stage.client.transport.write(word)
        await until(lambda word=word: stage.client.data.endswith(word.upper()))
    return both(stage)


@case
async def many_small_writes(stage: Stage) -> Any:
    await stage.join(Recorder(), Recorder())
    for n in range(5_000):
        stage.client.transport.write(b"%d," % n)
    await until(lambda: stage.server.data.endswith(b"4999,"))
    return hashlib.sha256(stage.server.data).digest(), stage.client.calls


@case
async def a_buffered_protocol_gets_the_same_bytes(stage: Stage) -> Any:
    await stage.join(Recorder(), BufferedRecorder(1_000))
    stage.client.transport.write(MANY)
    await until(lambda: stage.server.received == len(MANY))
    stage.client.transport.write_eof()
    await ended(stage)
    return hashlib.sha256(stage.server.data).digest(), stage.server.names()


@case
async def a_buffered_protocol_that_pauses_gets_no_more(stage: Stage) -> Any:
    await stage.join(Recorder(), BufferedRecorder(10, data=lambda side, data: side.transport.pause_reading()))
    stage.client.transport.write(b"0123456789" * 3)
    await until(lambda: stage.server.data)
    seen = []
    for _ in range(3):
        await stage.settle()
        seen.append(stage.server.data)
        stage.server.transport.resume_reading()
    await until(lambda: stage.server.received == 30)
    return seen


@case
async def a_buffered_protocol_without_room(stage: Stage) -> Any:
    with stage.seen():
        await stage.join(Recorder(), BufferedRecorder(0))
        stage.client.transport.write(b"?")
        await until(lambda: stage.unseen)
        await stage.settle()
    return stage.server.calls, set(stage.unseen)


@case
async def set_protocol_takes_the_data_that_follows(stage: Stage) -> Any:
    second, third = Recorder(), BufferedRecorder(100)
    await stage.join(Recorder(), Recorder(data=lambda side, data: side.transport.set_protocol(second)))
    stage.client.transport.write(b"for the first")
    await until(lambda: stage.server.data)
    stage.client.transport.write(b"for the second")
    await until(lambda: second.data)
    stage.server.transport.set_protocol(third)
    is_third = stage.server.transport.get_protocol() is third
    stage.client.transport.write(b"for the third")
    stage.client.transport.close()
    await until(lambda: third.lost)
    return stage.server.calls, second.calls, third.calls, is_third


@case
async def a_buffered_protocol_that_is_replaced_gets_no_more(stage: Stage) -> Any:
    second = Recorder()
    await stage.join(Recorder(), BufferedRecorder(4, data=lambda side, data: side.transport.set_protocol(second)))
    stage.client.transport.write(b"one and two")
    await until(lambda: second.received == 7)
    return stage.server.calls, second.calls


# Flow control: reading


@case
async def pause_reading_holds_data_and_end(stage: Stage) -> Any:
    await stage.join(Recorder(), Recorder())
    transport = stage.server.transport
    transport.pause_reading()
    paused = transport.is_reading()
    stage.client.transport.write(b"data")
    stage.client.transport.write_eof()
    await stage.settle()
    held = list(stage.server.calls)
    transport.resume_reading()
    resumed = transport.is_reading()
    await ended(stage)
    return paused, held, resumed, stage.server.calls


@case
async def nothing_comes_inside_resume_reading(stage: Stage) -> Any:
    await stage.join(Recorder(), Recorder())
    stage.server.transport.pause_reading()
    stage.client.transport.write(b"data")
    await stage.settle()
    stage.server.transport.resume_reading()
    at_once = list(stage.server.calls)
    await until(lambda: stage.server.data)
    return at_once


@case
async def pausing_and_resuming_twice(stage: Stage) -> Any:
    await stage.join(Recorder(), Recorder())
    transport = stage.server.transport
    answers = [outcome(call) for call in (transport.pause_reading, transport.pause_reading)]
    answers += [outcome(call) for call in (transport.resume_reading, transport.resume_reading)]
    stage.client.transport.write(b"data")
    await until(lambda: stage.server.data)
    return answers, stage.server.calls


@case
async def paused_again_before_it_could_resume(stage: Stage) -> Any:
    await stage.join(Recorder(), Recorder())
    stage.server.transport.pause_reading()
    stage.client.transport.write(b"data")
    await stage.settle()
    stage.server.transport.resume_reading()
    stage.server.transport.pause_reading()
    await stage.settle()
    held = list(stage.server.calls)
    stage.server.transport.resume_reading()
    await until(lambda: stage.server.data)
    return held, stage.server.calls


@case
async def paused_since_connection_made(stage: Stage) -> Any:
    await stage.join(Recorder(), Recorder(made=lambda side: side.transport.pause_reading()))
    stage.client.transport.write(b"data")
    await stage.settle()
    return stage.server.calls


@case
async def pausing_inside_data_received(stage: Stage) -> Any:
    await stage.join(Recorder(), Recorder(data=lambda side, data: side.transport.pause_reading()))
    stage.client.transport.write(b"first")
    await until(lambda: stage.server.data)
    stage.client.transport.write(b"second")
    await stage.settle()
    held = list(stage.server.calls)
    stage.server.transport.resume_reading()
    await until(lambda: stage.server.data.endswith(b"second"))
    return held, stage.server.transport.is_reading()


# Flow control: writing


@case
async def a_reader_that_pauses_pauses_the_writer(stage: Stage) -> Any:
    await stage.join(Recorder(), Recorder())
    stage.server.transport.pause_reading()
    stage.client.transport.write(TOO_MANY)
    paused = list(stage.client.calls), stage.client.transport.get_write_buffer_size() > 0
    await stage.settle()
    still = list(stage.client.calls), stage.server.data
    stage.server.transport.resume_reading()
    await until(lambda: stage.server.received == len(TOO_MANY))
    await until(lambda: not stage.client.transport.get_write_buffer_size())
    return paused, still, stage.client.calls, stage.server.names()


@case
async def each_pause_has_its_resume(stage: Stage) -> Any:
    await stage.join(Recorder(), Recorder())
    stage.server.transport.pause_reading()
    rounds = []
    for total in (len(TOO_MANY), 2 * len(TOO_MANY)):
        stage.client.transport.write(TOO_MANY)
        stage.client.transport.write(b"")
        rounds.append(stage.client.names())
        stage.server.transport.resume_reading()
        await until(lambda total=total: stage.server.received == total)
        await until(lambda: not stage.client.transport.get_write_buffer_size())
        stage.server.transport.pause_reading()
        await stage.settle()
    return rounds, stage.client.names()


@case
async def a_writer_resumes_at_the_low_water_mark(stage: Stage) -> Any:
    sizes = []
    await stage.join(Recorder(resume=lambda side: sizes.append(side.transport.get_write_buffer_size())), Recorder())
    stage.client.transport.set_write_buffer_limits(high=4 << 20, low=2 << 20)
    stage.client.transport.write(TOO_MANY)
    await until(lambda: stage.server.received == len(TOO_MANY))
    return stage.client.calls, [0 < size <= 2 << 20 for size in sizes]


@case
async def write_buffer_limits(stage: Stage) -> Any:
    await stage.join(Recorder(), Recorder())
    transport = stage.client.transport
    seen = []
    for limits in ({}, {"high": 100}, {"low": 50}, {"high": 0}, {"high": 100, "low": 100}):
        transport.set_write_buffer_limits(**limits)
        seen.append(transport.get_write_buffer_limits())
    seen.append(outcome(lambda: transport.set_write_buffer_limits(high=10, low=20)))
    seen.append(outcome(lambda: transport.set_write_buffer_limits(high=-1)))
    return seen


@case
async def a_high_water_mark_of_zero_pauses_nobody_who_is_read(stage: Stage) -> Any:
    await stage.join(Recorder(), Recorder())
    stage.client.transport.set_write_buffer_limits(high=0)
    for _ in range(10):
        stage.client.transport.write(b"data")
        await stage.settle()
    await until(lambda: stage.server.received == 40)
    return stage.client.calls


@case
async def pause_writing_raises(stage: Stage) -> Any:
    def fail(side: Notes) -> None:
        raise ZeroDivisionError

    with stage.seen():
        await stage.join(Recorder(pause=fail), Recorder())
        stage.client.transport.write(TOO_MANY)
        await until(lambda: stage.server.received == len(TOO_MANY))
        await until(lambda: "resume" in stage.client.names())
    return stage.client.calls, stage.unseen
