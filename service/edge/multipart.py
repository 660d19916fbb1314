"""Read multipart, JSON and queries from untrusted clients; any fault is an InvalidRequest."""

import json
from dataclasses import dataclass
from typing import NoReturn
from urllib.parse import parse_qsl

from pydantic import JsonValue
from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, MultipartState, parse_options_header

from service.errors import InvalidRequest

# No request needs a tenth of it. An empty list is 3 bytes in JSON and 30 times as many in memory.
_MAX_VALUES = 10_000
_MAX_DIGITS = 20
_BEFORE_VALUES = (b"[", b"{", b",")


@dataclass(frozen=True, slots=True)
class Part:
    """Hold one part of a form, or one query parameter; its value is bytes if it is not text."""

    name: str
    value: str | bytes


class PartReader:
    """Collect the parts of a multipart body in memory, chunk by chunk.

    Every method can raise InvalidRequest.
    """

    def __init__(self, boundary: bytes, max_parts: int) -> None:
        if not boundary:
            raise InvalidRequest("The content type multipart/form-data has no boundary.")
        self._max_parts = max_parts
        self._delimiter, self._delimiters = b"\r\n--" + boundary, 0
        self._parts: list[Part] = []
        self._complete = False
        self._header, self._value = bytearray(), bytearray()
        self._disposition, self._type = b"", b""
        self._name, self._is_file = "", False
        self._chunks: list[bytes] = []
        try:
            self._parser = MultipartParser(
                boundary,
                {
                    "on_part_begin": self._part_begin,
                    "on_header_field": self._header_field,
                    "on_header_value": self._header_value,
                    "on_header_end": self._header_end,
                    "on_headers_finished": self._headers_finished,
                    "on_part_data": self._part_data,
                    "on_part_end": self._part_end,
                    "on_end": self._end,
                },
            )
        except FormParserError as exc:
            raise InvalidRequest("The boundary of the form is too long.") from exc

    def write(self, chunk: bytes) -> None:
        """Read the next bytes of the body."""
        # The parser reads near-delimiters, and blanks after a delimiter, byte by byte: bound them.
        self._delimiters += chunk.count(self._delimiter)
        if self._delimiters > self._max_parts + 1:
            raise self._too_many_parts()
        try:
            self._parser.write(chunk)
        except FormParserError as exc:
            raise InvalidRequest("The body is not valid multipart/form-data.") from exc
        if self._parser.state is MultipartState.BOUNDARY_PADDING:
            raise InvalidRequest("A boundary of the form is not followed by a line break.")

    def close(self) -> list[Part]:
        """Return the parts. Raises InvalidRequest if the body ends before its closing boundary."""
        if not self._complete:
            raise InvalidRequest("The form ends before its closing boundary.")
        return self._parts

    def _part_begin(self) -> None:
        if len(self._parts) == self._max_parts:
            raise self._too_many_parts()
        self._disposition, self._type = b"", b""
        self._chunks = []

    def _header_field(self, data: bytes, start: int, end: int) -> None:
        self._header += data[start:end]

    def _header_value(self, data: bytes, start: int, end: int) -> None:
        self._value += data[start:end]

    def _header_end(self) -> None:
        match bytes(self._header).lower():
            case b"content-disposition":
                self._disposition = bytes(self._value)
            case b"content-type":
                self._type = bytes(self._value).lower()
        self._header, self._value = bytearray(), bytearray()

    def _headers_finished(self) -> None:
        kind, options = parse_options_header(self._disposition)
        if kind != b"form-data" or not options.get(b"name"):
            raise InvalidRequest("A part of the form has no name.")
        self._name = options[b"name"].decode("utf-8", "replace")
        self._is_file = b"filename" in options or self._type.startswith(
            (b"image/", b"application/octet-stream")
        )

    def _part_data(self, data: bytes, start: int, end: int) -> None:
        self._chunks.append(data[start:end])

    def _part_end(self) -> None:
        data = b"".join(self._chunks)
        self._chunks = []
        self._parts.append(Part(self._name, data if self._is_file else _text(data)))

    def _end(self) -> None:
        self._complete = True

    def _too_many_parts(self) -> InvalidRequest:
        return InvalidRequest(f"The form has more than {self._max_parts} parts.")


def read_json(data: bytes) -> dict[str, JsonValue]:
    """Return the JSON object in `data`. Raises InvalidRequest."""
    return as_object(read_value(data))


def as_object(value: JsonValue) -> dict[str, JsonValue]:
    """Return a JSON value that must be an object. Raises InvalidRequest."""
    if not isinstance(value, dict):
        raise InvalidRequest("The JSON is not an object.")
    return value


def read_value(data: bytes) -> JsonValue:
    """Return the JSON value in `data`. Raises InvalidRequest.

    Repeated names, NaN and Infinity are refused, because JSON readers disagree about them.
    """
    if sum(map(data.count, _BEFORE_VALUES)) > _MAX_VALUES:
        raise InvalidRequest(f"The JSON has more than {_MAX_VALUES} values.")
    try:
        value: JsonValue = json.loads(
            data.decode("utf-8-sig"),
            object_pairs_hook=_unique,
            parse_int=_short_int,
            parse_constant=_no_constant,
        )
    except UnicodeError as exc:
        raise InvalidRequest("The JSON is not valid UTF-8.") from exc
    except RecursionError as exc:
        raise InvalidRequest("The JSON is nested too deeply.") from exc
    except ValueError as exc:
        raise InvalidRequest("The body is not valid JSON.") from exc
    return value


def read_query(query: bytes, max_parts: int) -> list[Part]:
    """Return the parameters of a query in their order. Raises InvalidRequest."""
    try:
        # Strict, so that no character of a name is silently replaced.
        pairs = parse_qsl(
            query.decode(), keep_blank_values=True, errors="strict", max_num_fields=max_parts
        )
    except UnicodeError as exc:
        raise InvalidRequest("The query is not valid UTF-8.") from exc
    except ValueError as exc:
        raise InvalidRequest(f"The query has more than {max_parts} parameters.") from exc
    return [Part(name, value) for name, value in pairs]


def _unique(pairs: list[tuple[str, JsonValue]]) -> dict[str, JsonValue]:
    members = dict(pairs)
    if len(members) < len(pairs):
        raise InvalidRequest("The JSON has the same name twice in one object.")
    # JSON can escape half of a surrogate pair, which is not text: encoding it fails.
    "".join(members).encode()
    return members


def _short_int(digits: str) -> int:
    """Read a whole number of few digits: the time grows with their square."""
    if len(digits) > _MAX_DIGITS:
        raise InvalidRequest(f"The JSON has a whole number of more than {_MAX_DIGITS} digits.")
    return int(digits)


def _no_constant(name: str) -> NoReturn:
    raise InvalidRequest(f"The JSON contains {name}, which is not a JSON number.")


def _text(data: bytes) -> str | bytes:
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError:
        return data
