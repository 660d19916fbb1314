"""Find the route of a request."""

from typing import Final

from fastapi.routing import iter_route_contexts
from starlette.routing import BaseRoute, Match
from starlette.types import Scope

_METHODS: Final = ("GET", "POST", "PUT", "PATCH", "DELETE")


def hides_a_slash(scope: Scope) -> bool:
    """Tell whether a path has an encoded slash, which routing would take for a separator."""
    return b"%2f" in (scope.get("raw_path") or b"").lower()


def route_of(scope: Scope) -> BaseRoute | None:
    """Return the route that takes a request's path and method, None if there is none."""
    if hides_a_slash(scope):
        return None
    # An app lists an included router as one route; the contexts are the routes inside it.
    for context in iter_route_contexts(scope["app"].routes):
        match, _ = context.matches(scope)
        if match is Match.FULL:
            return context.original_route
    return None


def methods_at(scope: Scope) -> list[str]:
    """Return the methods that the path of a request takes."""
    methods = [method for method in _METHODS if route_of({**scope, "method": method}) is not None]
    return ["HEAD", *methods] if "GET" in methods else methods
