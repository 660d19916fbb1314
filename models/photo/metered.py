"""Bytes that may be read so often and no more: a file must not cost more than it is."""

from io import BytesIO

from models.errors import UndecodableImage

# Pillow finds its way through a file in Python, a few small reads for each part. A real file
# has some hundred parts; one made of nothing else has millions, and takes minutes.
_READ_COSTS_BYTES = 200
_FREE_BYTES = 8 * 2**20
_TIMES = 2


class Metered(BytesIO):
    """Hold a file; `read` raises UndecodableImage after several times its size."""

    def __init__(self, data: bytes) -> None:
        super().__init__(data)
        self._left = _FREE_BYTES + _TIMES * len(data)

    def read(self, size: int | None = -1, /) -> bytes:
        """Read as any file does."""
        data = super().read(size)
        self._left -= len(data) + _READ_COSTS_BYTES
        if self._left < 0:
            raise UndecodableImage("The file makes its reader go over it again and again.")
        return data
