"""The version of a database: what it lacks of the schema of this release."""

from collections.abc import Mapping
from typing import TypeVar

from service.errors import StoreUnavailable

Step = TypeVar("Step")


def missing_steps(version: int, steps: Mapping[int, Step]) -> list[tuple[int, Step]]:
    """Return the steps that a database lacks, each with the version that it makes, in order.

    Raises StoreUnavailable if the database is newer than this release, or older than it upgrades.
    """
    oldest, newest = min(steps) - 1, max(steps)
    if version > newest:
        raise StoreUnavailable(
            f"The database has version {version}, and this release knows {newest} at most: a newer "
            "release wrote it. Start that release, or restore a backup."
        )
    if version < oldest:
        raise StoreUnavailable(
            f"The database has version {version}, and this release upgrades {oldest} or later: a "
            "much older release wrote it. Run `likeness keys list` of the commit 2ddb2ea of "
            "2026-11-29, with the same settings, which upgrades it. Then start this release."
        )
    return [(number, step) for number, step in sorted(steps.items()) if number > version]
