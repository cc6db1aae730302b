"""Shapes of payloads: small readers that check an item, and give it back.

A value of the wrong type breaks S3. A value of the right type outside its bounds breaks the rule
that has the bounds.
"""

import re
from collections.abc import Callable, Mapping
from typing import Any

from . import envelope
from .cbor import Item, is_unsigned
from .refusal import require

Shape = Callable[[Item, str], Any]
"""Takes an item and its name, for the reason of a refusal."""


def unsigned(bits: int = 64, least: int = 0, most: int | None = None, rule: str = "S3") -> Shape:
    """An unsigned number of ``bits`` bits; by ``rule`` from ``least`` to ``most``."""

    def check(item: Item, name: str) -> int:
        require(is_unsigned(item, bits), "S3", f"{name} is no number of {bits} bits")
        bounded = least <= item and (most is None or item <= most)
        require(bounded, rule, f"{name} is {item}")
        return item

    return check


def signed_32(item: Item, name: str) -> int:
    """A signed number of 32 bits."""
    is_number = isinstance(item, int) and not isinstance(item, bool)
    require(is_number and -(2**31) <= item < 2**31, "S3", f"{name} is no signed 32-bit number")
    return item


def boolean(item: Item, name: str) -> bool:
    """``true`` or ``false``."""
    require(isinstance(item, bool), "S3", f"{name} is no Boolean")
    return item


def any_text(item: Item, name: str) -> str:
    """A text that some rule of its own bounds."""
    require(isinstance(item, str), "S3", f"{name} is no text")
    return item


def text(most: int) -> Shape:
    """A text for people (S10) of at most ``most`` bytes."""

    def check(item: Item, name: str) -> str:
        text = any_text(item, name)
        sound = len(text.encode()) <= most and not has_control(text)
        require(sound, "S10", f"{name} has over {most} bytes or control characters")
        return text

    return check


def has_control(text: str) -> bool:
    """Whether a character is of the Unicode category Cc."""
    return any(ord(char) < 0x20 or 0x7F <= ord(char) < 0xA0 for char in text)


def word(pattern: str, rule: str) -> Shape:
    """A text that matches ``pattern``."""
    matcher = re.compile(pattern)

    def check(item: Item, name: str) -> str:
        text = any_text(item, name)
        require(matcher.fullmatch(text) is not None, rule, f"{name} is {text[:80]!r}")
        return text

    return check


def octets(length: int | None = None) -> Shape:
    """A byte string, of ``length`` bytes if given."""

    def check(item: Item, name: str) -> bytes:
        fits = isinstance(item, bytes) and length in (None, len(item))
        require(fits, "S3", f"{name} is no byte string of its length")
        return item

    return check


KEY = octets(32)
HASH = octets(32)


def statement(item: Item, name: str) -> envelope.Envelope:
    """The bytes of a statement, whose signature is looked at elsewhere."""
    return envelope.parse(octets()(item, name))


def array(of: Shape, least: int = 0, most: int | None = None, rule: str = "S3") -> Shape:
    """An array, by ``rule`` of ``least`` to ``most`` items."""

    def check(item: Item, name: str) -> list[Any]:
        require(isinstance(item, list), "S3", f"{name} is no array")
        bounded = least <= len(item) and (most is None or len(item) <= most)
        require(bounded, rule, f"{name} has {len(item)} items")
        return [of(inner, name) for inner in item]

    return check


def table(key: Shape, value: Shape, most: int, rule: str) -> Shape:
    """A map of alike entries, by ``rule`` at most ``most``."""

    def check(item: Item, name: str) -> dict[str, Any]:
        require(isinstance(item, dict), "S3", f"{name} is no map")
        require(len(item) <= most, rule, f"{name} has {len(item)} entries")
        return {key(it, f"a key of {name}"): value(item[it], f"{name}.{it}") for it in item}

    return check


def record(required: Mapping[str, Shape], optional: Mapping[str, Shape] | None = None) -> Shape:
    """A map with these keys; others are of later versions, and pass (S3)."""
    known = {**required, **(optional or {})}

    def check(item: Item, name: str) -> dict[str, Any]:
        require(isinstance(item, dict), "S3", f"{name} is no map")
        require(all(isinstance(it, str) for it in item), "S3", f"{name} has a key that is no text")
        missing = [it for it in required if it not in item]
        require(not missing, "S3", f"{name} has no {', '.join(missing)}")
        return {it: shape(item[it], f"{name}.{it}") for it, shape in known.items() if it in item}

    return check


def choice(words: tuple[str, ...], variants: Mapping[str, Shape] | None = None) -> Shape:
    """One of ``words``, or a map of one entry out of ``variants``."""
    variants = variants or {}

    def check(item: Item, name: str) -> Any:
        if isinstance(item, str):
            require(item in words, "S3", f"{name} is {item[:80]!r}")
            return item
        require(isinstance(item, dict) and len(item) == 1, "S3", f"{name} is none of its choices")
        ((word, value),) = item.items()
        require(word in variants, "S3", f"{name} is {word!r}")
        return {word: variants[word](value, f"{name}.{word}")}

    return check
