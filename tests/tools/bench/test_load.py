import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

from tests.tools.bench.load import Body, Load, Target, closed_loop, open_loop

# What the server does with a request is written in its body.
FINE, BUSY, SILENT = Body(b"200"), Body(b"429"), Body(b"000")


@asynccontextmanager
async def server(seen: list[bytes]) -> AsyncIterator[Target]:
    """Answer with the status that a body asks for; for 000 close the connection instead."""

    serving: list[asyncio.Task[None]] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        serving.append(task)
        try:
            while True:
                await reader.readuntil(b"\r\n\r\n")
                status = await reader.readexactly(3)
                seen.append(status)
                if status == b"000":
                    break
                writer.write(b"HTTP/1.1 %s X\r\ncontent-length: 2\r\n\r\nok" % status)
        except (EOFError, ConnectionError):
            pass
        writer.close()
        with suppress(OSError):
            await writer.wait_closed()

    listening = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with listening:
        host, port = listening.sockets[0].getsockname()
        yield Target(f"http://{host}:{port}", "/embed", "image/jpeg")
        await asyncio.gather(*serving)


async def closed(*bodies: Body, connections: int = 2) -> Load:
    async with server([]) as target:
        return await closed_loop(target, bodies, connections)


async def test_every_body_is_sent_once_whatever_the_connections() -> None:
    seen: list[bytes] = []
    async with server(seen) as target:
        await closed_loop(target, [FINE] * 7, connections=3)
    assert seen == [b"200"] * 7


async def test_only_successes_count_for_the_rate() -> None:
    load = await closed(FINE, BUSY, BUSY, FINE)
    assert round(load.rate * load.seconds) == 2


async def test_refusals_are_counted_by_their_status() -> None:
    assert (await closed(FINE, BUSY, BUSY)).count(429) == 2


async def test_who_gets_no_answer_hangs() -> None:
    assert (await closed(FINE, SILENT, FINE)).hung == 1


async def test_a_connection_that_was_closed_is_opened_again() -> None:
    assert (await closed(SILENT, FINE, connections=1)).count(200) == 1


async def test_who_leaves_does_not_hang() -> None:
    assert (await closed(Body(b"200", harmful=True, leaves=True))).hung == 0


async def test_what_is_sent_to_disturb_is_not_counted_among_the_others() -> None:
    assert (await closed(Body(b"200", harmful=True), FINE)).count(200) == 1


async def test_an_open_loop_sends_every_body() -> None:
    async with server([]) as target:
        assert (await open_loop(target, [FINE] * 5, rate=1000)).count(200) == 5
