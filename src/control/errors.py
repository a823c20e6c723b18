"""The one error type of the control plane."""


class Error(Exception):
    """A failure with a stable code for programs and a message that tells its reader what to do next.

    `pointer` is the JSON pointer of the offending member of a request body, where there is one. Codes are listed, with
    their HTTP statuses, in `control.http.PROBLEMS`; an exception of any other type is answered as "internal" and its
    text stays in the log.
    """

    def __init__(self, code: str, message: str, *, pointer: str | None = None) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.pointer = pointer
