"""More plays for two protocols: how a direction, a transport and what is under it end, and what fails."""

import asyncio
from pathlib import Path
from typing import Any

from adapters.cases import SOME, TOO_MANY, both, case, ended, outcome
from adapters.stage import BufferedRecorder, Notes, Recorder, Stage
from support.basics import until


def fail(side: Notes, *what: Any) -> None:
    raise ZeroDivisionError


def fail_as_the_system_does(side: Notes, *what: Any) -> None:
    raise BrokenPipeError


# One direction


@case
async def write_eof_then_read(stage: Stage) -> Any:
    def answer(side: Notes) -> bool:
        side.transport.write(b"the answer to " + side.data)
        return False  # so that it is closed, behind what was written

    await stage.join(Recorder(), Recorder(eof=answer))
    stage.client.transport.write(b"a question")
    stage.client.transport.write_eof()
    return await ended(stage)


@case
async def eof_received_answers_true_and_stays_open(stage: Stage) -> Any:
    await stage.join(Recorder(), Recorder(eof=lambda side: True))
    stage.client.transport.write_eof()
    await until(lambda: "eof" in stage.server.names())
    await stage.settle()
    open_still = not stage.server.transport.is_closing()
    stage.server.transport.write(SOME)
    await until(lambda: stage.client.data == SOME)
    stage.server.transport.write(b"the end")
    stage.server.transport.close()
    await ended(stage)
    return open_still, stage.client.names(), stage.client.data[-7:], stage.server.calls


@case
async def both_directions_ended_stay_open_until_close(stage: Stage) -> Any:
    await stage.join(Recorder(eof=lambda side: True), Recorder(eof=lambda side: True))
    stage.client.transport.write_eof()
    stage.server.transport.write_eof()
    await until(lambda: "eof" in stage.client.names() and "eof" in stage.server.names())
    await stage.settle()
    open_still = not stage.client.transport.is_closing(), not stage.server.transport.is_closing()
    stage.client.transport.close()
    stage.server.transport.close()
    return open_still, await ended(stage)


@case
async def the_end_is_told_once(stage: Stage) -> Any:
    await stage.join(Recorder(), Recorder(eof=lambda side: True))
    stage.client.transport.write_eof()
    await until(lambda: "eof" in stage.server.names())
    stage.server.transport.pause_reading()
    stage.server.transport.resume_reading()
    await stage.settle()
    return stage.server.calls


@case
async def write_eof_twice(stage: Stage) -> Any:
    await stage.join(Recorder(), Recorder(eof=lambda side: True))
    answers = [outcome(stage.client.transport.write_eof), outcome(stage.client.transport.write_eof)]
    await until(lambda: "eof" in stage.server.names())
    await stage.settle()
    return answers, both(stage)


@case
async def write_after_write_eof(stage: Stage) -> Any:
    await stage.join(Recorder(), Recorder(eof=lambda side: True))
    stage.client.transport.write_eof()
    return outcome(stage.client.transport.write, b"?"), outcome(stage.client.transport.writelines, [b"?"])


@case
async def write_eof_waits_for_what_was_written(stage: Stage) -> Any:
    await stage.join(Recorder(), Recorder())
    stage.server.transport.pause_reading()
    stage.client.transport.write(TOO_MANY)
    stage.client.transport.write_eof()
    await stage.settle()
    stage.server.transport.resume_reading()
    await ended(stage)
    return stage.server.received, stage.server.names(), stage.client.calls


@case
async def write_eof_after_close(stage: Stage) -> Any:
    await stage.join(Recorder(), Recorder())
    stage.client.transport.close()
    answer = outcome(stage.client.transport.write_eof)
    return answer, await ended(stage)


@case
async def write_eof_in_connection_made(stage: Stage) -> Any:
    await stage.join(Recorder(made=lambda side: side.transport.write_eof()), Recorder())
    return await ended(stage)


# close()


@case
async def close_sends_what_was_written(stage: Stage) -> Any:
    await stage.join(Recorder(), Recorder())
    stage.server.transport.pause_reading()
    transport = stage.client.transport
    transport.write(TOO_MANY)
    transport.close()
    facts = transport.is_closing(), transport.is_reading(), transport.get_write_buffer_size() > 0, stage.client.lost
    stage.server.transport.resume_reading()
    await ended(stage)
    return facts, stage.client.calls, stage.server.received, stage.server.names(), stage.server.calls[-1]


@case
async def what_is_written_when_a_closing_transport_resumes_arrives(stage: Stage) -> Any:
    await stage.join(Recorder(resume=lambda side: side.transport.write(b"the last words")), Recorder())
    stage.server.transport.pause_reading()
    stage.client.transport.write(TOO_MANY)
    stage.client.transport.close()
    stage.server.transport.resume_reading()
    await ended(stage)
    return stage.client.calls, stage.server.received, stage.server.data[-14:]


@case
async def connection_lost_is_not_called_inside_close(stage: Stage) -> Any:
    await stage.join(Recorder(), Recorder())
    stage.client.transport.close()
    at_once = list(stage.client.calls)
    return at_once, await ended(stage)


@case
async def close_and_abort_again(stage: Stage) -> Any:
    await stage.join(Recorder(), Recorder())
    transport = stage.client.transport
    answers = [outcome(call) for call in (transport.close, transport.close, transport.abort, transport.close)]
    calls = await ended(stage)
    answers += [outcome(call) for call in (transport.close, transport.abort)]
    return answers, calls


@case
async def close_inside_data_received(stage: Stage) -> Any:
    await stage.join(Recorder(), Recorder(data=lambda side, data: side.transport.close()))
    stage.client.transport.write(b"data")
    return await ended(stage)


@case
async def closed_inside_a_buffered_protocol(stage: Stage) -> Any:
    await stage.join(Recorder(eof=lambda side: False), BufferedRecorder(4, data=lambda side, _: side.transport.close()))
    stage.client.transport.write(b"data and more")
    await until(lambda: stage.server.lost)
    return stage.server.calls


@case
async def writes_after_close_go_nowhere(stage: Stage) -> Any:
    await stage.join(Recorder(), Recorder())
    stage.client.transport.write(b"before")
    stage.client.transport.close()
    answers = [outcome(stage.client.transport.write, b"after") for _ in range(4)]
    calls = await ended(stage)
    return answers, calls


@case
async def after_connection_lost(stage: Stage) -> Any:
    await stage.join(Recorder(), Recorder())
    transport = stage.client.transport
    transport.close()
    await ended(stage)
    return transport.is_closing(), transport.is_reading(), transport.get_write_buffer_size()


@case
async def get_protocol_after_connection_lost(stage: Stage) -> Any:
    await stage.join(Recorder(), Recorder())
    stage.client.transport.close()
    await ended(stage)
    return stage.client.transport.get_protocol() is None


@case
async def pausing_after_close(stage: Stage) -> Any:
    await stage.join(Recorder(), Recorder())
    transport = stage.client.transport
    transport.close()
    answers = outcome(transport.pause_reading), outcome(transport.resume_reading)
    await ended(stage)
    return answers


@case
async def who_writes_to_a_closed_peer_is_reset(stage: Stage) -> Any:
    await stage.join(Recorder(eof=lambda side: True), Recorder())
    stage.server.transport.close()
    await until(lambda: "eof" in stage.client.names())
    while not stage.client.lost:
        stage.client.transport.write(b"is anybody there?")
        await stage.settle()
    return stage.client.calls[:-1], stage.client.calls[-1] in (
        ("lost", "ConnectionResetError"),
        ("lost", "BrokenPipeError"),
    )


# abort(), reset, loss


@case
async def abort_drops_what_was_written(stage: Stage) -> Any:
    await stage.join(Recorder(), Recorder())
    stage.server.transport.pause_reading()
    stage.client.transport.write(TOO_MANY)
    stage.client.transport.abort()
    facts = stage.client.transport.is_closing(), stage.client.lost
    stage.server.transport.resume_reading()
    await ended(stage)
    return facts, stage.client.calls, stage.server.received < len(TOO_MANY)


@case
async def what_the_peer_of_an_abort_is_told(stage: Stage) -> Any:
    await stage.join(Recorder(), Recorder())
    stage.client.transport.write(b"data")
    await until(lambda: stage.server.data)
    stage.client.transport.abort()
    return await ended(stage)


@case
async def abort_inside_data_received(stage: Stage) -> Any:
    await stage.join(Recorder(), Recorder(data=lambda side, data: side.transport.abort()))
    stage.client.transport.write(b"data")
    await ended(stage)
    return stage.server.calls


@case
async def abort_in_the_middle_of_a_close(stage: Stage) -> Any:
    await stage.join(Recorder(), Recorder())
    stage.server.transport.pause_reading()
    stage.client.transport.write(TOO_MANY)
    stage.client.transport.close()
    await stage.settle()
    before = stage.client.lost
    stage.client.transport.abort()
    await until(lambda: stage.client.lost)
    return before, stage.client.calls


@case
async def a_reset_is_told_to_the_peer(stage: Stage) -> Any:
    await stage.join(Recorder(), Recorder())
    stage.client.transport.write(b"data")
    await until(lambda: stage.server.data)
    stage.reset()
    await ended(stage)
    return stage.server.calls


@case
async def a_reset_in_the_middle_of_a_write(stage: Stage) -> Any:
    await stage.join(Recorder(), Recorder())
    stage.client.transport.pause_reading()
    stage.server.transport.write(TOO_MANY)
    await stage.settle()
    stage.reset()
    await until(lambda: stage.server.lost)
    transport = stage.server.transport
    return stage.server.calls, transport.is_closing(), transport.get_write_buffer_size()


@case
async def writes_after_a_reset_go_nowhere(stage: Stage) -> Any:
    await stage.join(Recorder(), Recorder())
    stage.reset()
    await ended(stage)
    return [outcome(stage.server.transport.write, b"?") for _ in range(3)], stage.server.calls


# What the protocol raises


@case
async def data_received_raises(stage: Stage) -> Any:
    with stage.seen():
        await stage.join(Recorder(), Recorder(data=fail))
        stage.client.transport.write(b"data")
        await ended(stage)
    return stage.server.calls, stage.unseen


@case
async def data_received_raises_an_oserror(stage: Stage) -> Any:
    with stage.seen():
        await stage.join(Recorder(), Recorder(data=fail_as_the_system_does))
        stage.client.transport.write(b"data")
        await ended(stage)
    return stage.server.calls, stage.unseen


@case
async def what_the_peer_of_a_failure_is_told(stage: Stage) -> Any:
    with stage.seen():
        await stage.join(Recorder(), Recorder(data=fail))
        stage.client.transport.write(b"data")
        await ended(stage)
    return stage.client.calls


@case
async def buffer_updated_raises(stage: Stage) -> Any:
    with stage.seen():
        await stage.join(Recorder(), BufferedRecorder(100, data=fail))
        stage.client.transport.write(b"data")
        await ended(stage)
    return stage.server.calls, stage.unseen


@case
async def eof_received_raises(stage: Stage) -> Any:
    with stage.seen():
        await stage.join(Recorder(), Recorder(eof=fail))
        stage.client.transport.write_eof()
        await ended(stage)
    return stage.server.calls, stage.unseen


@case
async def connection_lost_raises(stage: Stage) -> Any:
    with stage.seen():
        await stage.join(Recorder(), Recorder(lost=fail))
        stage.client.transport.close()
        await ended(stage)
    return both(stage), stage.unseen


# What asyncio builds on a transport


@case
async def sendfile(stage: Stage) -> Any:
    await stage.join(Recorder(), Recorder())
    with Path(__file__).open("rb") as file:  # noqa: ASYNC230
        try:
            sent = await asyncio.get_running_loop().sendfile(stage.client.transport, file)
        except NotImplementedError:
            return "not on this loop"
        file.seek(0)
        content = file.read()
    await until(lambda: stage.server.received == len(content))
    return sent == len(content), stage.server.data == content, stage.client.transport.get_protocol() is stage.client
