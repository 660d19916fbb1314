import pytest

from models.errors import UndecodableImage
from models.photo.integrity import MeteredFile


def test_a_file_may_be_read_a_few_times_over() -> None:
    stream = MeteredFile(b"x" * 1000)
    for _ in range(3):
        stream.seek(0)
        assert stream.read() == b"x" * 1000


def test_a_large_file_may_not_be_read_any_number_of_times() -> None:
    stream = MeteredFile(bytes(2**24))

    def again() -> None:
        for _ in range(7):
            stream.seek(0)
            stream.read()

    with pytest.raises(UndecodableImage, match="again and again"):
        again()


def test_reads_of_nothing_count_as_well() -> None:
    stream = MeteredFile(b"")

    def forever() -> None:
        while True:
            stream.read(1)

    with pytest.raises(UndecodableImage):
        forever()
