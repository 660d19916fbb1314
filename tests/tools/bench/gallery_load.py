"""Load a large gallery directly into the tables of a store, within minutes."""

import asyncio
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter

import psycopg
from pgvector import HalfVector, Vector
from pgvector.psycopg import register_vector

from models.cohort import NO_COHORT
from service.store import open_store
from service.store.postgres.spaces import HNSW
from tests.postgres import Cluster
from tests.tools.bench.crowd import DIMENSION, Crowd

FINGERPRINT = "f" * 64
_AT = "2026-01-01T00:00:00.000000+00:00"
_INDEX = "search_1_vector_idx"


@dataclass(frozen=True, slots=True)
class LoadedGallery:
    """Hold the URL of a gallery and the times to load it; `index_mb` is None for SQLite."""

    url: str
    rows_s: float
    index_s: float
    index_mb: float | None
    database_mb: float


def sqlite(path: Path, people: Crowd) -> LoadedGallery:
    """Fill a SQLite file; the store builds its index in memory when it is opened."""
    url = f"sqlite:///{path}"
    _create(url)
    began = perf_counter()
    with closing(sqlite3.connect(path)) as connection:
        connection.executemany(
            "INSERT INTO subjects (subject, created_at, metadata) VALUES (?, ?, x'7b7d')",
            _subjects(people),
        )
        connection.executemany(
            """INSERT INTO templates (template_id, subject, fingerprint, image_sha256, created_at,
            quality, vector) VALUES (?, ?, ?, ?, ?, '{}', ?)""",
            ((*row, people.gallery[n].tobytes()) for n, row in enumerate(_templates(people))),
        )
        connection.commit()
    took = perf_counter() - began
    return LoadedGallery(url, took, 0.0, None, path.stat().st_size / 1e6)


def postgres(cluster: Cluster, people: Crowd) -> LoadedGallery:
    """Fill a PostgreSQL database, then build the index on all allowed cores."""
    url = cluster.new_database()
    _create(url)
    with psycopg.connect(url, autocommit=True) as connection:
        register_vector(connection)
        connection.execute(
            "INSERT INTO likeness.spaces (fingerprint, vector_dimension) VALUES (%s, %s)",
            [FINGERPRINT, DIMENSION],
        )
        connection.execute(
            f"""CREATE TABLE likeness.search_1 (
                number bigint PRIMARY KEY,
                vector halfvec({DIMENSION + 1}) NOT NULL
            )"""
        )
        began = perf_counter()
        _copy(connection, people)
        loaded = perf_counter()
        connection.execute(f"CREATE INDEX {_INDEX} ON likeness.search_1 {HNSW}")
        built = perf_counter()
        connection.execute("VACUUM ANALYZE")
        sizes = (
            f"SELECT pg_relation_size('likeness.{_INDEX}'), pg_database_size(current_database())"
        )
        ((index, database),) = connection.execute(sizes).fetchall()
    return LoadedGallery(url, loaded - began, built - loaded, index / 1e6, database / 1e6)


def _copy(connection: psycopg.Connection, people: Crowd) -> None:
    with (
        connection.cursor() as cursor,
        cursor.copy("COPY likeness.subjects (subject, created_at, metadata) FROM STDIN") as copy,
    ):
        for subject, at in _subjects(people):
            copy.write_row((subject, at, b"{}"))
    with (
        connection.cursor() as cursor,
        cursor.copy(
            """COPY likeness.templates (template_id, subject, fingerprint, image_sha256,
            created_at, quality, vector) FROM STDIN"""
        ) as copy,
    ):
        for number, row in enumerate(_templates(people)):
            copy.write_row((*row, "{}", Vector(people.gallery[number]).to_binary()))
    with connection.cursor() as cursor, cursor.copy("COPY likeness.search_1 FROM STDIN") as copy:
        # Rows are numbered in order, from 1.
        for number, row in enumerate(NO_COHORT.index_rows(people.gallery), 1):
            copy.write_row((number, HalfVector(row)))


def _create(url: str) -> None:
    """Let the store create its tables."""

    async def open_and_close() -> None:
        await (await open_store(url)).close()

    asyncio.run(open_and_close())


def _subjects(people: Crowd) -> Iterator[tuple[str, str]]:
    rows = range(0, len(people.gallery), people.per_person)
    return ((people.subject_of(row), _AT) for row in rows)


def _templates(people: Crowd) -> Iterator[tuple[str, str, str, str, str]]:
    """Yield template_id, subject, fingerprint, image_sha256 and created_at of each row."""
    for row in range(len(people.gallery)):
        yield f"t{row}", people.subject_of(row), FINGERPRINT, f"{row:064x}", _AT
