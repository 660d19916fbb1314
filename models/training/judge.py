"""Judge vectors of people that nothing was trained on."""

import numpy as np
from numpy.typing import NDArray

from models.evaluation.comparisons import compare, pair_places
from models.evaluation.rates import fnmr_at, threshold_at

_PAIRS = 1_000_000
# A rate that rests on fewer false matches says more about the draw than about the vectors.
_FALSE_MATCHES = 10


class Judge:
    """Measure TAR at the strictest of FMR 1e-1, 1e-2 and 1e-3 that the photos support."""

    def __init__(self, identities: NDArray[np.int64]) -> None:
        self._identities = identities
        self._pairs = pair_places(identities, _PAIRS)
        a, b = self._pairs
        impostors = int(np.sum(identities[a] != identities[b]))
        supported = [fmr for fmr in (1e-3, 1e-2) if fmr * impostors >= _FALSE_MATCHES]
        self.fmr = supported[0] if supported else 1e-1

    def __call__(self, vectors: NDArray[np.float32]) -> float:
        """Return the TAR of unit vectors `(n, d)`, one for each photo."""
        enrolled = np.ones(len(vectors), bool)
        compared = compare(vectors, self._identities, enrolled, *self._pairs)
        return 1 - fnmr_at(compared.genuine, threshold_at(compared.impostor, self.fmr))
