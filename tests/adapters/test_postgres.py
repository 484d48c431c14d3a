"""asyncpg, unmodified, over channels that lead to a real PostgreSQL server."""

import asyncio
import hashlib
import os
from pathlib import Path
from typing import Any

import pytest
from adapters.stage import behind_a_gateway
from support.pages import recipe

asyncpg = pytest.importorskip("asyncpg", reason="asyncpg is not installed")


Dialling = recipe("docs/adapters.md", "Dialling")


@pytest.fixture
def options() -> dict[str, Any]:
    return {"host": "/over/muxtcp", "user": "postgres", "database": "postgres"}


async def test_queries_transactions_and_copy(postgres_socket: Path, options: dict[str, Any]) -> None:
    async with behind_a_gateway(postgres_socket) as session:
        database = await asyncpg.connect(loop=Dialling(session, str(postgres_socket)), **options)
        await database.execute("DROP TABLE IF EXISTS blobs; CREATE TABLE blobs (id int PRIMARY KEY, data bytea)")

        # a large value each way, then many rows by prepared statement, cursor and COPY
        large = os.urandom(8 << 20)
        await database.execute("INSERT INTO blobs VALUES (-1, $1)", large)
        assert await database.fetchval("SELECT data FROM blobs WHERE id = -1") == large
        rows = [(n, hashlib.sha256(b"%d" % n).digest() * 8) for n in range(2_000)]
        await database.copy_records_to_table("blobs", records=rows)
        statement = await database.prepare("SELECT * FROM blobs WHERE id >= $1 ORDER BY id")
        assert [tuple(row) for row in await statement.fetch(0)] == rows
        async with database.transaction():
            assert [tuple(row) async for row in statement.cursor(0, prefetch=50)] == rows

        # a transaction that fails leaves nothing
        with pytest.raises(asyncpg.UniqueViolationError):
            async with database.transaction():
                await database.execute("INSERT INTO blobs VALUES (5000, 'x')")
                await database.execute("INSERT INTO blobs VALUES (0, 'x')")
        assert await database.fetchval("SELECT count(*) FROM blobs") == len(rows) + 1

        await database.close()


async def test_a_pool_notifications_and_cancellation(postgres_socket: Path, options: dict[str, Any]) -> None:
    async with behind_a_gateway(postgres_socket) as session:
        loop = Dialling(session, str(postgres_socket))
        async with asyncpg.create_pool(loop=loop, min_size=2, max_size=5, **options) as pool:
            async with asyncio.TaskGroup() as group:
                tasks = [group.create_task(pool.fetchval("SELECT $1::int * 2", n)) for n in range(200)]
            assert [task.result() for task in tasks] == [2 * n for n in range(200)]
            assert 2 <= len(session.channels) <= 5

            async with pool.acquire() as one, pool.acquire() as two:
                heard = asyncio.Queue[str]()

                def listener(*told: Any) -> None:
                    heard.put_nowait(told[-1])

                await one.add_listener("news", listener)
                await two.execute("NOTIFY news, 'hello'")
                assert await heard.get() == "hello"
                await one.remove_listener("news", listener)

            # asyncpg cancels a query by another connection, which is another channel
            async with pool.acquire() as connection:
                with pytest.raises(TimeoutError):
                    await connection.execute("SELECT pg_sleep(60)", timeout=0.05)
                assert await connection.fetchval("SELECT 1") == 1


async def test_a_transaction_goes_on_over_another_connection(postgres_socket: Path, options: dict[str, Any]) -> None:
    """The link is cut in the middle of it, three times."""
    async with behind_a_gateway(postgres_socket, resume=30.0) as session:
        database = await asyncpg.connect(loop=Dialling(session, str(postgres_socket)), **options)
        await database.execute("DROP TABLE IF EXISTS kept; CREATE TABLE kept (n int)")
        async with database.transaction():
            for n in range(3):
                inserting = asyncio.ensure_future(
                    database.execute("INSERT INTO kept SELECT $1 FROM generate_series(1, 10000)", n)
                )
                await asyncio.sleep(0)
                session.transport.abort()
                await inserting
        assert await database.fetchval("SELECT count(*) FROM kept") == 30_000
        assert session.resumptions == 3
        await database.close()


async def test_a_session_that_is_lost_is_a_lost_connection(postgres_socket: Path, options: dict[str, Any]) -> None:
    async with behind_a_gateway(postgres_socket) as session:
        database = await asyncpg.connect(loop=Dialling(session, str(postgres_socket)), **options)
        query = asyncio.ensure_future(database.execute("SELECT pg_sleep(60)"))
        await asyncio.sleep(0)
        session.transport.abort()
        with pytest.raises((ConnectionResetError, asyncpg.ConnectionDoesNotExistError)):
            await query
        assert database.is_closed()
