"""Structured logs: JSON in production, readable on a terminal; job, task and attempt bound once per piece of work."""

from __future__ import annotations

import logging
import sys
from contextlib import suppress
from typing import TextIO, cast

import structlog


class Unbreakable:
    """Standard error whose failures stay its own: on a full disk lines are lost, and not the process that told them."""

    def write(self, text: str) -> None:
        """Write what can be written."""
        with suppress(OSError):
            sys.stderr.write(text)

    def flush(self) -> None:
        """As `write`."""
        with suppress(OSError):
            sys.stderr.flush()


def configure_logging(as_json: bool, level: int = logging.INFO) -> None:
    """Set up structlog for the process; the last call wins."""
    renderer: structlog.types.Processor = (
        structlog.processors.JSONRenderer() if as_json else structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty())
    )
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            renderer,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=structlog.PrintLoggerFactory(cast(TextIO, Unbreakable())),
        cache_logger_on_first_use=False,
    )
