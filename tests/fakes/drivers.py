"""Stub driver libraries, built with the machine's C compiler, and an environment in which a child process finds them.

The stub of libcuda answers what the probe asks it for; what PyNvVideoCodec and CuPy would do with a real driver, the
fakes of these two do (tests/fakes/nvc.py, tests/fakes/cupy_host.py).
"""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

from encoders.backends.probe import PROOF_VARIABLE
from fakes.gpu import Gpu, environment

TESTS = Path(__file__).resolve().parents[1]

_CUDA = """
#include <string.h>
int cuInit(unsigned flags) { return %(init)d; }
int cuDriverGetVersion(int *v) { *v = 13000; return 0; }
int cuDeviceGetCount(int *n) { *n = %(devices)d; return 0; }
int cuDeviceGet(int *handle, int index) { *handle = index; return 0; }
int cuDeviceGetUuid_v2(unsigned char *uuid, int device) { memset(uuid, 0x10 + device, 16); return 0; }
int cuDeviceGetName(char *name, int size, int device) { strncpy(name, "%(name)s", size); return 0; }
int cuDeviceTotalMem_v2(unsigned long *bytes, int device) { *bytes = 24ul << 30; return 0; }
int cuDeviceGetAttribute(int *value, int which, int device) { *value = which == 75 ? 8 : 9; return 0; }
"""


def compiler() -> str | None:
    """The machine's C compiler."""
    return shutil.which("gcc") or shutil.which("cc") or shutil.which("clang")


def install(
    folder: Path, gpu: Gpu | None, *, name: str = "Stub GPU", init: int = 0, libraries: bool = True
) -> dict[str, str]:
    """Build the driver of a machine; returns the environment in which a child has it.

    Args:
        gpu: what the machine has; None for a driver that finds no device.
        init: what cuInit answers.
        libraries: whether PyNvVideoCodec and CuPy are installed.
    """
    source = folder / "cuda.c"
    source.write_text(_CUDA % {"init": init, "devices": gpu.devices if gpu else 0, "name": name})
    built = folder / "libcuda.so.1"
    command = [compiler() or "cc", "-shared", "-fPIC", "-o", str(built), str(source), "-Wl,-soname,libcuda.so.1"]
    subprocess.run(command, check=True)
    env = dict(os.environ, LD_LIBRARY_PATH=str(folder))
    # What this process was told of its own machine is nothing of the one made here.
    env.pop(PROOF_VARIABLE, None)
    if libraries:
        # By this name, and with the fakes in it: of all folders of modules confined children may read only such.
        packages = folder / "site-packages"
        shutil.copytree(TESTS / "fakes", packages / "fakes", ignore=shutil.ignore_patterns("__pycache__"))
        (packages / "PyNvVideoCodec.py").write_text("from fakes.nvc import *\n")
        (packages / "cupy.py").write_text("from fakes.cupy_host import *\nfrom fakes.cupy_host import cuda\n")
        env["PYTHONPATH"] = str(packages)
    if gpu is not None:
        env.update(environment(gpu))
    return env
