"""What is answered to a request that cannot be taken: a status and one line."""

from __future__ import annotations


class Refusal(Exception):  # noqa: N818 - it is an answer
    """Nothing of the request was stored; `line` says why."""

    def __init__(self, status: int, line: str) -> None:
        super().__init__(line)
        self.status = status
        self.line = line
