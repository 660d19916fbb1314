"""Try to break the service, part by part, and print the results: `make reliability`.

`--only storm faults` runs some parts, `--scale 0.1` a tenth of each. With `--out PAGE` each table
is also written between its marks in a page that has them. Exits with 1 if any result is wrong.
"""

import argparse
import os
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from importlib import import_module
from pathlib import Path
from time import perf_counter

from tests.docs import put
from tests.tools.bench.machine import describe_machine, markdown
from tests.tools.reliability.row import Row

PARTS = {
    "contract": "The contract of the OpenAPI document",
    "fuzz": "Mutated images and requests",
    "memory": "Memory per request",
    "folders": "Hostile folders, lists and names",
    "damage": "Damaged rows and pages",
    "storm": "Killed during writes",
    "faults": "Failures of store, clock and model",
    "unread": "Answers that are not read",
    "rolling": "Restarted under load",
    "soak": "Half an hour of traffic",
}
HEAD = ("test", "amount", "result", "required", "")


def main() -> None:
    """Run the parts and print their tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", nargs="+", choices=PARTS, default=list(PARTS), metavar="PART")
    parser.add_argument("--scale", type=float, default=1.0)
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    # The same as in the tests: no downloads, and no threads that compete for a core.
    os.environ["HF_HUB_OFFLINE"] = "1"
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    machine = describe_machine()
    print(machine, flush=True)
    as_wanted = True
    for part in arguments.only:
        began = perf_counter()
        # Each part is imported when it runs, because servers are forked from this process.
        rows: Sequence[Row] = import_module(f"tests.tools.reliability.{part}").rows(arguments.scale)
        table = _table(part, rows)
        print(f"\n{table}", flush=True)
        as_wanted &= all(row.ok for row in rows)
        if arguments.out is not None:
            took = f"took      {(perf_counter() - began) / 60:.0f} min, {datetime.now(UTC):%F}"
            section = f"{table}\n\n```\n{machine}\n{took}\n```"
            arguments.out.write_text(put(arguments.out.read_text(), part, section))
    sys.exit(not as_wanted)


def _table(part: str, rows: Sequence[Row]) -> str:
    cells = [(r.what, r.amount, r.figure, r.target, "ok" if r.ok else "**not ok**") for r in rows]
    return markdown(PARTS[part], HEAD, cells)


if __name__ == "__main__":
    main()
