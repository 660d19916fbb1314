"""Decode mutated images in a separate process, which may crash.

`python -m tests.tools.reliability.decode_worker SEED COUNT FILE SECONDS` writes each input to the
file before it is decoded, so that the file holds the input that kills the process. It exits with 0
and one line of JSON. It exits with 1 and a traceback if an input raised an unexpected error; then
the file holds the smallest such input. Or a signal ends it.
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
# CPU time, so that a busy machine does not cause a failure.
INPUT_S = 5.0
# The steps after decoding take ten times as long and depend on the pixels alone.
_PORTRAIT_EVERY = 10
_FRAMING = Framing(112, 0.0, "arcface")
# The first bytes that identify a format: without them nothing is decoded.
_SIGNATURE_BYTES = 18


class Decoding:
    """Decode one input after the other, and count the results."""

    def __init__(self, latest: Path, input_s: float) -> None:
        self._latest = latest
        self._input_s = input_s
        self._detector = DetectorSource("yunet").open()
        self.outcomes: Counter[str] = Counter()
        self.longest_s = 0.0

    def try_one(self, data: bytes) -> None:
        """Decode an input, some of them up to the crop; raises unexpected errors."""
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
    """Read the command line and decode the inputs."""
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
