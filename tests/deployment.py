"""Two real replicas over one PostgreSQL, behind the real proxy."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx

from tests.photos import photo_bytes
from tests.proxy import Proxy, running_proxy
from tests.server import RunningServer, running_server

# Longer than the proxy needs to notice.
_LEAVING = {"LIKENESS_LEAVE_S": "4"}


@dataclass(frozen=True, slots=True)
class Deployment:
    """Hold two replicas, the proxy before them and a client of it."""

    store: str
    replicas: list[RunningServer]
    proxy: Proxy
    client: httpx.Client
    _stack: ExitStack

    def enrol(self, subject: str) -> int:
        """Enrol the portrait; return the status of the answer."""
        return self._post("/enroll", subject)

    def verify(self) -> int:
        """Verify the portrait that was enrolled; return the status of the answer."""
        return self._post("/verify", "grace")

    def _post(self, path: str, subject: str) -> int:
        photo = {"image": photo_bytes("grace")}
        return self.client.post(path, data={"subject": subject}, files=photo).status_code

    def restart_in_turn(self) -> None:
        """Ask each replica to end and start it anew at its port, the next one when it serves.

        What the proxy says is read all the while: it leaves out what nobody has room for.
        """
        with ThreadPoolExecutor(1) as pool:
            for at, replica in enumerate(self.replicas):
                name = f"Server replicas/replica{at + 1}"
                ended = pool.submit(replica.stop)
                self.proxy.wait_for_next(f"{name} is DOWN")
                assert ended.result() == 0
                port = httpx.URL(replica.url).port or 0
                started = pool.submit(
                    self._stack.enter_context, running_server(self.store, _LEAVING, port)
                )
                self.proxy.wait_for_next(f"{name} is UP")
                self.replicas[at] = started.result()


@contextmanager
def running_deployment(store: str, folder: Path) -> Iterator[Deployment]:
    """Start all of it, with the portrait enrolled as `grace`, until the block ends."""
    with ExitStack() as stack:
        replicas = [stack.enter_context(running_server(store, _LEAVING)) for _ in range(2)]
        ports = [httpx.URL(replica.url).port or 0 for replica in replicas]
        proxy = stack.enter_context(running_proxy(folder, ports))
        client = stack.enter_context(proxy.client())
        deployment = Deployment(store, replicas, proxy, client, stack)
        assert deployment.enrol("grace") == 201
        yield deployment
