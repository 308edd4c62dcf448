"""What kefu raises: always what is wrong, and what the person can do about it."""

from __future__ import annotations


class KefuError(Exception):
    """A mistake that a person can mend. Ends a command with exit code 2 and no traceback.

    `what` names the place and the fault, `fix` the remedy; both are whole sentences.
    """

    def __init__(self, what: str, fix: str) -> None:
        super().__init__(f"{what} {fix}")
        self.what = what
        self.fix = fix

    @property
    def anchor(self) -> str:
        """Where docs/guides/troubleshooting.md tells more: the heading of the kind of error."""
        kinds = (kind.__name__ for kind in type(self).__mro__)
        return next(name for name in kinds if not name.startswith("_")).lower()


class FaqError(KefuError):
    """The FAQ file cannot be read, or cannot be understood."""


class BaseError(KefuError):
    """The base model does not exist, cannot be reached, or does not fit."""


class RunError(KefuError):
    """A run folder is missing, taken, locked, damaged or of another plan."""


class ExamError(KefuError):
    """An exam is malformed, or asks what was trained on."""


class GateError(KefuError):
    """A release or an export was refused, with the reasons."""


class SettingsError(KefuError):
    """kefu.toml or an option holds a value that cannot be used."""
