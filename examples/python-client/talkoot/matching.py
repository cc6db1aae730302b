"""Whether a machine can run a job, in which runtime, and how well it suits (section 7)."""

from typing import Any

from . import versions
from .facts import Value
from .requirements import Clause, Preference, Requirements

DEGREES = 1000

Machine = dict[str, Any]
"""An ad's capabilities, as `facts.CAPABILITIES` reads them."""

Facts = dict[str, Value]


def find_runtime(machine: Machine, requirements: Requirements) -> str | None:
    """The first of the job's runtimes in which the machine can run it."""
    for runtime in requirements.runtimes:
        if runtime in machine.get("runtimes", {}):
            facts = facts_in(machine, runtime)
            if all(holds(clause, machine, facts) for clause in requirements.clauses):
                return runtime
    return None


def facts_in(machine: Machine, runtime: str) -> Facts:
    """What a job finds in a runtime that the machine has."""
    return machine["runtimes"][runtime].get("facts", {})


def holds(clause: Clause, machine: Machine, facts: Facts) -> bool:
    """Whether a clause holds; one that is not understood does not."""
    if not clause.understood:
        return False
    match clause.kind:
        case "all":
            return all(holds(inner, machine, facts) for inner in clause.inner)
        case "any":
            return any(holds(inner, machine, facts) for inner in clause.inner)
        case "not":
            return not holds(clause.inner[0], machine, facts)
        case "donates":
            what, amount = clause.value
            return machine["resources"][what] >= amount
        case "present":
            return clause.fact in facts
        case "absent":
            return clause.fact not in facts
    return clause.fact in facts and _fits(clause, facts[clause.fact])


def _fits(clause: Clause, fact: Value) -> bool:
    """Whether a clause about a fact's value holds. No clause has a value of a later version."""
    match clause.kind, fact:
        case "equals", _:
            return fact == clause.value
        case "one-of", _:
            return fact in clause.value
        case "at-least", ("number", number):
            return number >= clause.value
        case "at-most", ("number", number):
            return number <= clause.value
        case "includes", ("set", words):
            return set(clause.value) <= set(words)
        case "version", ("text", text):
            version = versions.read_version(text)
            return version is not None and clause.value.has(version)
    return False


def rank(machine: Machine, runtime: str, preferences: tuple[Preference, ...]) -> int:
    """How well the machine suits in a runtime that it has; the larger the better."""
    facts = facts_in(machine, runtime)
    return sum(it.weight * _degree(it, machine, facts) for it in preferences if it.understood)


def _degree(preference: Preference, machine: Machine, facts: Facts) -> int:
    if preference.clause:
        return DEGREES if holds(preference.clause, machine, facts) else 0
    kind, number = facts.get(preference.fact, ("later", None))
    if kind != "number":
        return 0
    share = DEGREES * min(number, preference.scale) // preference.scale
    return share if preference.kind == "more" else DEGREES - share
