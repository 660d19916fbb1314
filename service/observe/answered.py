"""What is told of a request once it is answered: to logs, metrics and traces alike."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Answered:
    """Hold what names nobody: no path, query, header or body.

    `route` is the template; `problem` the code of the problem that was answered, if it was one;
    `key` a digest of the id of the key: the id itself is half of what signs.
    """

    request_id: str
    method: str
    route: str
    status: int
    problem: str | None
    seconds: float
    key: str | None
