"""Overwrite what lies in the pages of a SQLite file and belongs to no row any more.

With `secure_delete` SQLite overwrites a row where it lies when it is deleted. But it also moves
rows from page to page, as they fill and empty, and the copies left behind are overwritten only
by chance: they lie in the unallocated space between the pointers to a page's cells and the cells.
(https://www.sqlite.org/fileformat2.html, sections 1.3 and 1.6.)
"""

import os
from collections.abc import Iterable
from typing import Final

# The kinds of page that hold cells, and how long their heads are.
_HEADS: Final = {2: 12, 5: 12, 10: 8, 13: 8}
_FILE_HEAD_BYTES: Final = 100
# Other kinds begin with the number of a page: in a larger file that could be one of the above.
_MOST_PAGES: Final = 1 << 25
# Not zero in a file made with auto_vacuum, whose pages of pointers could be taken for others.
_VACUUMED: Final = slice(52, 56)


def overwrite_gaps(descriptor: int, pages: Iterable[int] | None) -> None:
    """Write zeros into the unallocated space of some pages, or of all, and on the disk.

    The log has to be empty, and stay so meanwhile; who reads never looks there. Raises OSError.
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
    """Return how large the pages of a database are by its first bytes; 0 for an empty one."""
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
    # A damaged head could call rows a gap.
    if not begin <= content <= size or any(at < content for at in cells_at):
        return
    gap = page[begin:content]
    if any(gap):
        os.pwrite(descriptor, bytes(len(gap)), start + begin)
