"""The writer commits waiting work together, and a failure affects only its own work."""

import sqlite3
from collections.abc import Iterator
from concurrent.futures import Future
from contextlib import closing
from threading import Event

import pytest

from service.errors import StoreUnavailable, TemplateIdTaken
from service.store.sqlite.index import VectorIndex
from service.store.sqlite.log import Log
from service.store.sqlite.writer import Work, Writer, WriteResult

Numbers = Future[int]


@pytest.fixture
def connection() -> Iterator[sqlite3.Connection]:
    connection = sqlite3.connect(":memory:", isolation_level=None, check_same_thread=False)
    with closing(connection):
        connection.execute("CREATE TABLE numbers (number INTEGER UNIQUE)")
        yield connection


@pytest.fixture
def writer(connection: sqlite3.Connection) -> Iterator[Writer]:
    writer = Writer(connection, VectorIndex(), None, Log(connection, None))
    yield writer
    writer.close()


def insert(number: int) -> Work[int]:
    def work(connection: sqlite3.Connection) -> WriteResult[int]:
        connection.execute("INSERT INTO numbers VALUES (?)", (number,))
        return WriteResult(number)

    return work


def insert_and_refuse(connection: sqlite3.Connection) -> WriteResult[int]:
    connection.execute("INSERT INTO numbers VALUES (1000)")
    raise TemplateIdTaken("taken")


def give_up_everything(connection: sqlite3.Connection) -> WriteResult[int]:
    """Fail as SQLite does on a full disk, with the whole transaction rolled back."""
    connection.execute("ROLLBACK")
    raise sqlite3.OperationalError("database or disk is full")


def submit_together(writer: Writer, works: list[Work[int]]) -> list[Numbers]:
    """Hold work behind a gate, so that all of it becomes one group."""
    begun, gate = Event(), Event()

    def hold(connection: sqlite3.Connection) -> WriteResult[None]:
        begun.set()
        gate.wait()
        return WriteResult(None)

    held = writer.submit(hold)
    begun.wait()
    futures = [writer.submit(work) for work in works]
    gate.set()
    held.result()
    return futures


def rows(connection: sqlite3.Connection) -> list[int]:
    found = connection.execute("SELECT number FROM numbers ORDER BY number").fetchall()
    return [number for (number,) in found]


def test_waiting_work_is_committed_together(connection: sqlite3.Connection, writer: Writer) -> None:
    said: list[str] = []
    connection.set_trace_callback(said.append)
    futures = submit_together(writer, [insert(number) for number in range(20)])
    assert [future.result() for future in futures] == list(range(20))
    assert said.count("COMMIT") == 2  # the gate's and the group's


def test_refused_work_harms_no_neighbour(connection: sqlite3.Connection, writer: Writer) -> None:
    futures = submit_together(writer, [insert(1), insert_and_refuse, insert(2)])
    with pytest.raises(TemplateIdTaken):
        futures[1].result()
    assert (futures[0].result(), futures[2].result()) == (1, 2)
    assert rows(connection) == [1, 2]


def test_failing_statement_harms_no_neighbour(
    connection: sqlite3.Connection, writer: Writer
) -> None:
    futures = submit_together(writer, [insert(1), insert(1), insert(2)])
    assert isinstance(futures[1].exception(), StoreUnavailable)
    assert (futures[0].result(), futures[2].result()) == (1, 2)


def test_work_too_much_for_the_disk_harms_no_neighbour(
    connection: sqlite3.Connection, writer: Writer
) -> None:
    futures = submit_together(writer, [insert(1), give_up_everything, insert(2)])
    with pytest.raises(StoreUnavailable, match="disk is full"):
        futures[1].result()
    assert (futures[0].result(), futures[2].result()) == (1, 2)
    assert rows(connection) == [1, 2]


def test_work_cancelled_while_waiting_is_not_done(
    connection: sqlite3.Connection, writer: Writer
) -> None:
    begun, gate = Event(), Event()

    def hold(connection: sqlite3.Connection) -> WriteResult[None]:
        begun.set()
        gate.wait()
        return WriteResult(None)

    held = writer.submit(hold)
    begun.wait()
    assert writer.submit(insert(1)).cancel()
    last = writer.submit(insert(2))
    gate.set()
    held.result()
    last.result()
    assert rows(connection) == [2]


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_no_request_waits_for_a_dead_thread(writer: Writer) -> None:
    def break_down(connection: sqlite3.Connection) -> WriteResult[int]:
        raise KeyError("a defect")

    futures = submit_together(writer, [insert(1), break_down, insert(2)])
    assert all(isinstance(future.exception(), StoreUnavailable) for future in futures)
    writer.close()
    assert isinstance(writer.submit(insert(3)).exception(), StoreUnavailable)
