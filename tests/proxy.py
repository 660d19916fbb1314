"""Run the real HAProxy with the project's rules before replicas that do as a test says."""

import re
import shutil
import socket
import subprocess
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from enum import Enum
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import chain
from pathlib import Path
from queue import SimpleQueue
from threading import Event, Thread

import httpx

RULES = Path(__file__).parent.parent / "deploy" / "haproxy.cfg"
HAPROXY = shutil.which("haproxy") or shutil.which("haproxy", path="/usr/sbin:/usr/local/sbin")


class Does(Enum):
    """Say what a replica does with a request."""

    ANSWER = 200
    BUSY = 429
    FAIL = 503
    DIE = 0
    HOLD = -1


@dataclass(frozen=True, slots=True)
class Request:
    """Hold what a replica was sent."""

    request_id: str
    body: bytes


class Replica(ThreadingHTTPServer):
    """Stand in for the service: answer the checks and count everything else."""

    block_on_close = True
    ANSWER = b'{"from": "a replica"}'

    def __init__(self, does: Does = Does.ANSWER, ready: bool = True) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.does = does
        self.ready = ready
        self.arrived: SimpleQueue[Request] = SimpleQueue()
        self.hung_up = Event()
        self._thread = Thread(target=self.serve_forever, kwargs={"poll_interval": 0.01})
        self._thread.start()

    @property
    def port(self) -> int:
        return int(self.server_address[1])

    def refuse(self) -> None:
        """Listen no longer: whoever connects is refused. May be called again."""
        self.shutdown()
        self._thread.join()
        self.server_close()

    def requests(self) -> list[Request]:
        """Take the requests that have arrived by now."""
        return [self.arrived.get() for _ in range(self.arrived.qsize())]


class _Handler(BaseHTTPRequestHandler):
    server: Replica
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        if self.path == "/readyz":
            self._answer(200 if self.server.ready else 503, b"")
        else:
            self._request()

    def do_POST(self) -> None:
        self._request()

    def _request(self) -> None:
        body = self.rfile.read(int(self.headers.get("content-length", 0)))
        name = self.headers.get("x-request-id", "")
        self.server.arrived.put(Request(name, body))
        match self.server.does:
            case Does.DIE:
                self.close_connection = True
            case Does.HOLD:
                with suppress(ConnectionResetError):
                    self.rfile.read(1)  # nothing more is sent: ends when the connection does
                self.close_connection = True
                self.server.hung_up.set()
            case code:
                self._answer(code.value, Replica.ANSWER)

    def _answer(self, status: int, body: bytes) -> None:
        self.send_response(status)
        if status in (429, 503):
            self.send_header("retry-after", "7")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        return


@dataclass(slots=True)
class Proxy:
    """Hold a proxy that listens; `log` grows while a line of it is waited for."""

    process: subprocess.Popen[str]
    port: int
    log: list[str] = field(default_factory=list)

    def wait_for(self, pattern: str) -> str:
        """Return the first line of the log that matches, be it one still to come."""
        return self._first(pattern, chain(tuple(self.log), self._lines()))

    def wait_for_next(self, pattern: str) -> str:
        """Return the first line that matches of those that nobody has waited for yet."""
        return self._first(pattern, self._lines())

    def _first(self, pattern: str, lines: Iterable[str]) -> str:
        for line in lines:
            if re.search(pattern, line):
                return line
        raise AssertionError(f"the proxy ended with {self.process.wait()} after: {self.log}")

    def _lines(self) -> Iterator[str]:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.log.append(line.rstrip())
            yield self.log[-1]

    def client(self) -> httpx.Client:
        url = f"http://127.0.0.1:{self.port}"
        return httpx.Client(base_url=url, timeout=20, trust_env=False)


@contextmanager
def running_proxy(folder: Path, ports: Sequence[int]) -> Iterator[Proxy]:
    """Start the proxy before the replicas at these ports and wait until it has checked each."""
    assert HAPROXY is not None
    with ExitStack() as stack:
        listener = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
        rules = folder / "haproxy.cfg"
        rules.write_text(_on_loopback(RULES.read_text(), listener.fileno(), ports))
        process = stack.enter_context(
            subprocess.Popen(
                [HAPROXY, "-db", "-f", str(rules)],
                pass_fds=[listener.fileno()],
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
            )
        )
        stack.callback(process.kill)
        proxy = Proxy(process, int(listener.getsockname()[1]))
        for number in range(1, len(ports) + 1):
            proxy.wait_for(f"Health check for server replicas/replica{number} ")
        yield proxy


def _on_loopback(rules: str, listener: int, ports: Sequence[int]) -> str:
    """Put addresses in the place of names that only compose's DNS knows; no rule is changed."""
    servers = [f"    server replica{n} 127.0.0.1:{port}" for n, port in enumerate(ports, 1)]
    for pattern, replacement in (
        (r"^    server-template .*$", "\n".join(servers)),
        (r"^    bind .*$", f"    bind fd@{listener}"),
        # An address needs no DNS, and there is none to ask.
        (r" resolvers docker resolve-prefer ipv4 init-addr none$", ""),
    ):
        rules, count = re.subn(pattern, replacement, rules, flags=re.MULTILINE)
        assert count == 1, pattern
    return rules
