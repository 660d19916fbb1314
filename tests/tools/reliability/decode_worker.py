"""Decode bent images in a process of its own, which may die of it.

`python -m tests.tools.reliability.decode_worker SEED COUNT FILE SECONDS` writes each input to the
file before it is tried, so that whatever kills the process has left its cause there. It ends with 0
and one line of JSON; with 1 and the traceback if an input raised what it must not, the smallest
input of that kind then being the one in the file; or by a signal.
"""

import json
import resource
import signal
import sys
from collections import Counter
from pathlib import Path
from time import process_time

from hypothesis import HealthCheck, Phase, given, seed, settings

from models.errors import LikenessError
from models.photo.crop import crop_face
from models.photo.detectors import DetectorSource
from models.photo.face import Framing
from models.photo.image import decode
from tests.tools.reliability.mutations import bent
from tests.tools.reliability.samples import images

MEMORY_BYTES = 2 * 2**30
# Of the processor's time, so that a busy machine is no failure.
INPUT_S = 5.0
# What follows decoding takes ten times as long and sees pixels alone.
_PORTRAIT_EVERY = 10
_FRAMING = Framing(112, 0.0, "arcface")
# By which a format is recognised: without them nothing is tried.
_SIGNATURE_BYTES = 18


class Decoding:
    """Try inputs one after the other and remember what came of them."""

    def __init__(self, latest: Path, input_s: float) -> None:
        self._latest = latest
        self._input_s = input_s
        self._detector = DetectorSource("yunet").open()
        self.outcomes: Counter[str] = Counter()
        self.longest_s = 0.0

    def try_one(self, data: bytes) -> None:
        """Decode, or go all the way to the crop; raises whatever is not a typed problem."""
        self._latest.write_bytes(data)
        signal.setitimer(signal.ITIMER_PROF, self._input_s)
        started = process_time()
        self.outcomes[self._outcome(data)] += 1
        self.longest_s = max(self.longest_s, process_time() - started)
        signal.setitimer(signal.ITIMER_PROF, 0)

    def _outcome(self, data: bytes) -> str:
        try:
            if sum(self.outcomes.values()) % _PORTRAIT_EVERY:
                decode(data)
            else:
                crop_face(data, self._detector, "single", _FRAMING)
        except LikenessError as error:
            return error.code
        return "decoded"


def main(number: int, count: int, latest: Path, input_s: float) -> None:
    """Try inputs; see the module."""
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    decoding = Decoding(latest, input_s)

    @seed(number)
    @settings(
        max_examples=count,
        database=None,
        deadline=None,
        phases=[Phase.generate, Phase.shrink],
        suppress_health_check=list(HealthCheck),
    )
    @given(bent(images(), kept=_SIGNATURE_BYTES))
    def every_input_is_decoded_or_refused(data: bytes) -> None:
        decoding.try_one(data)

    every_input_is_decoded_or_refused()
    peak_kb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    found = {
        "outcomes": decoding.outcomes,
        "longest_s": decoding.longest_s,
        "peak_mb": peak_kb / 1024,
    }
    print(json.dumps(found))


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]), Path(sys.argv[3]), float(sys.argv[4]))
