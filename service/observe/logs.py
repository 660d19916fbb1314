"""Logs as text or as JSON, each line with its request; uvicorn and libraries log in the same form.

Logs hold no personal data: of a request they hold its id, its route's template and its outcome.
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

logger = logging.getLogger("likeness.requests")

REQUEST_ID: Final[ContextVar[str | None]] = ContextVar("request_id", default=None)
"""The id of the request that this code serves; None in threads."""

KIND: Final = "kind"
"""The key in a record's `extra` for its kind; by default a warning's kind is its message."""
LEFT_OUT: Final = "left_out"
"""The attribute of a record that counts the lines of its kind left out since the last one."""
_FIELDS: Final = "fields"

_MOST, _WITHIN_S = 20, 10.0
# More kinds than the code logs; all kinds beyond this number count as one.
_MOST_KINDS = 1000


@dataclass(frozen=True, slots=True)
class RequestRecord:
    """Hold what logs, metrics and traces may say of an answered request.

    It holds no path, query, header or body. `route` is the route's template, `problem` the code of
    the error that was answered, `key` a digest of the API key's id: with the id alone an attacker
    would know one half of a signature.
    """

    request_id: str
    method: str
    route: str
    status: int
    problem: str | None
    seconds: float
    key: str | None


def configure_logs(settings: Settings) -> None:
    """Write logs to standard error, without uvicorn's own messages at start."""
    handler = logging.StreamHandler()
    handler.addFilter(RepeatFilter())
    handler.setFormatter(JsonFormatter() if settings.log_format == "json" else TextFormatter())
    logging.basicConfig(level=settings.log_level.upper(), handlers=[handler])
    logging.getLogger("uvicorn.error").setLevel(logging.WARNING)


def log_request(request: RequestRecord, level: int = logging.INFO) -> None:
    """Write the log line of a request."""
    fields = {name: value for name, value in asdict(request).items() if value is not None}
    fields["seconds"] = round(request.seconds, 6)
    words = [request.method, request.route, request.status, request.problem]
    words += [f"{request.seconds:.3f}s", request.key and f"key={request.key}"]
    line = " ".join(str(word) for word in words if word is not None)
    # Refusals of callers without a key are limited: these callers cannot be stopped otherwise.
    is_refusal = request.key is None and request.status >= HTTPStatus.BAD_REQUEST
    kind = (request.route, request.status, request.problem) if is_refusal else None
    logger.log(level, line, extra={_FIELDS: fields, KIND: kind})


class TextFormatter(logging.Formatter):
    """Format a record as text: time, level, logger, request id, message."""

    def __init__(self) -> None:
        super().__init__("%(asctime)s %(levelname)s %(name)s%(request)s %(message)s%(rest)s")

    def format(self, record: logging.LogRecord) -> str:
        request_id = REQUEST_ID.get()
        record.request = "" if request_id is None else f" [{request_id}]"
        left_out = getattr(record, LEFT_OUT, None)
        record.rest = "" if left_out is None else f" ({left_out} similar lines were left out)"
        return super().format(record)


class JsonFormatter(logging.Formatter):
    """Format a record as one JSON object in one line, with its traceback."""

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


class RepeatFilter(logging.Filter):
    """Let at most 20 lines of a kind through in ten seconds; a later line counts the others."""

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


@dataclass(slots=True)
class _Count:
    """Count the lines of one kind since a moment of the clock."""

    since: float
    lines: int = 0
    left_out: int = 0


def _kind_of(record: logging.LogRecord) -> object:
    """Return the kind whose lines are counted together; None if the line is never left out."""
    kind = getattr(record, KIND, None)
    if kind is None and record.levelno >= logging.WARNING:
        kind = record.msg
    return None if kind is None else (record.name, record.levelno, kind)
