"""A secret turn of the space of vectors: cosines stay what they are, coordinates do not.

The index of PostgreSQL has to compare vectors, so it cannot hold sealed ones. It holds them
turned by an orthogonal matrix that only the services know, and all of one length. Whoever copies
it, or two of them, cannot link its rows to faces or to those of another database. This is no
encryption: rows can still be compared with one another, and as many known pairs as there are
dimensions give the matrix away.
"""

import math

import numpy as np
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from numpy.typing import NDArray

Turn = NDArray[np.float32]


def turn_of(seed: bytes, dimension: int) -> Turn:
    """Return the (d, d) float32 orthogonal matrix of a seed of 32 bytes.

    Drawn uniformly: the QR decomposition of Gaussian numbers, with R's diagonal positive
    (Mezzadri, How to Generate Random Matrices from the Classical Compact Groups, 2007). The
    numbers are an AES-256-CTR key stream, so that the seed is all there is to know.
    """
    count = dimension * dimension
    pairs = math.ceil(count / 2)
    stream = Cipher(algorithms.AES(seed), modes.CTR(bytes(16))).encryptor()
    bits = np.frombuffer(stream.update(bytes(16 * pairs)), "<u8").astype(np.float64)
    # Box and Muller's; in (0, 1], as a logarithm is taken.
    first, second = (bits[:pairs] + 1) / 2.0**64, (bits[pairs:] + 1) / 2.0**64
    radius = np.sqrt(-2 * np.log(first))
    angles = 2 * np.pi * second
    normal = np.concatenate([radius * np.cos(angles), radius * np.sin(angles)])[:count]
    q, r = np.linalg.qr(normal.reshape(dimension, dimension))
    turned: Turn = (q * np.sign(np.diagonal(r))).astype(np.float32)
    return turned
