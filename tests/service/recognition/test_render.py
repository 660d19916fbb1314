import pytest

from models.decision import Evidence, OperatingPoint, Rate
from service.recognition.render import evidence_answer, point_answer


@pytest.mark.parametrize(("own", "named"), [("", "a few"), ("many photos", "many photos")])
def test_the_evidence_of_a_kept_point_is_that_of_its_own_photos(own: str, named: str) -> None:
    rate = Rate(0.1, 0.1, 0.1)
    point = OperatingPoint("fmr_1e-3", 0.1, rate, rate, kept=bool(own), data=own)
    assert evidence_answer(Evidence("a few", (), 1), point).data == named
    assert evidence_answer(Evidence("a few", (), 1), None).data == "a few"
    assert point_answer(point).data == own
