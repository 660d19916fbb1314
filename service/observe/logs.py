"""Logs as text or as JSON, uvicorn's and the libraries' like ours, each line with its request.

What is logged names nobody: a request is its id, its route's template and how it went.
"""

import json
import logging
from collections.abc import Callable
from contextvars import ContextVar
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from http import HTTPStatus
from time import monotonic
from typing import Final

from service.settings import Settings


@dataclass(frozen=True, slots=True)
class RequestRecord:
    """Hold what names nobody: no path, query, header or body.

    `route` is the template; `problem` the code of the problem that was answered, if it was one;
    `key` a digest of the id of the key: the id itself is half of what signs.
    """

    request_id: str
    method: str
    route: str
    status: int
    problem: str | None
    seconds: float
    key: str | None


KIND: Final = "kind"
"""What a record's `extra` may say of its kind; warnings and worse have that of their message."""
LEFT_OUT: Final = "left_out"
"""What a record is told by: how many like it were left out since the last one."""

_MOST, _WITHIN_S = 20, 10.0
# More kinds than the code has of lines: what is beyond has a kind of its own in common.
_MOST_KINDS = 1000


@dataclass(slots=True)
class _Count:
    """Count the lines of one kind since a moment."""

    since: float
    lines: int = 0
    left_out: int = 0


class RepeatFilter(logging.Filter):
    """Let at most 20 lines of a kind through in ten seconds; the next one tells of the rest."""

    def __init__(self, clock: Callable[[], float] = monotonic) -> None:
        super().__init__()
        self._clock = clock
        self._counts: dict[object, _Count] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        kind = _kind_of(record)
        if kind is None:
            return True
        if kind not in self._counts and len(self._counts) >= _MOST_KINDS:
            kind = None
        now = self._clock()
        count = self._counts.setdefault(kind, _Count(now))
        if now - count.since >= _WITHIN_S:
            count.since, count.lines = now, 0
        if count.lines >= _MOST:
            count.left_out += 1
            return False
        count.lines += 1
        if count.left_out:
            setattr(record, LEFT_OUT, count.left_out)
            count.left_out = 0
        return True


def _kind_of(record: logging.LogRecord) -> object:
    said = getattr(record, KIND, None)
    if said is None and record.levelno >= logging.WARNING:
        said = record.msg
    return None if said is None else (record.name, record.levelno, said)


logger = logging.getLogger("likeness.requests")

REQUEST_ID: Final[ContextVar[str | None]] = ContextVar("request_id", default=None)
"""Of the request that is being served where the code runs; threads serve none."""

_FIELDS: Final = "fields"


class TextFormatter(logging.Formatter):
    """Write a line to read: when, how bad, which part, whose request, what."""

    def __init__(self) -> None:
        super().__init__("%(asctime)s %(levelname)s %(name)s%(request)s %(message)s%(rest)s")

    def format(self, record: logging.LogRecord) -> str:
        request_id = REQUEST_ID.get()
        record.request = "" if request_id is None else f" [{request_id}]"
        left_out = getattr(record, LEFT_OUT, None)
        record.rest = "" if left_out is None else f" ({left_out} like it were left out before)"
        return super().format(record)


class JsonFormatter(logging.Formatter):
    """Write an object a line, a traceback in it included."""

    def format(self, record: logging.LogRecord) -> str:
        entry: dict[str, object] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        if (request_id := REQUEST_ID.get()) is not None:
            entry["request_id"] = request_id
        entry |= getattr(record, _FIELDS, {})
        if (left_out := getattr(record, LEFT_OUT, None)) is not None:
            entry[LEFT_OUT] = left_out
        if record.exc_info:
            entry["exception"] = self.formatException(record.exc_info)
        return json.dumps(entry, default=str)


def configure_logs(settings: Settings) -> None:
    """Write logs to standard error; what uvicorn says at each start is said better elsewhere."""
    handler = logging.StreamHandler()
    handler.addFilter(RepeatFilter())
    handler.setFormatter(JsonFormatter() if settings.log_format == "json" else TextFormatter())
    logging.basicConfig(level=settings.log_level.upper(), handlers=[handler])
    logging.getLogger("uvicorn.error").setLevel(logging.WARNING)


def log_request(request: RequestRecord, level: int = logging.INFO) -> None:
    """Write the one line of a request."""
    fields = {name: value for name, value in asdict(request).items() if value is not None}
    fields["seconds"] = round(request.seconds, 6)
    words = [request.method, request.route, request.status, request.problem]
    words += [f"{request.seconds:.3f}s", request.key and f"key={request.key}"]
    line = " ".join(str(word) for word in words if word is not None)
    # Whoever has a key is known and can be stopped; whoever has none can go on for ever.
    is_refusal = request.key is None and request.status >= HTTPStatus.BAD_REQUEST
    kind = (request.route, request.status, request.problem) if is_refusal else None
    logger.log(level, line, extra={_FIELDS: fields, KIND: kind})
