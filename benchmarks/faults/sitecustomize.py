"""Lets a storm reach into the farm's processes without a line of it in the product.

Python imports `sitecustomize` at its start. With this folder on PYTHONPATH and REELMILL_FAULTS naming a folder, the
wall clock, the local store, the encode sessions and the dispatcher's messages of every process obey files in that
folder: see `benchmarks/faulty_*.py`.
"""

from __future__ import annotations

import importlib.machinery
import importlib.util
import os
import sys
from collections.abc import Sequence
from importlib.abc import MetaPathFinder
from pathlib import Path
from types import ModuleType
from typing import Any

SPOILED = {
    "cluster.storage.local": ("benchmarks.faulty_store", "LocalStore"),
    "cluster.dispatcher": ("benchmarks.faulty_messages", "Dispatcher"),
    "cluster.encoding": ("benchmarks.faulty_encoder", ""),
    "cluster.metadata.clock": ("benchmarks.faulty_clock", ""),
}
"""Module of the product -> who spoils it, and which of its classes; empty: the module itself."""
CLOCK = Path(__file__).resolve().parent.parent / "faulty_clock.py"


class _Spoiler(MetaPathFinder):
    """Finds some modules as everybody would, and changes them once they are loaded."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        if fullname not in SPOILED:
            return None
        spoiler, name = SPOILED.pop(fullname)
        spec = importlib.util.find_spec(fullname)
        if spec is None or spec.loader is None:
            return None
        loader: Any = spec.loader
        load = loader.exec_module

        def exec_module(module: ModuleType) -> None:
            load(module)
            importlib.import_module(spoiler).spoil(getattr(module, name) if name else module)

        loader.exec_module = exec_module
        return spec


def _set_clock() -> None:
    """By its file: packages cannot be imported yet, and who binds `time.time` early must get the changed one."""
    spec = importlib.util.spec_from_file_location("_faulty_clock", CLOCK)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    module.install()


if os.environ.get("REELMILL_FAULTS"):
    sys.meta_path.insert(0, _Spoiler())
    _set_clock()
