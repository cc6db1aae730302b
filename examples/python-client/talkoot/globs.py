"""Patterns of files, as S44 has them."""

import re


def compiled(pattern: str) -> re.Pattern[str]:
    """What matches the paths that ``pattern`` names. It has been checked by `jobs`."""
    return re.compile(_Translation(pattern).all())


class _Translation:
    """A pattern in the words of regular expressions."""

    def __init__(self, pattern: str) -> None:
        self.pattern = pattern
        self.at = 0
        self.braces = 0

    def all(self) -> str:
        out = ""
        while self.at < len(self.pattern):
            out += self._next()
        return out

    def _next(self) -> str:
        rest = self.pattern[self.at :]
        if self.at == 0 or self.pattern[self.at - 1] == "/":
            if rest == "**":
                return self._take(2, ".+")
            if rest.startswith("**/"):
                return self._take(3, "(?:[^/]+/)*")
        match rest[0]:
            case "*":
                return self._take(1, "[^/]*")
            case "?":
                return self._take(1, "[^/]")
            case "\\":
                return self._take(2, re.escape(rest[1]))
            case "[":
                return self._class(rest)
            case "{":
                self.braces += 1
                return self._take(1, "(?:")
            case "}":
                self.braces -= 1
                return self._take(1, ")")
            case "," if self.braces:
                return self._take(1, "|")
        return self._take(1, re.escape(rest[0]))

    def _class(self, rest: str) -> str:
        negated = rest[1] in "!^"
        first = 2 if negated else 1
        end = rest.index("]", first + 1)
        inside = re.sub(r"([\[\]\\^&|~])", r"\\\1", rest[first:end])
        return self._take(end + 1, f"(?!/)[{'^' if negated else ''}{inside}]")

    def _take(self, count: int, words: str) -> str:
        self.at += count
        return words
