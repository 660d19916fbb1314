"""The backups that the docs tell to make open nobody who was erased since."""

import re
import shlex
import sqlite3
import subprocess
from contextlib import closing
from pathlib import Path

import pytest

from service.errors import StoreUnavailable
from service.store import Store, Vault, open_store
from tests.contracts.store.samples import MASTER, names_found, template
from tests.docs import PROTECTION
from tests.postgres import BIN, Cluster


async def enrol_and_close(url: str) -> None:
    store = await open_store(url, vault=Vault([MASTER]))
    for name in ("ada", "eve"):
        await store.enroll(name, [template(name)])
    await store.close()


async def erase_and_close(url: str) -> None:
    store = await open_store(url, vault=Vault([MASTER]))
    await store.delete_subject("eve")
    await store.close()


async def assert_only_ada(store: Store) -> None:
    assert [item.subject for item in (await store.subjects(None, 9)).items] == ["ada"]
    assert await names_found(store, "eve") == ["ada"]
    await store.close()


def commands(program: str) -> list[str]:
    """Return the page's lines that begin with a program's name."""
    section = PROTECTION.read_text().partition("## Template protection")[2].partition("\n## ")[0]
    return re.findall(rf"^{program} .*$", section, re.MULTILINE)


def run_line(line: str, folder: Path, url: str) -> None:
    """Run a line of the page with this server's tools, on this database."""
    line = line.replace("-d likeness", f"-d {url}").replace(" likeness >", f" {url} >")
    program, _, rest = line.partition(" ")
    subprocess.run(f"{shlex.quote(str(BIN / program))} {rest}", shell=True, cwd=folder, check=True)


async def test_backup_of_postgres_without_keys_needs_those_of_today(
    cluster: Cluster, tmp_path: Path
) -> None:
    url, fresh = cluster.new_database(), cluster.new_database()
    await enrol_and_close(url)
    gallery, keys = commands("pg_dump")
    run_line(gallery, tmp_path, url)
    await erase_and_close(url)
    run_line(keys, tmp_path, url)
    restores = commands("pg_restore")
    assert len(restores) == 3
    for line in restores:
        run_line(line, tmp_path, fresh)
    await assert_only_ada(await open_store(fresh, vault=Vault([MASTER])))


async def test_backup_of_sqlite_without_keys_needs_those_of_today(tmp_path: Path) -> None:
    live, backup = tmp_path / "likeness.db", tmp_path / "gallery.db"
    await enrol_and_close(f"sqlite:///{live}")
    make, drop, fill = (shlex.split(line)[2] for line in commands("sqlite3"))
    with closing(sqlite3.connect(live)) as connection:
        connection.executescript(make.replace("gallery.db", str(backup)))
    with closing(sqlite3.connect(backup)) as connection:
        connection.executescript(drop)
    with pytest.raises(StoreUnavailable, match="2 subjects without their keys"):
        await open_store(f"sqlite:///{backup}", vault=Vault([MASTER]))
    await erase_and_close(f"sqlite:///{live}")
    with closing(sqlite3.connect(backup)) as connection:
        connection.executescript(fill.replace("likeness.db", str(live)))
    await assert_only_ada(await open_store(f"sqlite:///{backup}", vault=Vault([MASTER])))
