"""Search a PostgreSQL database: the index suggests rows, which are then compared exactly.

How far the index is looked through is up to a function in the database (see `add_nearest`).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import chain
from typing import Any

import numpy as np
from numpy.typing import NDArray

from service.store.postgres.database import Database
from service.store.postgres.migrations import Connection
from service.store.postgres.queries import vector_of
from service.store.postgres.spaces import Space
from service.store.records import Candidate, Clock
from service.store.vault import Vault, Wrapped

# The index is asked for more rows than subjects are wanted, as some are of one subject or have
# expired; from so many on, comparing with all of them is the honest answer.
_FEWEST_ROWS = 40
_MOST_ROWS = 4000

_COLUMNS = "subject, template_id, expires_at, image_sha256, fingerprint, vector"
# Clear vectors have no key to look up.
_CLEAR = f"SELECT {_COLUMNS} FROM near JOIN likeness.templates USING (number)"
_SEALED = f"""SELECT {_COLUMNS}, key_id, master, wrapped
    FROM near JOIN likeness.templates USING (number)
    JOIN likeness.subjects USING (subject) JOIN likeness.data_keys USING (key_id)"""


@dataclass(frozen=True, slots=True)
class Found:
    """Hold a template that the index suggests and its exact similarity, a cosine."""

    subject: str
    template_id: str
    expires_at: datetime | None
    similarity: float


async def search(
    database: Database,
    spaces: Sequence[Space],
    vault: Vault,
    vector: NDArray[np.float32],
    limit: int,
    clock: Clock,
    besides: str | None,
) -> list[Candidate]:
    """Return the `limit` most similar subjects in some tables, best first; one read for each.

    The subject `besides` is left out.
    """

    async def near(space: Space, rows: int) -> list[Found]:
        return await database.read(lambda c: _nearest(c, space, vault, vector, rows, besides))

    async def of_near(space: Space) -> list[Found]:
        return await database.read(
            lambda c: _of_nearest_subjects(c, space, vault, vector, 2 * limit, clock(), besides)
        )

    if not spaces or limit < 1:
        return []
    rows = max(_FEWEST_ROWS, 4 * limit)
    while rows <= _MOST_ROWS:
        found = [await near(space, rows) for space in spaces]
        best = _best([*chain(*found)], clock())
        if len(best) >= limit or all(len(each) < rows for each in found):
            return best[:limit]
        rows *= 4
    return _best([*chain(*[await of_near(space) for space in spaces])], clock())[:limit]


async def _nearest(
    connection: Connection,
    space: Space,
    vault: Vault,
    vector: NDArray[np.float32],
    rows: int,
    besides: str | None,
) -> list[Found]:
    """Return about the nearest `rows` templates, in any order."""
    found = await connection.execute(
        f"""WITH near AS MATERIALIZED (
            SELECT number FROM likeness.nearest(
                {space.number}, {space.parameter}, {rows}, %(besides)s
            ) AS number
        ) {_CLEAR if space.turn is None else _SEALED}""",
        {"vector": space.placed(vector), "besides": besides},
        binary=True,
    )
    return _compared(await found.fetchall(), vault, vector)


async def _of_nearest_subjects(
    connection: Connection,
    space: Space,
    vault: Vault,
    vector: NDArray[np.float32],
    subjects: int,
    now: datetime,
    besides: str | None,
) -> list[Found]:
    """Return all templates of the nearest subjects by any unexpired one; looks at every row."""
    found = await connection.execute(
        f"""WITH best AS (
            SELECT subject, min({space.table}.vector <=> {space.parameter}) AS distance
            FROM {space.table} JOIN likeness.templates USING (number)
            WHERE (expires_at IS NULL OR expires_at > %(now)s)
                AND subject IS DISTINCT FROM %(besides)s
            GROUP BY subject ORDER BY distance LIMIT {subjects}
        ), near AS (
            SELECT number FROM {space.table} JOIN likeness.templates USING (number)
            JOIN best USING (subject)
        ) {_CLEAR if space.turn is None else _SEALED}""",
        {"vector": space.placed(vector), "now": now, "besides": besides},
        binary=True,
    )
    return _compared(await found.fetchall(), vault, vector)


def _best(found: Sequence[Found], now: datetime) -> list[Candidate]:
    """Return the best unexpired template of each subject, best first, then by subject."""
    ordered = sorted(
        (-each.similarity, each.subject, each.template_id)
        for each in found
        if each.expires_at is None or each.expires_at > now
    )
    candidates: dict[str, Candidate] = {}
    for negated, subject, template_id in ordered:
        candidates.setdefault(subject, Candidate(subject, template_id, -negated))
    return list(candidates.values())


def _compared(rows: Sequence[Any], vault: Vault, vector: NDArray[np.float32]) -> list[Found]:
    if not rows:
        return []
    held = np.stack(
        [
            vector_of(vault.cipher(Wrapped(*key) if key else None), blob, image, made_by)
            for _, _, _, image, made_by, blob, *key in rows
        ]
    )
    scores = np.clip(held @ vector, -1.0, 1.0).tolist()
    return [
        Found(subject, template_id, expires_at, score)
        for (subject, template_id, expires_at, *_), score in zip(rows, scores, strict=True)
    ]
