"""The one exception that the lab shows to a person: what is wrong, and how to mend it."""


class LabError(Exception):
    """Printed as one line (its detail, if any, below it); the command then ends with `exit_code`."""

    def __init__(self, message: str, *, detail: str = "", exit_code: int = 1) -> None:
        super().__init__(message)
        self.detail = detail
        self.exit_code = exit_code
