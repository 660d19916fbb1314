"""Search a PostgreSQL database: the index suggests rows, which are then compared exactly.

So a row that was placed by another cohort than that of the search, as by a replica with another,
may be suggested late, or in vain, and its score is right nonetheless. How far the index is looked
through is up to a function in the database (see `add_nearest` and `add_cohorts`).
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
from service.store.postgres.queries import vector_of
from service.store.postgres.spaces import Space
from service.store.records import Candidate, Clock, Damage
from service.store.vault import Owner, Vault, WrappedKey

# The index is asked for more rows than subjects are wanted, as some are of one subject or have
# expired; from so many on, comparing with all of them is the honest answer.
_FEWEST_ROWS = 40
_MOST_ROWS = 4000

_COLUMNS = "subject, template_id, expires_at, image_sha256, fingerprint, vector"
# Clear vectors have no key to look up.
_CLEAR = f"SELECT {_COLUMNS} FROM near JOIN likeness.templates USING (number)"
# A turned table is only asked whom to look at: who belongs to the collection is said by its rows.
_SEALED = f"""SELECT {_COLUMNS}, key_id, master, wrapped
    FROM near JOIN likeness.templates USING (number)
    JOIN likeness.subjects USING (subject) JOIN likeness.data_keys USING (key_id)
    WHERE collection = %(collection)s"""


@dataclass(frozen=True, slots=True)
class ScoredTemplate:
    """Hold a template that the index suggests, its exact score and its cosine."""

    subject: str
    template_id: str
    expires_at: datetime | None
    similarity: float
    cosine: float


@dataclass(frozen=True, slots=True, eq=False)
class _Probe:
    """Hold what is looked for, (d,) float32, how it is scored, and who is left out.

    `common` is half of what the probe has in common with everybody.
    """

    vector: NDArray[np.float32]
    cohort: Cohort
    common: float
    besides: str | None


async def search(
    database: Database,
    spaces: Sequence[Space],
    vault: Vault,
    cohort: Cohort,
    vector: NDArray[np.float32],
    limit: int,
    clock: Clock,
    besides: str | None,
    damaged: list[Damage],
) -> list[Candidate]:
    """Return the `limit` most similar subjects in some tables, best first; one read for each.

    The subject `besides` is left out, and so is what cannot be read, which is added to `damaged`.
    """
    if not spaces or limit < 1:
        return []
    # Of one vector that takes less time than a thread does; of those it is compared with, more.
    probe = _Probe(vector, cohort, cohort.mean(vector) / 2, besides)

    async def near(space: Space, rows: int) -> tuple[list[ScoredTemplate], bool]:
        """Return those that are near, and whether there are no others."""
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
                {space.number}, {space.parameter}, %(common)s, {rows}, %(besides)s
            ) AS number
        ) {_CLEAR if space.turn is None else _SEALED}""",
        {**_parameters(space, probe), "common": probe.common},
        binary=True,
    )
    return await found.fetchall()


async def _of_nearest_subjects(
    connection: Connection, space: Space, probe: _Probe, subjects: int, now: datetime
) -> Sequence[Any]:
    """Return all templates of the nearest subjects by any unexpired one; looks at every row."""
    found = await connection.execute(
        f"""WITH best AS (
            SELECT subject, min({space.table}.vector <#> {space.parameter}) AS negated
            FROM {space.table} JOIN likeness.templates USING (number)
            WHERE (expires_at IS NULL OR expires_at > %(now)s)
                AND subject IS DISTINCT FROM %(besides)s
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
        "besides": probe.besides,
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
    """Return the rows whose vectors (d,) can be read, and these; the others are damaged."""
    whole, vectors = [], []
    for row in rows:
        reading = SubjectReader(row[0])
        read = partial(_vector, vault, space, *row)
        vector = reading.read("vector", read, None, template_id=row[1], fingerprint=row[4])
        damaged += reading.damaged
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
    cipher = vault.cipher(WrappedKey.read(*key) if key else None)
    return vector_of(cipher, blob, about, space.dimension)
