"""The tables of both engines, as statements name them; each engine's `schema` creates them.

Times are text in SQLite, lists are JSON there (see `SqliteSession`). Values that may be encrypted
are bytes.
"""

from typing import Any, Final

from sqlalchemy import (
    ARRAY,
    BigInteger,
    Boolean,
    Column,
    ColumnElement,
    DateTime,
    Float,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
    bindparam,
    cast,
    func,
)
from sqlalchemy.dialects.postgresql import Insert, insert

_TABLES = MetaData()
_MOMENT = DateTime(timezone=True)

subjects: Final = Table(
    "subjects",
    _TABLES,
    Column("subject", String, primary_key=True),
    Column("created_at", _MOMENT),
    Column("metadata", LargeBinary),
    Column("terms", LargeBinary),
    Column("collection", String),
    Column("key_id", String),
    Column("odd_name", Boolean),
)
templates: Final = Table(
    "templates",
    _TABLES,
    Column("number", BigInteger, primary_key=True),
    Column("template_id", String),
    Column("subject", String),
    Column("fingerprint", String),
    Column("image_sha256", String),
    Column("quality", String),
    Column("created_at", _MOMENT),
    Column("expires_at", _MOMENT),
    Column("vector", LargeBinary),
)
photos: Final = Table(
    "photos",
    _TABLES,
    Column("number", BigInteger, primary_key=True),
    Column("subject", String),
    Column("image_sha256", String),
    Column("photo", LargeBinary),
)
idempotency: Final = Table(
    "idempotency",
    _TABLES,
    Column("key", String, primary_key=True),
    Column("request_sha256", String),
    Column("outcome", String),
    Column("created_at", _MOMENT),
)
request_templates: Final = Table(
    "request_templates",
    _TABLES,
    Column("template_id", String, primary_key=True),
    Column("key", String, primary_key=True),
)
collections: Final = Table(
    "collections",
    _TABLES,
    Column("collection", String, primary_key=True),
    Column("created_at", _MOMENT),
)
counts: Final = Table(
    "counts",
    _TABLES,
    Column("collection", String),
    Column("subjects", BigInteger),
    Column("templates", BigInteger),
)
switched: Final = Table(
    "switched",
    _TABLES,
    Column("single", Boolean, primary_key=True),
    Column("fingerprint", String),
)
data_keys: Final = Table(
    "data_keys",
    _TABLES,
    Column("key_id", String, primary_key=True),
    Column("master", String),
    Column("wrapped", LargeBinary),
)
unbound: Final = Table("unbound", _TABLES, Column("key_id", String, primary_key=True))
keys: Final = Table(
    "keys",
    _TABLES,
    Column("number", BigInteger, primary_key=True),
    Column("key_id", String),
    Column("name", String),
    Column("scopes", ARRAY(String)),
    Column("salt", LargeBinary),
    Column("digest", LargeBinary),
    Column("per_s", Float),
    Column("at_once", Integer),
    Column("created_at", _MOMENT),
    Column("revoked_at", _MOMENT),
    Column("signing_key_id", String),
)
audit: Final = Table(
    "audit",
    _TABLES,
    Column("number", BigInteger, primary_key=True),
    Column("at", _MOMENT),
    Column("action", String),
    Column("subject_sha256", String),
    Column("key_id", String),
    Column("counts", String),
    Column("previous", String),
    Column("digest", String),
)


def insert_row(table: Table, *without: str) -> Insert:
    """Return the insertion of a row, with a parameter for each column but those `without`.

    SQLite's dialect compiles the clauses that PostgreSQL's insertion adds, such as ON CONFLICT.
    """
    names = [column.name for column in table.c if column.name not in without]
    return insert(table).values({name: bindparam(name) for name in names})


def total(column: ColumnElement[Any]) -> ColumnElement[int]:
    """Return the sum of a column of counts, 0 without rows."""
    return cast(func.coalesce(func.sum(column), 0), BigInteger)
