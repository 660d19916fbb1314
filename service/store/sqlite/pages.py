"""Overwrite the remains of deleted rows in the pages of a SQLite file.

With `secure_delete` SQLite overwrites a row in its page when it is deleted. But SQLite also moves
rows between pages, and the copies in the old pages are overwritten only by chance: they are in the
unallocated space between a page's cell pointers and its cells.
(https://www.sqlite.org/fileformat2.html, sections 1.3 and 1.6.)
"""

import os
from collections.abc import Iterable
from typing import Final

# The types of page that hold cells, and the length of their headers.
_HEADS: Final = {2: 12, 5: 12, 10: 8, 13: 8}
_FILE_HEAD_BYTES: Final = 100
# Other pages begin with a page number, which in a larger file could look like one of these types.
_MOST_PAGES: Final = 1 << 25
# Not zero in a file with auto_vacuum, whose pointer pages could look like other pages.
_VACUUMED: Final = slice(52, 56)


def overwrite_gaps(descriptor: int, pages: Iterable[int] | None) -> None:
    """Write zeros to the unallocated space of some pages, or of all, and sync the file.

    The write-ahead log must be empty and stay empty meanwhile. Readers never look at this space.
    Raises OSError.
    """
    head = os.pread(descriptor, _FILE_HEAD_BYTES, 0)
    size = page_bytes(head)
    count = os.fstat(descriptor).st_size // size if size else 0
    if count >= _MOST_PAGES or any(head[_VACUUMED]):
        return
    for number in range(1, count + 1) if pages is None else pages:
        if number <= count:
            _overwrite_gap(descriptor, number, size)
    os.fsync(descriptor)


def page_bytes(head: bytes) -> int:
    """Return the page size of a database from its first bytes; 0 for an empty file."""
    size = int.from_bytes(head[16:18], "big")
    return 1 << 16 if size == 1 else size


def _overwrite_gap(descriptor: int, number: int, size: int) -> None:
    start = (number - 1) * size
    page = os.pread(descriptor, size, start)
    head = _FILE_HEAD_BYTES if number == 1 else 0
    if page[head] not in _HEADS:
        return
    cells = int.from_bytes(page[head + 3 : head + 5], "big")
    content = int.from_bytes(page[head + 5 : head + 7], "big") or 1 << 16
    begin = head + _HEADS[page[head]] + 2 * cells
    cells_at = (
        int.from_bytes(page[at : at + 2], "big") for at in range(begin - 2 * cells, begin, 2)
    )
    # A damaged header could include rows in the gap.
    if not begin <= content <= size or any(at < content for at in cells_at):
        return
    gap = page[begin:content]
    if any(gap):
        os.pwrite(descriptor, bytes(len(gap)), start + begin)
