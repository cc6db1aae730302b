"""What a job needs of a machine, and what it would rather have (S43)."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from . import facts, shape, versions
from .cbor import Item, is_unsigned
from .facts import LATER, Value
from .refusal import Refused, require

MAX_CLAUSES = 64
MAX_NESTING = 4
MAX_ALTERNATIVES = 64
MAX_PREFERENCES = 16
MAX_WEIGHT = 1000

LOOKED_AT = 257
"""Items of a list that a reader looks at: one more than the longest that may be."""

_NAME = re.compile(facts.FACT_NAME)


@dataclass(frozen=True)
class Clause:
    """One requirement. Of a later version, all but its first word is forgotten."""

    kind: str
    fact: str = ""
    value: Any = None
    inner: tuple[Clause, ...] = ()
    understood: bool = True

    @property
    def is_clear(self) -> bool:
        """Whether this clause and all inside it are understood."""
        return self.understood and all(clause.is_clear for clause in self.inner)

    @property
    def count(self) -> int:
        """This clause and all inside it."""
        return 1 + sum(clause.count for clause in self.inner)

    def check(self, levels: int = MAX_NESTING) -> None:
        """Refuses what is outside its bounds. What is not understood has none."""
        require(levels > 0, "S43", f"clauses nested over {MAX_NESTING} deep")
        match self:
            case Clause(understood=False):
                return
            case Clause("one-of" | "includes"):
                count = len(self.value)
                require(1 <= count <= MAX_ALTERNATIVES, "S43", f"{count} values for {self.fact}")
            case Clause("all" | "any"):
                require(len(self.inner) > 0, "S43", "an empty group")
        for value in self._values():
            facts.check_value(value, "S43", f"a value for {self.fact}")
        for clause in self.inner:
            clause.check(levels - 1)

    def _values(self) -> tuple[Value, ...]:
        match self.kind:
            case "equals":
                return (self.value,)
            case "one-of":
                return self.value
        return ()


NETWORK_PROXY = Clause("equals", "network.proxy", ("flag", True))
"""What an offer requires whose job lists destinations (S99)."""

IMAGE_ENGINE = Clause("present", "image.engine")
"""What an offer requires whose image is one of a repository (S116)."""


@dataclass(frozen=True)
class Preference:
    """What a job would rather have."""

    kind: str
    weight: int = 0
    fact: str = ""
    scale: int = 1
    clause: Clause | None = None
    understood: bool = True

    def check(self) -> None:
        """Refuses what is outside its bounds."""
        if not self.understood:
            return
        if self.clause:
            self.clause.check()
        require(self.scale > 0, "S43", f"the preference for {self.fact} ends at 0")
        require(1 <= self.weight <= MAX_WEIGHT, "S43", f"a weight of {self.weight}")


@dataclass(frozen=True)
class Requirements:
    """Runtimes, clauses and preferences."""

    runtimes: tuple[str, ...]
    clauses: tuple[Clause, ...] = ()
    rank: tuple[Preference, ...] = ()


def read(item: Item, name: str = "requirements") -> Requirements:
    """Reads requirements, or refuses them."""
    entries = _SHAPE(item, name)
    clauses = tuple(read_clause(it) for it in entries.get("clauses", ()))
    rank = tuple(read_preference(it) for it in entries.get("rank", ()))
    preferred = [preference.clause for preference in rank if preference.clause]
    count = sum(clause.count for clause in (*clauses, *preferred))
    require(count <= MAX_CLAUSES, "S43", f"{count} clauses")
    for clause in clauses:
        clause.check()
    for preference in rank:
        preference.check()
    return Requirements(tuple(entries["runtimes"]), clauses, rank)


def _any(item: Item, _name: str) -> Item:
    return item


_SHAPE = shape.record(
    {"runtimes": shape.array(facts.RUNTIME, 1, facts.MAX_RUNTIMES, "S43")},
    {
        "clauses": shape.array(_any),
        "rank": shape.array(_any, 0, MAX_PREFERENCES, "S43"),
    },
)


class _NotUnderstood(Exception):
    """It is of a later version."""


def read_clause(item: Item) -> Clause:
    """Reads a clause; refuses what does not begin with a word."""
    clause = _clause(item)
    if clause is None:
        raise Refused("S43", "a clause that does not begin with its kind")
    return clause


def _clause(item: Item) -> Clause | None:
    """Reads a clause; ``None`` is what does not even begin with a word."""
    if not _begins_with_a_word(item):
        return None
    kind, *arguments = item[:LOOKED_AT]
    try:
        return _known_clause(kind, arguments)
    except _NotUnderstood:
        return Clause(kind, understood=False)


def _begins_with_a_word(item: Item) -> bool:
    return isinstance(item, list) and len(item) > 0 and isinstance(item[0], str)


def _known_clause(kind: str, arguments: list[Item]) -> Clause:
    match kind, arguments:
        case "all" | "any", [list(items)]:
            inner = [_inside(it) for it in items[:LOOKED_AT]]
            return Clause(kind, inner=tuple(inner))
        case "not", [item]:
            inside = _inside(item)
            # Its contrary cannot be judged either.
            return Clause(kind, inner=(inside,)) if inside.is_clear else _give_up()
        case "donates", ["cores" | "memory" | "disk" as what, amount]:
            return Clause(kind, value=(what, _number(amount)))
        case "present" | "absent", [fact]:
            return Clause(kind, _fact_name(fact))
        case "equals", [fact, value]:
            return Clause(kind, _fact_name(fact), _value(value))
        case "one-of", [fact, list(values)]:
            alternatives = tuple(_value(it) for it in values[:LOOKED_AT])
            return Clause(kind, _fact_name(fact), alternatives)
        case "includes", [fact, list(words)]:
            read, value = _value(words)
            return Clause(kind, _fact_name(fact), value) if read == "set" else _give_up()
        case "at-least" | "at-most", [fact, amount]:
            return Clause(kind, _fact_name(fact), _number(amount))
        case "version", [fact, str(text)]:
            versions_in = versions.read_range(text)
            return Clause(kind, _fact_name(fact), versions_in) if versions_in else _give_up()
    return _give_up()


def read_preference(item: Item) -> Preference:
    """Reads a preference; refuses what does not begin with a word."""
    require(_begins_with_a_word(item), "S43", "a preference that does not begin with its kind")
    kind, *arguments = item[:LOOKED_AT]
    try:
        return _known_preference(kind, arguments)
    except _NotUnderstood:
        return Preference(kind, understood=False)


def _known_preference(kind: str, arguments: list[Item]) -> Preference:
    match kind, arguments:
        case "holds", [weight, clause]:
            return Preference(kind, _weight(weight), clause=_inside(clause))
        case "more" | "less", [weight, fact, scale]:
            return Preference(kind, _weight(weight), _fact_name(fact), _number(scale))
    return _give_up()


def _give_up() -> Any:
    raise _NotUnderstood


def _inside(item: Item) -> Clause:
    return _clause(item) or _give_up()


def _fact_name(item: Item) -> str:
    return item if isinstance(item, str) and _NAME.fullmatch(item) else _give_up()


def _number(item: Item) -> int:
    return item if is_unsigned(item, 64) else _give_up()


def _weight(item: Item) -> int:
    return item if is_unsigned(item, 16) else _give_up()


def _value(item: Item) -> Value:
    value = facts.read_value(item)
    return _give_up() if value == LATER else value
