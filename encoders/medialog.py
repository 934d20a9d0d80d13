"""What FFmpeg says while it works on one packet, for those who must know; it goes where it went before, otherwise.

FFmpeg has one log callback for the whole process. PyAV's, which hands messages to Python, needs the interpreter's lock,
and a codec that is closed while its threads want to speak would wait for ever: so it is set only while a packet is read
or decoded, which PyAV does without the lock, and the one before is put back.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeAlias

import av.logging

Message: TypeAlias = tuple[int, str, str]
"""Level (FFmpeg's: lower is worse), name of the codec or format that speaks, text."""


def _silence() -> None:
    av.logging.set_level(None)


def _speak() -> None:
    av.logging.set_libav_level(av.logging.ERROR)
    av.logging.restore_default_callback()


_otherwise: Callable[[], None] = _silence


def log_to_stderr() -> None:
    """From now on errors go to stderr, by FFmpeg's own callback; without this call PyAV's keeps silent."""
    global _otherwise
    _otherwise = _speak
    _speak()


@contextmanager
def listening(*, all_threads: bool = False) -> Iterator[list[Message]]:
    """Collect warnings and errors.

    Args:
        all_threads: those of codecs' threads too. Decoders that spread the slices of one picture over threads have
            finished when the packet's call returns; those that decode several pictures at once have not, and must
            not be used with it.

    Yields:
        the list that fills up.
    """
    av.logging.set_skip_repeated(False)
    av.logging.set_level(av.logging.WARNING)
    heard: list[Message] = []
    try:
        with av.logging.Capture(local=not all_threads) as heard:
            yield heard
    finally:
        _otherwise()
        if _otherwise is _speak:
            for level, name, text in heard:
                if level <= av.logging.ERROR:
                    sys.stderr.write(f"[{name}] {text.rstrip()}\n")
