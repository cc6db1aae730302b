"""Versions of tools, read leniently, and ranges of versions, read strictly (section 7)."""

import re
from dataclasses import dataclass

Version = tuple[int, int, int]

_LARGEST = 2**64 - 1
_EPOCH = re.compile(r"[0-9]*:")
_BEGINNING = re.compile(r"\A[A-Za-z]*[-_ ]?")
_NUMBERS = re.compile(r"([0-9]+)(?:\.([0-9]+))?(?:\.([0-9]+))?")


def read_version(text: str) -> Version | None:
    """The version that ``text`` names, if it names one."""
    text = text.strip()
    if epoch := _EPOCH.match(text):
        text = text[epoch.end() :]
    found = _NUMBERS.match(_BEGINNING.sub("", text, count=1))
    if not found:
        return None
    major, minor, patch = (_number(digits or "0") for digits in found.groups())
    if major is None or minor is None or patch is None:
        return None
    return major, minor, patch


def _number(digits: str) -> int | None:
    """The number, if it has 64 bits."""
    digits = digits.lstrip("0") or "0"
    # Python refuses to read very long numbers.
    number = int(digits) if len(digits) <= len(str(_LARGEST)) else _LARGEST + 1
    return number if number <= _LARGEST else None


MAX_COMPARATORS = 32

_WILD = ("*", "x", "X")

_NUMBER = r"(0|[1-9][0-9]*)"
_PART = r"(0|[1-9][0-9]*|[*xX])"
_BUILD = r"[0-9A-Za-z-]+(?:\.[0-9A-Za-z-]+)*"
_COMPARATOR = re.compile(
    rf" *(=|>=|>|<=|<|~|\^)? *{_NUMBER}(?:\.{_PART}(?:\.{_PART}(-{_BUILD})?(\+{_BUILD})?)?)? *"
)


@dataclass(frozen=True)
class Comparator:
    """An operator and a version of which the end may be left out."""

    operator: str
    """``=``, ``>``, ``>=``, ``<``, ``<=``, ``~`` or ``^``."""
    numbers: tuple[int, ...]
    is_prerelease: bool

    def has(self, version: Version) -> bool:
        """Whether ``version``, which is no pre-release, satisfies the comparator."""
        numbers = self.numbers
        beginning = version[: len(numbers)]
        # A release is larger than its pre-releases, and equal to none.
        same = beginning == numbers and not self.is_prerelease
        larger = beginning > numbers or (beginning == numbers and self.is_prerelease)
        match self.operator:
            case "=":
                return same
            case ">":
                return larger
            case ">=":
                return larger or same
            case "<":
                return not larger and not same
            case "<=":
                return not larger
            case "~":
                return (larger or same) and beginning[:2] == numbers[:2]
        return (larger or same) and version[: self._fixed()] == numbers[: self._fixed()]

    def _fixed(self) -> int:
        """How many numbers a caret keeps: up to the first that is not 0."""
        for index, number in enumerate(self.numbers):
            if number:
                return index + 1
        return len(self.numbers)


@dataclass(frozen=True)
class Range:
    """Comparators that must all be satisfied; none for ``*``."""

    comparators: tuple[Comparator, ...]

    def has(self, version: Version) -> bool:
        """Whether ``version`` is in the range."""
        return all(comparator.has(version) for comparator in self.comparators)


def read_range(text: str) -> Range | None:
    """The range that ``text`` is, as Cargo writes them, if it is one."""
    if text.strip(" ") in _WILD:
        return Range(())
    parts = text.split(",")
    if len(parts) > MAX_COMPARATORS:
        return None
    comparators = [_comparator(part) for part in parts]
    return None if None in comparators else Range(tuple(filter(None, comparators)))


def _comparator(text: str) -> Comparator | None:
    found = _COMPARATOR.fullmatch(text)
    if not found:
        return None
    operator, major, minor, patch, prerelease, build = found.groups()
    is_wild = [part in _WILD for part in (minor, patch)]
    if is_wild[0] and patch and not is_wild[1]:
        return None
    if (prerelease or build) and is_wild[1]:
        return None
    if prerelease and any(_has_leading_zero(it) for it in prerelease[1:].split(".")):
        return None
    stated = [part for part in (major, minor, patch) if part and part not in _WILD]
    numbers = tuple(number for part in stated if (number := _number(part)) is not None)
    if len(numbers) < len(stated):
        return None
    # Without an operator, a star keeps the numbers before it.
    default = "=" if any(is_wild) else "^"
    return Comparator(operator or default, numbers, prerelease is not None)


def _has_leading_zero(identifier: str) -> bool:
    return len(identifier) > 1 and identifier.isdigit() and identifier[0] == "0"
