"""A secret rotation of vectors: it keeps the cosines and changes the coordinates.

The index of PostgreSQL must compare vectors, so it cannot hold encrypted vectors. It holds vectors
of equal length, rotated by an orthogonal matrix that only the services know. A copy of such a
table cannot be linked to faces, nor to a table of another database. This is not encryption: the
rows can still be compared with each other, and as many known pairs as there are dimensions reveal
the matrix.
"""

import math

import numpy as np
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from numpy.typing import NDArray

Turn = NDArray[np.float32]


def turn_of(seed: bytes, dimension: int) -> Turn:
    """Return the (d, d) float32 orthogonal matrix of a seed of 32 bytes.

    It is drawn uniformly: the QR decomposition of Gaussian numbers, with a positive diagonal of R
    (Mezzadri, How to Generate Random Matrices from the Classical Compact Groups, 2007). The
    numbers come from an AES-256-CTR key stream, so that the seed alone determines the matrix.
    """
    count = dimension * dimension
    pairs = math.ceil(count / 2)
    stream = Cipher(algorithms.AES(seed), modes.CTR(bytes(16))).encryptor()
    bits = np.frombuffer(stream.update(bytes(16 * pairs)), "<u8").astype(np.float64)
    # The Box-Muller transform; in (0, 1], because of the logarithm.
    first, second = (bits[:pairs] + 1) / 2.0**64, (bits[pairs:] + 1) / 2.0**64
    radius = np.sqrt(-2 * np.log(first))
    angles = 2 * np.pi * second
    normal = np.concatenate([radius * np.cos(angles), radius * np.sin(angles)])[:count]
    q, r = np.linalg.qr(normal.reshape(dimension, dimension))
    turned: Turn = (q * np.sign(np.diagonal(r))).astype(np.float32)
    return turned
