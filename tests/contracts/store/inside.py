"""Read and change the database of a store from outside, as only a test may."""

import shutil
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import psycopg

_SQLITE = "sqlite:///"


def run(url: str, statement: str, *parameters: object) -> list[tuple[Any, ...]]:
    """Run a statement with `?` parameters in the database of a store, without its checks."""
    if url.startswith(_SQLITE):
        with closing(sqlite3.connect(url.removeprefix(_SQLITE))) as connection:
            connection.execute("PRAGMA ignore_check_constraints = ON")
            rows = connection.execute(statement, parameters).fetchall()
            connection.commit()
            return rows
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("SET search_path TO likeness, public")
        cursor = connection.execute(statement.replace("?", "%s").encode(), parameters, binary=True)
        return [] if cursor.description is None else cursor.fetchall()


def copy_of(url: str) -> str:
    """Copy the database of a closed store; return the URL of the copy."""
    if url.startswith(_SQLITE):
        shutil.copy(url.removeprefix(_SQLITE), f"{url.removeprefix(_SQLITE)}.copy")
        return f"{url}.copy"
    server, _, name = url.rpartition("/")
    with psycopg.connect(f"{server}/postgres", autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name}_copy TEMPLATE {name}".encode())
    return f"{url}_copy"


def everything(url: str) -> bytes:
    """Return all bytes of the files of a SQLite store, or all values of a PostgreSQL one."""
    if url.startswith(_SQLITE):
        path = Path(url.removeprefix(_SQLITE))
        return b"".join(file.read_bytes() for file in path.parent.glob(f"{path.name}*"))
    tables = run(url, "SELECT tablename FROM pg_tables WHERE schemaname = ?", "likeness")
    return b"\n".join(
        value if isinstance(value, bytes) else str(value).encode()
        for (table,) in tables
        for row in run(url, f"SELECT * FROM {table}")
        for value in row
    )
