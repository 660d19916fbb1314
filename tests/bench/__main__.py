"""Measure the pipeline and the service on this machine: `python -m tests.bench`.

Every figure is the median of several rounds; what is compared is compared in one run.
"""

import asyncio
import tempfile
from pathlib import Path

from tests.bench import encoders, http, stages
from tests.bench.machine import describe_machine


def main() -> None:
    """Print the tables."""
    print(describe_machine())
    print()
    print(stages.table())
    print()
    print(encoders.table())
    print()
    with tempfile.TemporaryDirectory() as folder:
        print(asyncio.run(http.table(Path(folder) / "likeness.db")))


if __name__ == "__main__":
    main()
