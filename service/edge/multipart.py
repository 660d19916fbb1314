"""Read multipart, JSON and queries from a stranger: everything malformed is one typed error."""

import json
from dataclasses import dataclass
from typing import NoReturn
from urllib.parse import parse_qsl

from pydantic import JsonValue
from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, MultipartState, parse_options_header

from service.errors import InvalidRequest

# No request needs a tenth. An empty list takes 3 bytes to send and 30 times that to hold.
_MAX_VALUES = 10_000
_MAX_DIGITS = 20
_BEFORE_VALUES = (b"[", b"{", b",")


@dataclass(frozen=True, slots=True)
class Part:
    """Hold one part of a form, or one query parameter; bytes if it is a file or no text."""

    name: str
    value: str | bytes


class PartReader:
    """Collect the parts of a multipart body in memory, chunk by chunk.

    Every method raises InvalidRequest.
    """

    def __init__(self, boundary: bytes, max_parts: int) -> None:
        if not boundary:
            raise InvalidRequest("The content type multipart/form-data names no boundary.")
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
        """Take the next bytes of the body."""
        # What only begins like a delimiter, and blanks behind one, are gone through byte by byte.
        self._delimiters += chunk.count(self._delimiter)
        if self._delimiters > self._max_parts + 1:
            raise self._too_many_parts()
        try:
            self._parser.write(chunk)
        except FormParserError as exc:
            raise InvalidRequest("The form's parts do not follow multipart/form-data.") from exc
        if self._parser.state is MultipartState.BOUNDARY_PADDING:
            raise InvalidRequest("A delimiter of the form does not end.")

    def close(self) -> list[Part]:
        """Return the parts; a body that stops before its closing boundary is refused."""
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
    """Return the object in `data`, read as `read_value` does; raises InvalidRequest."""
    return as_object(read_value(data))


def as_object(value: JsonValue) -> dict[str, JsonValue]:
    """Return JSON that is an object; raises InvalidRequest."""
    if not isinstance(value, dict):
        raise InvalidRequest("The JSON is not an object.")
    return value


def read_value(data: bytes) -> JsonValue:
    """Return what is in `data`; raises InvalidRequest.

    Names given twice, NaN and Infinity are refused: JSON readers disagree about them.
    """
    if sum(map(data.count, _BEFORE_VALUES)) > _MAX_VALUES:
        raise InvalidRequest(f"The JSON holds more than {_MAX_VALUES} values.")
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
    """Return the parameters of a query in their order; raises InvalidRequest."""
    try:
        # Strict: a name must not silently become another one, with a replacement character.
        pairs = parse_qsl(
            query.decode(), keep_blank_values=True, errors="strict", max_num_fields=max_parts
        )
    except UnicodeError as exc:
        raise InvalidRequest("The query is not valid UTF-8.") from exc
    except ValueError as exc:
        raise InvalidRequest(f"The query has more than {max_parts} parameters.") from exc
    return [Part(name, value) for name, value in pairs]


def _unique(pairs: list[tuple[str, JsonValue]]) -> dict[str, JsonValue]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise InvalidRequest("The JSON gives a name twice in one object.")
    # Half of a surrogate pair can be escaped but is no text; nobody checks names later.
    "".join(found).encode()
    return found


def _short_int(digits: str) -> int:
    """Read a whole number; the time that takes grows with the square of its digits."""
    if len(digits) > _MAX_DIGITS:
        raise InvalidRequest(f"The JSON holds a whole number of more than {_MAX_DIGITS} digits.")
    return int(digits)


def _no_constant(name: str) -> NoReturn:
    raise InvalidRequest(f"The JSON holds {name}, which is no number.")


def _text(data: bytes) -> str | bytes:
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError:
        return data
