"""Compilers for CUDA device code that run without a GPU: NVRTC's library, or nvcc."""

from __future__ import annotations

import ctypes
import importlib.util
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

Compiler = Callable[[Path, int, Path], None]
"""(source, architecture as in 89, folder for the result): raises AssertionError with the compiler's log."""


def find() -> Compiler | None:
    """NVRTC from NVIDIA's wheel or the system's linker path, else nvcc, else None."""
    library = _nvrtc_library()
    if library is not None:
        return lambda source, architecture, folder: _by_nvrtc(library, source, architecture)
    nvcc = shutil.which("nvcc")
    if nvcc is not None:
        return lambda source, architecture, folder: _by_nvcc(nvcc, source, architecture, folder)
    return None


def _nvrtc_library() -> ctypes.CDLL | None:
    """The wheels put it under site-packages/nvidia/cu13/lib (CUDA 13) or nvidia/cuda_nvrtc/lib (CUDA 12)."""
    candidates = ["libnvrtc.so.13", "libnvrtc.so.12"]
    spec = importlib.util.find_spec("nvidia")
    for folder in spec.submodule_search_locations or () if spec else ():
        candidates += [str(path) for path in Path(folder).glob("*/lib/libnvrtc.so.1[0-9]")]
    for candidate in candidates:
        try:
            return ctypes.CDLL(candidate)
        except OSError:
            continue
    return None


def _by_nvrtc(library: ctypes.CDLL, source: Path, architecture: int) -> None:
    program = ctypes.c_void_p()
    text = source.read_bytes()
    assert library.nvrtcCreateProgram(ctypes.byref(program), text, source.name.encode(), 0, None, None) == 0
    options = [f"--gpu-architecture=sm_{architecture}".encode(), b"--std=c++14"]
    status = library.nvrtcCompileProgram(program, len(options), (ctypes.c_char_p * len(options))(*options))
    size = ctypes.c_size_t()
    library.nvrtcGetProgramLogSize(program, ctypes.byref(size))
    log = ctypes.create_string_buffer(size.value)
    library.nvrtcGetProgramLog(program, log)
    library.nvrtcDestroyProgram(ctypes.byref(program))
    assert status == 0, f"sm_{architecture}: {log.value.decode(errors='replace')}"


def _by_nvcc(nvcc: str, source: Path, architecture: int, folder: Path) -> None:
    output = folder / f"{source.stem}.sm_{architecture}.cubin"
    done = subprocess.run(
        [nvcc, "-cubin", f"-arch=sm_{architecture}", "-o", str(output), str(source)], capture_output=True, text=True
    )
    assert done.returncode == 0, f"sm_{architecture}: {done.stderr}"
