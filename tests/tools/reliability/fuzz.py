"""Try 100,000 invalid inputs: images for the decoders, and requests for the server.

The same seed gives the same inputs; inputs that fail are left in `build/fuzz`.
`python -m tests.tools.reliability --only fuzz` runs this part alone.
"""

from pathlib import Path

from tests.tools.reliability.decoding import decode_row
from tests.tools.reliability.row import Row
from tests.tools.reliability.talking import talk_row

IMAGES, REQUESTS = 60_000, 40_000
FOLDER = Path("build/fuzz")


def rows(scale: float, seed: int = 0, folder: Path = FOLDER) -> list[Row]:
    """Try `scale` times 100,000 inputs."""
    return [
        decode_row(round(IMAGES * scale), seed, folder),
        talk_row(round(REQUESTS * scale), seed, folder),
    ]
