"""Lets a storm reach into the farm's processes without a line of it in the product.

Python imports `sitecustomize` at its start. With this folder on PYTHONPATH and REELMILL_FAULTS naming a folder, the
local store of every process obeys `store.json` in that folder: see `benchmarks/faulty_store.py`.
"""

from __future__ import annotations

import importlib.machinery
import importlib.util
import os
import sys
from collections.abc import Sequence
from importlib.abc import MetaPathFinder
from types import ModuleType
from typing import Any

SPOILED = "cluster.storage.local"


class _Spoiler(MetaPathFinder):
    """Finds one module as everybody would, and changes it once it is loaded."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        if fullname != SPOILED:
            return None
        sys.meta_path.remove(self)
        spec = importlib.util.find_spec(fullname)
        if spec is None or spec.loader is None:
            return None
        loader: Any = spec.loader
        load = loader.exec_module

        def exec_module(module: ModuleType) -> None:
            load(module)
            from benchmarks.faulty_store import spoil

            spoil(module.LocalStore)

        loader.exec_module = exec_module
        return spec


if os.environ.get("REELMILL_FAULTS"):
    sys.meta_path.insert(0, _Spoiler())
