"""The rights of a confined process: what it gives up before it meets hostile bytes. Linux only; standard library only.

Rule: every mechanism either holds or says why not (`dict` of mechanism -> "on" or "off: reason"), and the others go on
without it: an old kernel or a strict container weakens the confinement, it does not stop the farm.

Order matters and is fixed here: namespaces once in the fork server (children inherit them), then in each child
parent-death signal, no_new_privs, Landlock, capabilities, resource limits, seccomp.
"""

from __future__ import annotations

import ctypes
import os
import resource
import signal
import struct
import sys
from collections.abc import Iterable
from pathlib import Path

from encoders.seccomp import install_filter

# Source: linux/prctl.h, linux/sched.h, linux/capability.h.
PR_SET_PDEATHSIG, PR_SET_DUMPABLE, PR_SET_NO_NEW_PRIVS = 1, 4, 38
CLONE_NEWUSER, CLONE_NEWNET, CLONE_NEWIPC = 0x10000000, 0x40000000, 0x08000000
CAPABILITY_VERSION_3 = 0x20080522
CAP_DAC_OVERRIDE = 1

# Source: linux/landlock.h; system calls 444 to 446 on every machine.
CREATE_RULESET, ADD_RULE, RESTRICT_SELF = 444, 445, 446
RULESET_VERSION, RULE_PATH_BENEATH = 1, 1
FS_EXECUTE, FS_WRITE_FILE, FS_READ_FILE, FS_READ_DIR, FS_REMOVE_DIR, FS_REMOVE_FILE = (1 << bit for bit in range(6))
FS_MAKE_DIR, FS_MAKE_REG, FS_REFER, FS_TRUNCATE, FS_IOCTL_DEV = 1 << 7, 1 << 8, 1 << 13, 1 << 14, 1 << 15
NET_BIND_CONNECT_TCP = 3
SCOPE_SOCKET_SIGNAL = 3
# Highest file-system right that each ABI of Landlock knows: bits 0 to 12, then one more bit each (ABI 4: none).
FS_BITS_OF_ABI = {1: 13, 2: 14, 3: 15, 4: 15}
FS_BITS_SINCE_ABI_5 = 16
READ = FS_READ_FILE | FS_READ_DIR
WRITE = READ | FS_WRITE_FILE | FS_TRUNCATE | FS_REMOVE_DIR | FS_REMOVE_FILE | FS_MAKE_DIR | FS_MAKE_REG | FS_REFER
ON_FILES = FS_READ_FILE | FS_WRITE_FILE | FS_TRUNCATE | FS_IOCTL_DEV

# What NVIDIA's user-mode driver opens. Source: NVIDIA driver README, chapters "Device nodes" and "/proc entries".
DEVICE_NODES = ("/dev/nvidia*", "/dev/nvidia-caps/*")
DRIVER_PATHS: tuple[str, ...] = (
    "/proc/driver/nvidia",
    "/proc/devices",
    "/proc/modules",
    "/sys/bus/pci",
    "/sys/devices",
    "/sys/module",
)
# /usr/local/nvidia is where Google's machines and others mount the driver's libraries.
DRIVER_PATHS += ("/etc/nvidia", "/usr/share/nvidia", "/usr/local/nvidia", "/usr/local/cuda*")

_libc = ctypes.CDLL(None, use_errno=True)


def _call(result: int) -> str:
    return "on" if result >= 0 else f"off: {os.strerror(ctypes.get_errno())}"


def die_with(parent_pid: int) -> None:
    """Have the kernel kill this process when its parent dies; die at once if it already has."""
    _libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent_pid:
        os._exit(1)


def enter_namespaces() -> str:
    """Give this single-threaded process, and all it forks, network and IPC namespaces with nothing in them.

    Without privileges this takes a user namespace, in which the user keeps its id: files stay readable by their owner.

    Returns:
        "on", or why the process is where it was.
    """
    if os.geteuid() == 0:
        return _call(_libc.unshare(CLONE_NEWNET | CLONE_NEWIPC))
    # A half-made user namespace cannot be left again, so another process tries first.
    pid = os.fork()
    if pid == 0:
        os._exit(0 if _enter_user_namespace() == "on" else 1)
    if os.waitpid(pid, 0)[1] != 0:
        return "off: this user may not make user namespaces"
    return _enter_user_namespace()


def _enter_user_namespace() -> str:
    uid, gid = os.geteuid(), os.getegid()
    entered = _call(_libc.unshare(CLONE_NEWUSER | CLONE_NEWNET | CLONE_NEWIPC))
    if entered != "on":
        return entered
    try:
        for name, text in (("setgroups", "deny"), ("uid_map", f"{uid} {uid} 1"), ("gid_map", f"{gid} {gid} 1")):
            Path("/proc/self", name).write_text(text)
    except OSError as error:
        return f"off: {error}"
    return "on"


def restrict(
    readable: Iterable[Path],
    writable: Iterable[Path],
    *,
    devices: bool,
    memory_bytes: int,
    cpu_s: int,
    output_bytes: int,
    open_files: int,
    threads: int,
) -> dict[str, str]:
    """Give up every right that this process does not need, for good.

    Args:
        readable: files and folders that may be read besides the interpreter's and the libraries'.
        writable: files and folders in which anything may be made, changed and removed.
        devices: whether the machine's GPUs may be used.
        memory_bytes: of private writable memory.
        cpu_s: of processor time; SIGXCPU kills the process at its end.
        output_bytes: length of the longest file written.
        open_files: number of file descriptors.
        threads: of this user at once; does not bind root, whose threads the memory bounds.

    Returns:
        Mechanism -> "on", or "off: " and why.
    """
    on: dict[str, str] = {}
    on["no new privileges"] = _call(_libc.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0))
    if devices:
        readable, writable = [*readable, *_existing(DRIVER_PATHS)], [*writable, *_existing(DEVICE_NODES)]
    on["landlock"] = _landlock(readable, writable)
    # Root's right to files of others stays while Landlock says which files those may be.
    on["capabilities"] = _drop_capabilities(CAP_DAC_OVERRIDE if on["landlock"].startswith("on") else None)
    on["resource limits"] = _limit(
        {
            resource.RLIMIT_DATA: memory_bytes,
            resource.RLIMIT_CPU: cpu_s,
            resource.RLIMIT_FSIZE: output_bytes,
            resource.RLIMIT_NOFILE: open_files,
            resource.RLIMIT_NPROC: threads,
            resource.RLIMIT_CORE: 0,
            resource.RLIMIT_MEMLOCK: 0,
        }
    )
    on["seccomp"] = install_filter(allowed={"memfd_create"} if devices else set())
    return on


def _existing(patterns: Iterable[str]) -> list[Path]:
    root = Path("/")
    return [path for pattern in patterns for path in root.glob(pattern.lstrip("/"))]


def _limit(limits: dict[int, int]) -> str:
    for kind, wanted in limits.items():
        hard = resource.getrlimit(kind)[1]
        bound = hard if hard != resource.RLIM_INFINITY else 1 << 62
        # At the hard limit of processor time comes SIGKILL, a second after the SIGXCPU that names the cause.
        spare = 1 if kind == resource.RLIMIT_CPU else 0
        resource.setrlimit(kind, (min(wanted, bound), min(wanted + spare, bound)))
    return "on"


def _drop_capabilities(kept: int | None) -> str:
    header = struct.pack("Ii", CAPABILITY_VERSION_3, 0)
    data = bytearray(24)
    if _libc.capget(header, (ctypes.c_char * 24).from_buffer(data)) != 0:
        return _call(-1)
    effective, permitted = struct.unpack_from("II", data)
    mask = 0 if kept is None else 1 << kept
    wanted = struct.pack("6I", effective & mask, permitted & mask, 0, 0, 0, 0)
    return _call(_libc.capset(header, wanted))


def system_paths() -> list[Path]:
    """What the interpreter and the libraries read: code, zone data, the processor's description, harmless devices.

    Of a checkout only the package `encoders`: what else lies beside it may be data of the farm.
    """
    packages = [Path(entry) for entry in sys.path if entry.endswith(("site-packages", "dist-packages"))]
    prefixes = [Path(prefix, "lib") for prefix in (sys.prefix, sys.base_prefix, sys.exec_prefix, "/usr", "/usr/local")]
    fixed: tuple[str, ...] = (
        "/lib",
        "/lib64",
        "/usr/lib64",
        "/etc/ld.so.cache",
        "/etc/localtime",
        "/usr/share/zoneinfo",
        "/proc/self",
    )
    fixed += ("/proc/cpuinfo", "/proc/meminfo", "/sys/devices/system/cpu", "/dev/null", "/dev/zero", "/dev/urandom")
    found = {*packages, *prefixes, *map(Path, fixed), Path(__file__).parent}
    return sorted(path for path in found if path.exists())


def _landlock(readable: Iterable[Path], writable: Iterable[Path]) -> str:
    abi = _libc.syscall(CREATE_RULESET, None, ctypes.c_size_t(0), RULESET_VERSION)
    if abi < 1:
        return _call(abi)
    handled = (1 << FS_BITS_OF_ABI.get(abi, FS_BITS_SINCE_ABI_5)) - 1
    words = [handled, *([NET_BIND_CONNECT_TCP] if abi >= 4 else []), *([SCOPE_SOCKET_SIGNAL] if abi >= 6 else [])]
    attributes = struct.pack(f"{len(words)}Q", *words)
    ruleset = _libc.syscall(CREATE_RULESET, attributes, ctypes.c_size_t(len(attributes)), 0)
    if ruleset < 0:
        return _call(ruleset)
    try:
        for path in (*system_paths(), *readable):
            _allow(ruleset, path, READ & handled)
        for path in (*writable, Path("/dev/null")):
            _allow(ruleset, path, (WRITE | (FS_IOCTL_DEV if path.is_char_device() else 0)) & handled)
        state = _call(_libc.syscall(RESTRICT_SELF, ruleset, 0))
    finally:
        os.close(ruleset)
    return f"on (ABI {abi})" if state == "on" else state


def _allow(ruleset: int, path: Path, rights: int) -> None:
    beneath = os.open(path, os.O_PATH | os.O_CLOEXEC)
    try:
        if not path.is_dir():
            rights &= ON_FILES
        rule = struct.pack("=Qi", rights, beneath)
        if _libc.syscall(ADD_RULE, ruleset, RULE_PATH_BENEATH, rule, 0) != 0:
            raise OSError(ctypes.get_errno(), f"Landlock rule for {path}")
    finally:
        os.close(beneath)
