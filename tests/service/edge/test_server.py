"""How the process starts and ends."""

import asyncio
import gc
import socket
from collections.abc import Callable

import pytest

from service.app import create_app
from service.edge.keys import KeyRing, make_key
from service.edge.server import DEVICE_LOST_EXIT, bind, check_exposure, serve
from service.errors import InvalidSettings
from service.settings import Settings
from service.store import open_store, utc_now


def settings(**fields: object) -> Settings:
    return Settings.model_validate({"store": "sqlite:///:memory:", "port": 0, **fields})


async def test_listening_beyond_loopback_needs_a_key_or_a_decision() -> None:
    store = await open_store("sqlite:///:memory:")
    keys = KeyRing(store)
    with pytest.raises(InvalidSettings, match=r"keys create.*without-keys"):
        await check_exposure(settings(host="0.0.0.0"), keys)
    await check_exposure(settings(host="0.0.0.0", without_keys=True), keys)
    made = make_key("ops", ["admin"], None, None, utc_now())[0]
    await store.add_key(made)
    await check_exposure(settings(host="0.0.0.0"), keys)
    await store.revoke_key(made.key_id)
    with pytest.raises(InvalidSettings, match="keys create"):
        await check_exposure(settings(host="0.0.0.0"), keys)
    await store.close()


async def test_start_on_the_loopback_warns_if_all_keys_are_revoked(
    caplog: pytest.LogCaptureFixture,
) -> None:
    store = await open_store("sqlite:///:memory:")
    made = make_key("ops", ["admin"], None, None, utc_now())[0]
    await store.add_key(made)
    await check_exposure(settings(), KeyRing(store))
    assert caplog.text == ""
    await store.revoke_key(made.key_id)
    await check_exposure(settings(), KeyRing(store))
    assert "likeness keys create" in caplog.text
    await store.close()


async def say_nothing(url: str) -> Callable[[], None]:
    return lambda: None


async def test_a_port_in_use_is_a_clear_error() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        wanted = settings(port=taken.getsockname()[1])
        with pytest.raises(InvalidSettings, match=str(wanted.port)):
            await serve(create_app(wanted), wanted, say_nothing)


def test_an_answer_does_not_wait_for_an_acknowledgement() -> None:
    with (
        bind(settings()) as listener,
        socket.create_connection(listener.getsockname()),
        listener.accept()[0] as accepted,
    ):
        assert accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)


async def test_a_lost_device_ends_the_process_with_a_status_of_its_own() -> None:
    app = create_app(settings())

    async def lose(url: str) -> Callable[[], None]:
        return app.state.service.device_lost.set  # type: ignore[no-any-return]

    assert await serve(app, settings(), lose) == DEVICE_LOST_EXIT


async def test_what_is_loaded_is_not_looked_through_for_garbage() -> None:
    app = create_app(settings())
    looked_through: list[object] = []

    def look() -> None:
        looked_through.extend(each for each in gc.get_objects() if each is app.state.service)
        asyncio.get_running_loop().call_soon(app.state.service.device_lost.set)

    async def announce(url: str) -> Callable[[], None]:
        return look

    await serve(app, settings(), announce)
    gc.unfreeze()
    assert looked_through == []
