"""Plan the number of machines from measured rates: the tables of `deploy/capacity.md`.

`python -m tests.tools.bench.plan --verify-per-s 120` prints them with your own figures.
"""

import argparse
import math
from dataclasses import dataclass, fields, replace

from tests.tools.bench.machine import markdown

REQUESTS_PER_S = 1000
IDENTITIES = (1_000_000, 10_000_000, 100_000_000)


@dataclass(frozen=True, slots=True)
class Rates:
    """Hold rates measured on two shared cores of an AMD EPYC with AVX2, and two assumptions.

    `make bench` and `python -m tests.tools.bench.gallery` measured them, with photos of 640 x 480
    pixels, the bundle `dlib`, OpenVINO in float32, and PostgreSQL 18 with a million templates. The
    assumptions are `per_identity` (templates) and `busy` (share of time).
    """

    cores: int = 2
    verify_per_s: float = 58.9
    decode_per_core_s: float = 75.0
    forward_per_s: float = 161.0
    replica_mb: float = 604.0
    searches_per_s: float = 132.0
    search_slower_by_tenfold: float = 2.1
    reads_per_s: float = 3207.0
    row_bytes: float = 1627.0
    index_bytes: float = 683.0
    index_s_by_million: float = 1426.0
    per_identity: float = 2.0
    busy: float = 0.6


def tables(rates: Rates | None = None) -> str:
    """Return the tables of machines for 1,000 requests a second, and of galleries by size."""
    rates = rates or Rates()
    return f"{_requests(rates)}\n\n{_galleries(rates)}"


def _requests(rates: Rates) -> str:
    photos = REQUESTS_PER_S / rates.busy
    replicas = math.ceil(photos / rates.verify_per_s)
    decoding = photos / rates.decode_per_core_s
    encoding = photos / rates.forward_per_s * rates.cores
    reads = 3 * photos / rates.reads_per_s * rates.cores
    rows = (
        (f"replicas of {rates.cores} cores", f"{replicas}"),
        ("their cores", f"{replicas * rates.cores}"),
        ("of these for decoding, detecting and aligning", f"{decoding:.0f}"),
        ("of these for the encoder, which a GPU would take", f"{encoding:.0f}"),
        ("their memory", f"{replicas * rates.replica_mb / 1000:.0f} GB"),
        ("cores of the database, three reads a request, one for its key", f"{reads:.0f}"),
        ("connections to the database, 9 a replica", f"{9 * replicas}"),
    )
    title = f"`/verify`, {REQUESTS_PER_S:,} a second, {rates.busy:.0%} busy"
    return markdown(title, ("what", "how much"), rows)


def _galleries(rates: Rates) -> str:
    head = (
        "identities", "templates", "database", "of it index", "index built in, 2 cores",
        "cores for 1,000 searches/s", "strangers' false candidates at FMR 1e-4",
        "FMR for one search in 100",
    )  # fmt: skip
    rows = []
    for identities in IDENTITIES:
        templates = identities * rates.per_identity
        tenfolds = max(0.0, math.log10(templates / 1e6))
        slower = rates.search_slower_by_tenfold**tenfolds
        searches = REQUESTS_PER_S / rates.busy / rates.searches_per_s * rates.cores * slower
        rows.append(
            (
                f"{identities:,}",
                f"{templates:,.0f}",
                f"{templates * (rates.row_bytes + rates.index_bytes) / 1e9:,.0f} GB",
                f"{templates * rates.index_bytes / 1e9:,.0f} GB",
                f"{templates / 1e6 * rates.index_s_by_million / 3600:,.0f} h",
                f"{searches:.0f}",
                f"{templates * 1e-4:,.0f}",
                f"{0.01 / templates:.0e}",
            )
        )
    return markdown("`/identify`, by gallery", head, rows)


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    for field in fields(Rates):
        parser.add_argument(f"--{field.name.replace('_', '-')}", type=float)
    given = {name: value for name, value in vars(parser.parse_args()).items() if value is not None}
    print(tables(replace(Rates(), **given)))


if __name__ == "__main__":
    main()
