"""Deterministic CBOR in the subset of rule S2: one value, one encoding.

Reading is done here, because libraries are lenient: they take several encodings of one value, make
objects of tags, and put the keys ``1`` and ``true`` into one entry. Writing is cbor2's.
"""

from dataclasses import dataclass
from typing import Any

import cbor2

from .refusal import Refused, require

MAX_DEPTH = 16

Item = Any
"""``int``, ``bytes``, ``str``, ``bool``, ``list`` of items, or ``dict`` of items by `Key`."""


@dataclass(frozen=True)
class OtherKey:
    """A map's key that is no text, integer or byte string. No shape has one; some map may."""

    encoding: bytes


Key = str | int | bytes | OtherKey


def is_unsigned(item: Item, bits: int) -> bool:
    """Whether ``item`` is an unsigned number of ``bits`` bits; unlike in Python, ``True`` is none."""
    return isinstance(item, int) and not isinstance(item, bool) and 0 <= item < 2**bits


def encode(value: Item) -> bytes:
    """The one encoding of ``value``, with the keys of every map in bytewise order."""
    return cbor2.dumps(_ordered(value))


def _ordered(value: Item) -> Item:
    if isinstance(value, dict):
        keys = sorted(value, key=cbor2.dumps)
        return {key: _ordered(value[key]) for key in keys}
    if isinstance(value, (list, tuple)):
        return [_ordered(item) for item in value]
    return value


def decode(data: bytes) -> Item:
    """The value whose one encoding ``data`` is; S2 if it is not."""
    reader = _Reader(data)
    value = reader.item(MAX_DEPTH)
    require(reader.at == len(data), "S2", "bytes after the item")
    return value


class _Reader:
    UNSIGNED, NEGATIVE, BYTES, TEXT, ARRAY, MAP, TAG, SIMPLE = range(8)

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.at = 0

    def item(self, depth: int) -> Item:
        """Reads one item, in which arrays and maps may nest ``depth`` deep."""
        initial = self._take(1)[0]
        major, info = initial >> 5, initial & 31
        if major == self.SIMPLE:
            require(info in (20, 21), "S2", "a float, null or other simple value")
            return info == 21
        require(major != self.TAG, "S2", "a tag")
        argument = self._argument(info)
        if major == self.UNSIGNED:
            return argument
        if major == self.NEGATIVE:
            require(argument < 2**63, "S2", "an integer below -2^63")
            return -1 - argument
        if major == self.BYTES:
            return self._take(argument)
        if major == self.TEXT:
            return self._text(argument)
        require(depth > 0, "S2", f"nested over {MAX_DEPTH} deep")
        if major == self.ARRAY:
            # Not a comprehension over a range: the length is not to be trusted with memory.
            items: list[Item] = []
            while len(items) < argument:
                items.append(self.item(depth - 1))
            return items
        return self._map(argument, depth - 1)

    def _map(self, length: int, depth: int) -> dict[Key, Item]:
        entries: dict[Key, Item] = {}
        before = b""
        while len(entries) < length:
            start = self.at
            key = self.item(depth)
            encoding = self.data[start : self.at]
            require(before < encoding, "S2", "keys repeated or in another order")
            before = encoding
            plain = isinstance(key, (str, int, bytes)) and not isinstance(key, bool)
            entries[key if plain else OtherKey(encoding)] = self.item(depth)
        return entries

    def _argument(self, info: int) -> int:
        if info < 24:
            return info
        require(info < 28, "S2", "an indefinite or reserved length")
        size = 1 << (info - 24)
        argument = int.from_bytes(self._take(size))
        least = 24 if size == 1 else 1 << (4 * size)
        require(argument >= least, "S2", "a number in more bytes than it needs")
        return argument

    def _text(self, length: int) -> str:
        try:
            return self._take(length).decode("utf-8")
        except UnicodeDecodeError as error:
            raise Refused("S2", "a text that is not UTF-8") from error

    def _take(self, count: int) -> bytes:
        require(count <= len(self.data) - self.at, "S2", "an item that is cut off")
        taken = self.data[self.at : self.at + count]
        self.at += count
        return taken
