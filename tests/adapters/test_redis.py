"""redis-py, unmodified, over channels that lead to a real Redis server: a stream for each of its connections."""

import asyncio
import contextlib
import os
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from adapters.stage import behind_a_gateway
from support.pages import recipe

import muxtcp

redis = pytest.importorskip("redis.asyncio", reason="redis-py is not installed")
from redis.asyncio.retry import Retry  # noqa: E402
from redis.backoff import NoBackoff  # noqa: E402

ChannelConnection = recipe("docs/adapters.md", "ChannelConnection")


@contextlib.asynccontextmanager
async def client_of(session: muxtcp.Session, path: Path, **options: Any) -> AsyncIterator[Any]:
    pool = redis.BlockingConnectionPool(connection_class=ChannelConnection, session=session, to=str(path), **options)
    async with redis.Redis.from_pool(pool) as client:
        yield client


async def test_redis_py(redis_socket: Path) -> None:
    values = {f"key {n}": os.urandom(n * 997) for n in range(100)}
    async with behind_a_gateway(redis_socket) as session:
        async with client_of(session, redis_socket, max_connections=8) as client:
            await client.flushall()
            assert await client.ping()

            # a pipeline, and as a transaction
            async with client.pipeline(transaction=False) as pipe:
                for name, value in values.items():
                    pipe.set(name, value)
                assert await pipe.execute() == [True] * len(values)
            async with client.pipeline(transaction=True) as pipe:
                pipe.incr("counter").incrby("counter", 41).get("counter")
                assert await pipe.execute() == [1, 42, b"42"]

            # many at once, through the pool
            async with asyncio.TaskGroup() as group:
                read = {name: group.create_task(client.get(name)) for name in values}
            assert {name: task.result() for name, task in read.items()} == values
            assert 1 < len(session.channels) <= 8

            # a value of many windows
            large = os.urandom(8 << 20)
            await client.set("large", large)
            assert await client.get("large") == large


async def test_transactions_messages_and_cancellation(redis_socket: Path) -> None:
    async with behind_a_gateway(redis_socket) as session:
        async with client_of(session, redis_socket) as client, client_of(session, redis_socket) as other:
            await client.flushall()

            # optimistic locking: what another connection changed meanwhile is seen
            await client.set("watched", 1)
            async with client.pipeline() as pipe:
                await pipe.watch("watched")
                await other.set("watched", 2)
                pipe.multi()
                pipe.set("watched", 3)
                with pytest.raises(redis.WatchError):
                    await pipe.execute()
            assert await client.get("watched") == b"2"

            # messages that are pushed
            async with client.pubsub() as pubsub:
                await pubsub.subscribe("news")
                assert (await pubsub.get_message(timeout=None))["type"] == "subscribe"
                for n in range(100):
                    await other.publish("news", b"%d" % n)
                heard = [(await pubsub.get_message(timeout=None))["data"] for _ in range(100)]
                assert heard == [b"%d" % n for n in range(100)]

            # a call that waits in the server is given up, and the client goes on
            waiting = asyncio.ensure_future(client.blpop("empty", timeout=0))
            await other.ping()
            waiting.cancel()
            with pytest.raises(asyncio.CancelledError):
                await waiting
            assert await client.get("watched") == b"2"


async def test_a_server_that_is_not_there(tmp_path: Path) -> None:
    async with behind_a_gateway(tmp_path / "nobody") as session:
        async with client_of(session, tmp_path / "nobody", retry=Retry(NoBackoff(), 0)) as client:
            with pytest.raises(redis.ConnectionError):
                await client.ping()
