"""On what ground a subject is stored and what for: asked for where a deployment says so."""

from service.errors import FieldError, InvalidRequest
from service.schemas.requests import EnrollRequest
from service.store import Terms


def terms_of(form: EnrollRequest, *, required: bool) -> Terms | None:
    """Return what was said of it, None if nothing was. Raises InvalidRequest if it has to be."""
    if form.consent is not None and form.purpose is not None:
        return Terms(form.consent, form.purpose)
    without_terms(required=required)
    return None


def without_terms(*, required: bool) -> None:
    """Raise InvalidRequest where nobody is enrolled without them."""
    if required:
        message = "Needed here, with each enrolment."
        raise InvalidRequest(
            "Nobody is enrolled here without consent and purpose.",
            [FieldError(name, message) for name in ("consent", "purpose")],
        )
