"""Damage stored bytes: other people must be served, and damaged people must be named.

Each store holds people with one photo each. The rows of every fourth person are damaged, each in
another way, and a new server opens the store. Then noise overwrites pages of a SQLite file.
"""

import base64
import random
import sqlite3
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import httpx

from tests.contracts.store.inside import run
from tests.postgres import running_cluster
from tests.tools.reliability.client import photo
from tests.tools.reliability.fault import answer_of
from tests.tools.reliability.forked import Nursery
from tests.tools.reliability.row import Row
from tests.tools.reliability.small import small_service

_PEOPLE = 112
_ONE_IN = 4
_MASTER = base64.b64encode(bytes(range(32))).decode()
# An overwritten page of the file may lose some of the people in it.
_PAGES = 3


@dataclass(frozen=True, slots=True)
class Kind:
    """Hold one kind of damage: a column of a template or of its subject."""

    name: str
    table: str
    column: str
    change: Callable[[bytes, random.Random], bytes]


def _flip(value: bytes, dice: random.Random) -> bytes:
    at = dice.randrange(len(value))
    return value[:at] + bytes([value[at] ^ 1 << dice.randrange(8)]) + value[at + 1 :]


def _cut(value: bytes, dice: random.Random) -> bytes:
    return value[: dice.randrange(1, len(value))]


def _no_numbers(value: bytes, dice: random.Random) -> bytes:
    return value[:-8] + b"\xff" * 8


def _zeros(value: bytes, dice: random.Random) -> bytes:
    return bytes(len(value))


def _noise(value: bytes, dice: random.Random) -> bytes:
    return dice.randbytes(len(value))


KINDS = (
    Kind("a bit of the vector", "templates", "vector", _flip),
    Kind("a vector cut short", "templates", "vector", _cut),
    Kind("a vector of NaN", "templates", "vector", _no_numbers),
    Kind("a vector of zeros", "templates", "vector", _zeros),
    Kind("a vector of noise", "templates", "vector", _noise),
    Kind("metadata of noise", "subjects", "metadata", _noise),
    Kind("metadata cut short", "subjects", "metadata", _cut),
)


def rows(scale: float) -> list[Row]:
    """Damage every kind of store, and the pages of a file."""
    people = max(2 * _ONE_IN * len(KINDS), int(_PEOPLE * scale))
    with tempfile.TemporaryDirectory() as name, running_cluster() as cluster:
        nursery = small_service(Path(name))
        sealed = nursery.set(master_keys=_MASTER)
        return [
            _rows_damaged("SQLite", nursery.set(store=f"sqlite:///{name}/clear.db"), people),
            _rows_damaged("SQLite, sealed", sealed.set(store=f"sqlite:///{name}/seal.db"), people),
            _rows_damaged("PostgreSQL", nursery.set(store=cluster.new_database()), people),
            _rows_damaged("PostgreSQL, sealed", sealed.set(store=cluster.new_database()), people),
            _pages_damaged(nursery, Path(name) / "pages.db", people),
        ]


def _rows_damaged(engine: str, nursery: Nursery, people: int) -> Row:
    _enrol_all(nursery, people)
    harmed = set(_harm_some(nursery.settings, people))
    answers: Counter[str] = Counter()
    with nursery.server() as server, server.client() as client:
        ready = client.get("/readyz").is_success
        served = sum(_is_served(client, at) for at in range(people) if at not in harmed)
        for at in harmed:
            answers[answer_of(_verify(client, at))] += 1
        named = sum(_is_named(client, at) for at in harmed)
        client.get("/readyz")  # which waits until all that was met is noted
        logged = [each for each in _audit(client) if each["action"] == "damaged"]
        mended = sum(_mend(client, at) and _is_served(client, at) for at in harmed)
        left = client.get("/readyz").json()["damaged"]
    others = people - len(harmed)
    expected = {"200", "409 templates_damaged"}
    is_well = set(answers) <= expected and (served, mended, left) == (others, len(harmed), 0)
    counts = ", ".join(f"{count} times {answer}" for answer, count in sorted(answers.items()))
    return Row(
        f"damaged rows, {engine}",
        f"{len(harmed)} of {people} people, {len(KINDS)} kinds",
        f"{served} of {others} others served; damaged people: {counts}, {named} named, "
        f"{len(logged)} in the audit log; {mended} of {len(harmed)} mended, {left} left",
        "all others served; only answers 200 and 409; all mended",
        is_well and ready,
    )


def _pages_damaged(nursery: Nursery, path: Path, people: int) -> Row:
    nursery = nursery.set(store=f"sqlite:///{path}")
    _enrol_all(nursery, people)
    _overwrite_pages(path)
    answers: Counter[str] = Counter()
    with nursery.server() as server, server.client() as client:
        for at in range(people):
            answers[answer_of(_verify(client, at))] += 1
            answers["identify " + answer_of(_identify(client, at))] += 1
        live = client.get("/livez").is_success
    served = answers["200"]
    fine = {"200", "identify 200", "409 templates_damaged", "409 store_damaged"}
    return Row(
        "damaged pages of a SQLite file",
        f"{_PAGES} pages of templates of {people} people",
        f"{served} of {people} verified, "
        + ", ".join(f"{n} times {a}" for a, n in sorted(answers.items()) if a not in fine or n)
        + ("; live" if live else "; not live"),
        "more than half verified, every photo searched for, a problem for all others",
        live and served > people / 2 and set(answers) <= fine,
    )


def _enrol_all(nursery: Nursery, people: int) -> None:
    with nursery.server() as server, server.client() as client:
        for at in range(people):
            _mend(client, at)


def _harm_some(settings: Mapping[str, str], people: int) -> Iterator[int]:
    url, dice = settings["LIKENESS_STORE"], random.Random(1)
    for turn, at in enumerate(range(0, people, _ONE_IN)):
        kind, subject = KINDS[turn % len(KINDS)], f"s{at}"
        of_subject = f"FROM {kind.table} WHERE subject = ?"
        ((value,),) = run(url, f"SELECT {kind.column} {of_subject}", subject)
        changed = kind.change(bytes(value), dice)
        run(url, f"UPDATE {kind.table} SET {kind.column} = ? WHERE subject = ?", changed, subject)
        yield at


def _overwrite_pages(path: Path) -> None:
    """Write noise over some pages that hold rows of templates."""
    with closing(sqlite3.connect(path)) as connection:
        ((size,),) = connection.execute("PRAGMA page_size").fetchall()
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
        found = connection.execute(
            "SELECT pageno FROM dbstat WHERE name = 'templates' AND pagetype = 'leaf'"
        ).fetchall()
    dice = random.Random(1)
    with path.open("r+b") as file:
        for (page,) in dice.sample(found, _PAGES):
            file.seek((page - 1) * size)
            file.write(dice.randbytes(size))


def _mend(client: httpx.Client, at: int) -> bool:
    subject = f"s{at}"
    client.delete(f"/subjects/{subject}")
    files = {"image": photo(at)}
    return client.post("/enroll", data={"subject": subject}, files=files).status_code == 201


def _verify(client: httpx.Client, at: int) -> httpx.Response:
    fields = {"subject": f"s{at}", "threshold": "0.5"}
    return client.post("/verify", data=fields, files={"image": photo(at)})


def _identify(client: httpx.Client, at: int) -> httpx.Response:
    fields = {"threshold": "0.5", "limit": "1"}
    return client.post("/identify", data=fields, files={"image": photo(at)})


def _is_served(client: httpx.Client, at: int) -> bool:
    verified, found = _verify(client, at), _identify(client, at)
    return (
        verified.is_success
        and verified.json()["decision"] == "match"
        and found.is_success
        and found.json()["candidates"][0]["similarity"] > 0.999
    )


def _is_named(client: httpx.Client, at: int) -> bool:
    return bool(client.get(f"/subjects/s{at}").json()["damaged"])


def _audit(client: httpx.Client) -> list[dict[str, str]]:
    entries: list[dict[str, str]] = []
    after: int | None = 0
    while after is not None:
        page = client.get("/audit", params={"after": after, "limit": 1000}).json()
        entries += page["items"]
        after = page["next"]
    return entries
