"""The search of a PostgreSQL database: the index suggests rows, which are then compared exactly.

So if a replica with another cohort inserted a row, the index may suggest it late or needlessly,
but its score is correct. A function in the database decides how many rows of the index to read
(see `schema`).
"""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from itertools import chain
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.cohort import Cohort
from service.store.damage import SubjectReader
from service.store.postgres.database import Database
from service.store.postgres.migrations import Connection
from service.store.postgres.spaces import Space, vector_of
from service.store.records import Candidate, Clock, Damage
from service.store.vault import Owner, Vault, WrappedKey

# The index is asked for more rows than subjects are wanted, because several rows may be of one
# subject or expired. Beyond the most rows, all rows of the table are compared.
_FEWEST_ROWS = 40
_MOST_ROWS = 4000

_COLUMNS = "subject, template_id, expires_at, image_sha256, fingerprint, vector"
# Clear vectors have no key to look up.
_CLEAR = f"SELECT {_COLUMNS} FROM near JOIN likeness.templates USING (number)"
# A rotated table only suggests rows; whether they belong to the collection is checked here.
_SEALED = f"""SELECT {_COLUMNS}, key_id, master, wrapped
    FROM near JOIN likeness.templates USING (number)
    JOIN likeness.subjects USING (subject) JOIN likeness.data_keys USING (key_id)
    WHERE collection = %(collection)s"""


@dataclass(frozen=True, slots=True)
class ScoredTemplate:
    """Hold a template that the index suggested, with its exact score and cosine."""

    subject: str
    template_id: str
    expires_at: datetime | None
    similarity: float
    cosine: float


@dataclass(frozen=True, slots=True, eq=False)
class _Probe:
    """Hold the vector of a search, (d,) float32, its cohort, and the subject to leave out.

    `common` is half of the probe's cohort mean.
    """

    vector: NDArray[np.float32]
    cohort: Cohort
    common: float
    exclude: str | None


async def search(
    database: Database,
    spaces: Sequence[Space],
    vault: Vault,
    cohort: Cohort,
    vector: NDArray[np.float32],
    limit: int,
    clock: Clock,
    exclude: str | None,
    damaged: list[Damage],
) -> list[Candidate]:
    """Return the `limit` most similar subjects in some tables, best first; one read per table.

    The subject `exclude` is left out. Damaged templates are left out and added to `damaged`.
    """
    if not spaces or limit < 1:
        return []
    # The cohort mean of one vector is too fast for a thread; those of the found rows are not.
    probe = _Probe(vector, cohort, cohort.mean(vector) / 2, exclude)

    async def near(space: Space, rows: int) -> tuple[list[ScoredTemplate], bool]:
        """Return the nearest templates, and whether the table has no others."""
        suggested = await database.read(lambda c: _nearest(c, space, probe, rows))
        found = await asyncio.to_thread(_compared, suggested, space, vault, probe, damaged)
        return found, len(suggested) < rows

    async def of_near(space: Space) -> list[ScoredTemplate]:
        suggested = await database.read(
            lambda c: _of_nearest_subjects(c, space, probe, 2 * limit, clock())
        )
        return await asyncio.to_thread(_compared, suggested, space, vault, probe, damaged)

    rows = max(_FEWEST_ROWS, 4 * limit)
    while rows <= _MOST_ROWS:
        found = [await near(space, rows) for space in spaces]
        best = _best([*chain(*(each for each, _ in found))], clock())
        if len(best) >= limit or all(is_all for _, is_all in found):
            return best[:limit]
        rows *= 4
    return _best([*chain(*[await of_near(space) for space in spaces])], clock())[:limit]


async def _nearest(connection: Connection, space: Space, probe: _Probe, rows: int) -> Sequence[Any]:
    """Return about the nearest `rows` templates, in any order."""
    found = await connection.execute(
        f"""WITH near AS MATERIALIZED (
            SELECT number FROM likeness.nearest(
                {space.number}, {space.parameter}, %(common)s, {rows}, %(exclude)s
            ) AS number
        ) {_CLEAR if space.turn is None else _SEALED}""",
        {**_parameters(space, probe), "common": probe.common},
        binary=True,
    )
    return await found.fetchall()


async def _of_nearest_subjects(
    connection: Connection, space: Space, probe: _Probe, subjects: int, now: datetime
) -> Sequence[Any]:
    """Return all templates of the nearest subjects, by their nearest unexpired template.

    Reads every row of the table.
    """
    found = await connection.execute(
        f"""WITH best AS (
            SELECT subject, min({space.table}.vector <#> {space.parameter}) AS negated
            FROM {space.table} JOIN likeness.templates USING (number)
            WHERE (expires_at IS NULL OR expires_at > %(now)s)
                AND subject IS DISTINCT FROM %(exclude)s
            GROUP BY subject ORDER BY negated LIMIT {subjects}
        ), near AS (
            SELECT number FROM {space.table} JOIN likeness.templates USING (number)
            JOIN best USING (subject)
        ) {_CLEAR if space.turn is None else _SEALED}""",
        {**_parameters(space, probe), "now": now},
        binary=True,
    )
    return await found.fetchall()


def _parameters(space: Space, probe: _Probe) -> dict[str, object]:
    return {
        "vector": space.asked(probe.vector),
        "exclude": probe.exclude,
        "collection": space.collection,
    }


def _best(found: Sequence[ScoredTemplate], now: datetime) -> list[Candidate]:
    """Return the best unexpired template of each subject, best first, then by subject."""
    ordered = sorted(
        (-each.similarity, each.subject, each.template_id, each.cosine)
        for each in found
        if each.expires_at is None or each.expires_at > now
    )
    candidates: dict[str, Candidate] = {}
    for negated, subject, template_id, cosine in ordered:
        candidates.setdefault(subject, Candidate(subject, template_id, -negated, cosine))
    return list(candidates.values())


def _compared(
    rows: Sequence[Any], space: Space, vault: Vault, probe: _Probe, damaged: list[Damage]
) -> list[ScoredTemplate]:
    rows, vectors = _opened(rows, space, vault, damaged)
    if not rows:
        return []
    held = np.stack(vectors)
    cosines = np.clip(held @ probe.vector, -1.0, 1.0)
    scores = cosines - probe.cohort.means(held) / 2 - np.float32(probe.common)
    return [
        ScoredTemplate(subject, template_id, expires_at, score, cosine)
        for (subject, template_id, expires_at, *_), score, cosine in zip(
            rows, scores.tolist(), cosines.tolist(), strict=True
        )
    ]


def _opened(
    rows: Sequence[Any], space: Space, vault: Vault, damaged: list[Damage]
) -> tuple[list[Any], list[NDArray[np.float32]]]:
    """Return the undamaged rows and their vectors (d,); add the others to `damaged`."""
    whole, vectors = [], []
    for row in rows:
        reader = SubjectReader(row[0])
        read = partial(_vector, vault, space, *row)
        vector = reader.read("vector", read, None, template_id=row[1], fingerprint=row[4])
        damaged += reader.damaged
        if vector is not None:
            whole.append(row)
            vectors.append(vector)
    return whole, vectors


def _vector(
    vault: Vault,
    space: Space,
    subject: str,
    template_id: str,
    expires_at: datetime | None,
    image: str,
    made_by: str,
    blob: bytes,
    *key: Any,
) -> NDArray[np.float32]:
    about = Owner(subject, space.collection).vector(template_id, image, made_by)
    cipher = vault.cipher(WrappedKey.from_row(*key) if key else None)
    return vector_of(cipher, blob, about, space.dimension)
