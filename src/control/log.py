"""Structured logs on stderr: one line an event, for people (console) or for machines (json)."""

import logging
import sys

import structlog
import structlog.tracebacks
from structlog.typing import FilteringBoundLogger, Processor

from control.config import ControlConfig

Logger = FilteringBoundLogger


def configure(config: ControlConfig) -> Logger:
    """The logger of this process; the standard library's loggers are quiet below warnings."""
    logging.basicConfig(level=logging.WARNING, stream=sys.stderr, format="%(levelname)s %(name)s: %(message)s")
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            *(_for_machines() if config.log_format == "json" else _for_people()),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(config.log_level),
        logger_factory=structlog.PrintLoggerFactory(file=sys.stderr),
    )
    logger: Logger = structlog.get_logger(process="control")
    return logger


def _for_machines() -> list[Processor]:
    tracebacks = structlog.tracebacks.ExceptionDictTransformer(show_locals=False)  # locals hold keys and targets
    return [structlog.processors.ExceptionRenderer(tracebacks), structlog.processors.JSONRenderer()]


def _for_people() -> list[Processor]:
    colors = sys.stderr.isatty()
    return [structlog.dev.ConsoleRenderer(colors=colors, exception_formatter=structlog.dev.plain_traceback)]
