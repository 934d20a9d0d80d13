"""A fake GPU for confined children: preload a module that `plug_module` wrote, and the fork server's children have it.

Children get no environment of the tests', so what the GPU is like stands in the module's text.
"""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

from fakes.gpu import Gpu

NAME = "plugged_gpu"


def plug_module(folder: Path, gpu: Gpu, name: str = NAME) -> str:
    """Write the module; `folder` belongs on sys.path. Returns its name, for `Confiner(preload=...)`."""
    values = {key: value for key, value in asdict(gpu).items() if key not in ("calls", "open_sessions")}
    (folder / f"{name}.py").write_text(
        "import sys\n"
        "from fakes import cupy_host, gpu, nvc\n"
        f"gpu.present = gpu.Gpu(**{values!r})\n"
        "sys.modules.update(PyNvVideoCodec=nvc, cupy=cupy_host)\n"
    )
    return name
