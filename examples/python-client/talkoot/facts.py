"""Facts of machines (S20)."""

import re
from itertools import pairwise
from typing import Any, Literal

from . import shape
from .cbor import Item, is_unsigned
from .refusal import require

MAX_FACTS = 512
MAX_RUNTIMES = 16
MAX_SET = 256

Value = tuple[Literal["text", "number", "flag", "set", "later"], Any]
"""A fact's value under the name of its type, so that ``true`` is not 1. All of a later version are
``LATER``."""

LATER: Value = ("later", None)

FACT_NAME = r"[a-z0-9._+-]{1,64}"
_SET_WORD = re.compile(r"[a-z0-9._-]{1,32}")
_LONG_NUMBER = re.compile(r"[0-9]{16}")


def read_value(item: Item) -> Value:
    """Reads a value; what is of no known type is of a later version."""
    if isinstance(item, bool):
        return "flag", item
    if is_unsigned(item, 64):
        return "number", item
    if isinstance(item, str):
        return "text", item
    if isinstance(item, list) and _is_set(item):
        return "set", tuple(item)
    return LATER


def check_value(value: Value, rule: str, name: str) -> None:
    """Refuses a text outside its bounds. A set outside its bounds was not read as one."""
    kind, text = value
    if kind == "text":
        sound = len(text.encode()) <= 256 and not shape.has_control(text)
        require(sound, rule, f"{name} has over 256 bytes or control characters")


def _is_set(items: list[Item]) -> bool:
    words = all(isinstance(it, str) and _SET_WORD.fullmatch(it) for it in items)
    return words and len(items) <= MAX_SET and all(a < b for a, b in pairwise(items))


def _fact(item: Item, name: str) -> Value:
    value = read_value(item)
    check_value(value, "S20", name)
    return value


PLATFORM = shape.record(
    {
        "os": shape.word(r"[a-z0-9_]{1,32}", "S20"),
        "arch": shape.word(r"[a-z0-9_]{1,32}", "S20"),
    }
)

RESOURCES = shape.record(
    {"cores": shape.unsigned(32), "memory": shape.unsigned(), "disk": shape.unsigned()}
)


RUNTIME = shape.word(r"[a-z0-9_-]{1,32}", "S20")

NAME = shape.word(FACT_NAME, "S20")


def _strength(item: Item, name: str) -> str:
    text = shape.any_text(item, name)
    sound = len(text.encode()) <= 64 and not shape.has_control(text)
    require(sound, "S20", f"{name} has over 64 bytes or control characters")
    return text


_FACTS = shape.table(NAME, _fact, MAX_FACTS, "S20")


def _facts(item: Item, name: str) -> dict[str, Value]:
    facts = _FACTS(item, name)
    for fact, (kind, text) in facts.items():
        if kind == "text" and fact.startswith(("tool.", "library.")):
            require(not _LONG_NUMBER.search(text), "S20", f"{name}.{fact} has a number too long")
    return facts


_INSIDE = shape.record(
    {},
    {
        "strength": _strength,
        "facts": _facts,
    },
)

CAPABILITIES = shape.record(
    {"platform": PLATFORM, "resources": RESOURCES},
    {"runtimes": shape.table(RUNTIME, _INSIDE, MAX_RUNTIMES, "S20")},
)
