"""What may be a name or an id: whatever the path of a URL can carry to the service, and no more."""

import re
from typing import Final

from pydantic_core import PydanticCustomError

_UNSEEN: Final = r"\x00-\x1f\x7f-\x9f"
# As OpenAPI says it: no slash, no control character, and not one or two dots alone.
PATTERN: Final = rf"^(\.{{0,2}}[^./{_UNSEEN}]|\.{{3}})[^/{_UNSEEN}]*$"


def check_name(name: str) -> str:
    """Return a name that can be stored, found and deleted by its URL.

    Raises PydanticCustomError, whose sentence says what is wrong with it.
    """
    if name in (".", ".."):
        raise PydanticCustomError(
            "name", "`.` and `..` are no names: what sends a URL reads them as folders"
        )
    if "/" in name:
        raise PydanticCustomError("name", "A name holds no `/`: it would end there in a URL")
    if re.search(f"[{_UNSEEN}]", name):
        raise PydanticCustomError("name", "A name holds no control characters")
    return name
