"""Why something was refused."""


class Refused(Exception):
    """A statement breaks a numbered rule of the specification."""

    def __init__(self, rule: str, reason: str) -> None:
        super().__init__(f"{rule}: {reason}")
        self.rule = rule
        self.reason = reason


def require(holds: bool, rule: str, reason: str) -> None:
    """Refuses by ``rule`` unless ``holds``."""
    if not holds:
        raise Refused(rule, reason)
