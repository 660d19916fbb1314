"""Measure the pipeline and the service on this machine: `python -m tests.tools.bench`.

Every figure is the median of several rounds. Figures that are compared come from one run.
"""

import tempfile
from pathlib import Path

from tests.tools.bench import encoders, footprint, http, stages
from tests.tools.bench.machine import describe_machine


def main() -> None:
    """Print all tables."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        print(describe_machine())
        print(f"\n{stages.table()}", flush=True)
        print(f"\n{encoders.table()}", flush=True)
        print(f"\n{http.tables(folder)}", flush=True)
        print(f"\n{footprint.table(folder, 1000)}")


if __name__ == "__main__":
    main()
