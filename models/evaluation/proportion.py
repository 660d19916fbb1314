"""How far a share that was counted can be trusted."""

import math

from models.decision import Rate

_Z = 1.959964
"""Of a normal distribution, 95 % lies within so many standard deviations."""


def proportion(hits: int, trials: int) -> Rate:
    """Return a share with its 95 % interval, for trials that are independent (Wilson 1927)."""
    share, spread = hits / trials, _Z**2 / trials
    middle = share + spread / 2
    reach = math.sqrt(spread * (share * (1 - share) + spread / 4))
    low, high = ((middle + side) / (1 + spread) for side in (-reach, reach))
    return Rate(share, max(0.0, low), min(1.0, high))
