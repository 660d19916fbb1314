"""What the routes of the store share: the store and the parameters of a page."""

from typing import Annotated

from fastapi import Depends, Query, Request

from service.store import Store


async def store_of(request: Request) -> Store:
    """Return the store of the app that serves this request.

    It is async, although it never waits, because FastAPI would run a plain function in a thread.
    """
    store: Store = request.app.state.store
    return store


StoreDep = Annotated[Store, Depends(store_of)]

_AFTER = "`next` of the previous page"
AfterNumber = Annotated[int, Query(ge=0, le=2**62, description=_AFTER)]
AfterName = Annotated[str | None, Query(max_length=256, description=_AFTER)]
PageLimit = Annotated[int, Query(ge=1, le=1000)]
