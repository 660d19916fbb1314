"""The OpenAPI document: as JSON, and as a page that explains every route and field."""

import base64
import hashlib
import json
from collections.abc import Iterable, Iterator
from html import escape
from typing import Any

from fastapi import APIRouter, FastAPI, Request, Response

from service.api.pages import StaticPage

_STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; color: #0f172a; max-width: 60rem;
  margin: 2rem auto; padding: 0 1rem }
h1 { font-size: 1.6rem } h2 { font-size: 1.3rem; margin-top: 2.5rem }
h3 { font-size: 1.05rem; margin-top: 2rem; border-top: 1px solid #e2e8f0; padding-top: 1rem }
h4 { font-size: .9rem; color: #475569; margin-bottom: .2rem }
table { border-collapse: collapse; width: 100% }
td { vertical-align: top; padding: .25rem .8rem .25rem 0; border-bottom: 1px solid #f1f5f9 }
td:first-child { white-space: nowrap } td:nth-child(2) { color: #475569 }
code { overflow-wrap: anywhere } a { color: #1d4ed8; text-decoration: none }
"""
_HASH = base64.b64encode(hashlib.sha256(_STYLE.encode()).digest()).decode()
POLICY = f"default-src 'none'; style-src 'sha256-{_HASH}'; base-uri 'none'; frame-ancestors 'none'"

Document = dict[str, Any]


def render(document: Document) -> str:
    """Return the page; everything on it comes from the document."""
    info = document["info"]
    parts = [
        f"<h1>{escape(info['title'])}</h1>",
        *(f"<p>{_text(each)}</p>" for each in info["description"].split("\n\n")),
        '<p>For programs: <a href="/openapi.json">openapi.json</a>.</p>',
    ]
    for tag, operations in _by_tag(document).items():
        parts.append(f"<h2>{escape(tag.capitalize())}</h2>")
        parts += [_operation(method, path, each) for method, path, each in operations]
    parts.append("<h2>Answers</h2>")
    parts += [
        f'<h3 id="{escape(name)}">{escape(name)}</h3>{_about(schema)}{_fields(schema)}'
        for name, schema in sorted(document["components"]["schemas"].items())
    ]
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width">'
        f"<title>{escape(info['title'])}</title><style>{_STYLE}</style></head>"
        f"<body>{''.join(parts)}</body></html>\n"
    )


def _by_tag(document: Document) -> dict[str, list[tuple[str, str, Document]]]:
    by_tag: dict[str, list[tuple[str, str, Document]]] = {}
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            tag = operation.get("tags", ["other"])[0]
            by_tag.setdefault(tag, []).append((method, path, operation))
    return by_tag


def _operation(method: str, path: str, operation: Document) -> str:
    parts = [f"<h3>{method.upper()} <code>{escape(path)}</code></h3>", _about(operation)]
    forms = operation.get("requestBody", {}).get("content", {})
    if forms:
        parts.append(f"<h4>Body: {' or '.join(escape(kind) for kind in forms)}</h4>")
        parts.append(_fields(next(iter(forms.values()))["schema"]))
    # The query parameters of a form repeat its fields, which are listed above.
    parameters = [
        each for each in operation.get("parameters", ()) if not forms or each["in"] != "query"
    ]
    if parameters:
        parts.append("<h4>Parameters</h4>")
        parts.append(_table(_parameter(each) for each in parameters))
    parts.append("<h4>Answers</h4>")
    parts.append(_table(_answer(*each) for each in operation["responses"].items()))
    return "".join(parts)


def _parameter(parameter: Document) -> tuple[str, str, str]:
    place = parameter["in"] + (", required" if parameter.get("required") else "")
    return _code(parameter["name"]), escape(place), _text(parameter.get("description", ""))


def _answer(status: str, response: Document) -> tuple[str, str, str]:
    kinds = (
        f"{_type(media['schema'])} as {escape(kind)}"
        for kind, media in response.get("content", {}).items()
        if "schema" in media
    )
    return escape(status), "<br>".join(kinds), _text(response.get("description", ""))


def _fields(schema: Document) -> str:
    if "$ref" in schema:
        return f"<p>{_type(schema)}</p>"
    needed = schema.get("required", ())
    return _table(
        (_code(name), _type(field) + (", required" if name in needed else ""), _meaning(field))
        for name, field in schema.get("properties", {}).items()
    )


def _meaning(field: Document) -> str:
    examples = ", ".join(_code(each) for each in field.get("examples", ()))
    parts = [_text(field.get("description", "")), f"such as {examples}" if examples else ""]
    return "; ".join(part for part in parts if part)


def _about(schema: Document) -> str:
    paragraphs = schema.get("description", "").split("\n\n")
    return "".join(f"<p>{_text(each)}</p>" for each in paragraphs if each)


def _type(schema: Document) -> str:
    match schema:
        case {"$ref": str(reference)}:
            name = escape(reference.rpartition("/")[2])
            return f'<a href="#{name}">{name}</a>'
        case {"anyOf": list(choices)} | {"oneOf": list(choices)}:
            return " or ".join(_type(each) for each in choices)
        case {"enum": list(values)}:
            return " or ".join(_code(value) for value in values)
        case {"const": value}:
            return _code(value)
        case {"type": "array", "items": dict(items)}:
            return f"list of {_type(items)}"
        case {"type": str(kind), "format": str(form)}:
            return escape(f"{kind} ({form})")
        case {"type": str(kind)}:
            return escape(kind)
        case _:
            return "anything"


def _table(rows: Iterable[tuple[str, str, str]]) -> str:
    lines = "".join(f"<tr>{''.join(f'<td>{cell}</td>' for cell in row)}</tr>" for row in rows)
    return f"<table>{lines}</table>" if lines else ""


def _code(value: object) -> str:
    return f"<code>{escape(str(value))}</code>"


def _text(text: str) -> str:
    """Escape text, and show text between backticks as code."""
    return "".join(_spans(text))


def _spans(text: str) -> Iterator[str]:
    for place, span in enumerate(text.split("`")):
        yield _code(span) if place % 2 else escape(span)


router = APIRouter(include_in_schema=False)


@router.get("/openapi.json")
async def document(request: Request) -> Response:
    """Return the OpenAPI document."""
    document, _ = _pages(request.app)
    return document.answer(request, {})


@router.get("/docs")
async def docs(request: Request) -> Response:
    """Show the OpenAPI document as a page."""
    _, page = _pages(request.app)
    return page.answer(request, {"content-security-policy": POLICY})


def _pages(app: FastAPI) -> tuple[StaticPage, StaticPage]:
    """Return the document and the page; they are made for the first request."""
    if not hasattr(app.state, "docs"):
        openapi = app.openapi()
        text = json.dumps(openapi, ensure_ascii=False, separators=(",", ":")).encode()
        app.state.docs = (
            StaticPage.of(text, "application/json"),
            StaticPage.of(render(openapi).encode(), "text/html; charset=utf-8"),
        )
    document, page = app.state.docs
    return document, page
