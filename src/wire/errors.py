"""The one error of this package."""


class FormatError(ValueError):
    """Bytes that are not what their format says, or values that the format cannot hold.

    `code` is stable and meant for programs: "version", "truncated", "flags", "value", "tail", "json", "checksum".
    """

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code
