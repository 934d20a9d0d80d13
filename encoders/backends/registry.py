"""What this host can encode with, and how to get it.

A backend is registered by one line here: where its module is, and how it is proven. Modules are imported on first use
only, since those of GPUs need drivers and may end the process that they are loaded into; ask from a confined child.
"""

from __future__ import annotations

import importlib
from collections.abc import Iterable
from typing import cast

from encoders.backends.base import Backend, BackendName, Capability
from encoders.errors import BackendUnavailable
from encoders.ladder import Codec

_MODULES = {
    BackendName.NVENC: ("encoders.backends.nvenc", "NvencBackend"),
    BackendName.HYBRID: ("encoders.backends.hybrid", "HybridBackend"),
    BackendName.CPU: ("encoders.backends.cpu", "CpuBackend"),
}
"""Module and class of each backend, the fastest first. The module has `capability() -> Capability` besides."""


def capability_of(name: BackendName | str) -> Capability:
    """What this host can do with a backend, proven by doing it; or why it cannot."""
    known = BackendName(name)
    try:
        found = importlib.import_module(_MODULES[known][0]).capability()
    except ImportError as error:
        return Capability(name=known, available=False, reason=f"its module cannot be loaded: {error}")
    return cast(Capability, found)


def capabilities() -> tuple[Capability, ...]:
    """All backends, the fastest first, with what they can do here or why they cannot."""
    return tuple(capability_of(name) for name in _MODULES)


def open_backend(name: BackendName | str) -> Backend:
    """A backend, ready to encode segments one after the other.

    Raises:
        BackendUnavailable: its libraries cannot be loaded.
    """
    module, cls = _MODULES[BackendName(name)]
    try:
        return cast(Backend, getattr(importlib.import_module(module), cls)())
    except ImportError as error:
        raise BackendUnavailable(f"{name}: {error}") from error


def first_encoder_id(names: Iterable[BackendName | str], preset: str, codecs: Iterable[Codec] = (Codec.H264,)) -> str:
    """Identity of the first of these backends that can encode the codecs on this host.

    Raises:
        BackendUnavailable: none can; the last one's reason.
    """
    codecs, refused = tuple(codecs), BackendUnavailable("no backend was asked for")
    for name in names:
        try:
            return encoder_id_of(name, preset, codecs)
        except BackendUnavailable as error:
            refused = error
    raise refused


def encoder_id_of(name: BackendName | str, preset: str, codecs: Iterable[Codec] = (Codec.H264,)) -> str:
    """Identity of a backend's encoders, their versions and their settings (`Backend.encoder_id`)."""
    return open_backend(name).encoder_id(preset, codecs)
