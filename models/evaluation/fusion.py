"""Measure error rates by the number of probe photos and of templates."""

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from models.bundle import Bundle
from models.decision import FusionRates, OperatingPoint, Template, similarities

COUNTS = (1, 2, 3, 5)
# People with fewer photos are left out, so that all rows are of the same people.
FEWEST_PHOTOS = 2 * max(COUNTS)
# How many times probes and references are drawn for each person.
_DRAWS = 20
# With this many people the matrix of scores takes about 64 MB.
_MOST_PEOPLE = 200


def fusion_rates(
    templates: Sequence[Template | None],
    people: NDArray[np.int64],
    bundle: Bundle,
    points: Sequence[OperatingPoint],
    data: str,
    seed: int = 0,
) -> tuple[FusionRates, ...]:
    """Measure both rates at each point for 1, 2, 3 and 5 probe photos and templates.

    `templates` holds the template of each photo, or None for a photo without one. The result is
    empty if fewer than ten people have FEWEST_PHOTOS photos.
    """
    random = np.random.default_rng(seed)
    usable = np.array([each is not None for each in templates])
    photos = [np.flatnonzero((people == person) & usable) for person in np.unique(people)]
    photos = [places for places in photos if len(places) >= FEWEST_PHOTOS][:_MOST_PEOPLE]
    if len(photos) < 10:
        return ()
    owners = np.repeat(np.arange(len(photos)), _DRAWS)
    drawn = np.array([random.choice(photos[at], FEWEST_PHOTOS, replace=False) for at in owners])
    are_strangers = np.not_equal.outer(owners, owners)
    references = {count: list(_fused(templates, drawn[:, -count:], bundle)) for count in COUNTS}
    rows: list[FusionRates] = []
    for probes in COUNTS:
        probe_templates = list(_fused(templates, drawn[:, :probes], bundle))
        for count in COUNTS:
            scores = similarities(probe_templates, references[count])
            # Draws of one person overlap, but a probe and the reference of the same draw do not.
            genuine, impostor = scores.diagonal(), scores[are_strangers]
            rows += [
                FusionRates(
                    probes,
                    count,
                    point.name,
                    float(np.mean(impostor >= point.threshold)),
                    float(np.mean(genuine < point.threshold)),
                    len(genuine),
                    len(impostor),
                    data,
                )
                for point in points
            ]
    return tuple(rows)


def _fused(
    templates: Sequence[Template | None], places: NDArray[np.int64], bundle: Bundle
) -> Iterator[Template]:
    for row in places:
        chosen = (templates[at] for at in row)
        yield bundle.fuse([each for each in chosen if each is not None])
