"""Which of an app's routes a request leads to."""

from typing import Final

from starlette.routing import Match
from starlette.types import Scope

_METHODS: Final = ("GET", "POST", "PUT", "PATCH", "DELETE")


def hides_a_slash(scope: Scope) -> bool:
    """Tell whether a path has an encoded slash, which routing would take for one between parts."""
    return b"%2f" in (scope.get("raw_path") or b"").lower()


def has_route(scope: Scope) -> bool:
    """Tell whether there is something at the path of a request that takes its method."""
    routes = scope["app"].routes
    return not hides_a_slash(scope) and any(
        route.matches(scope)[0] is Match.FULL for route in routes
    )


def methods_at(scope: Scope) -> list[str]:
    """Return the methods that the path of a request takes, none if there is nothing at it."""
    methods = [method for method in _METHODS if has_route({**scope, "method": method})]
    return ["HEAD", *methods] if "GET" in methods else methods
