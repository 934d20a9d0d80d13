"""A seccomp filter for the confined child: no network, no other programs, no rights over other processes.

Rule: a list of what is refused (with EPERM), not of what is allowed, because what FFmpeg, the C library and a driver
call changes with their versions. Files are Landlock's part (`encoders/sandbox.py`); what it does not rule is refused
here.
"""

from __future__ import annotations

import ctypes
import errno
import os
import platform
import struct
from collections.abc import Collection

# System call -> (number on x86_64, number on aarch64; None where that machine has no such call).
# Source: Linux 6.18, arch/x86/entry/syscalls/syscall_64.tbl and include/uapi/asm-generic/unistd.h.
REFUSED: dict[str, tuple[int | None, int | None]] = {
    # network
    "socket": (41, 198),
    "socketpair": (53, 199),
    "connect": (42, 203),
    "bind": (49, 200),
    "listen": (50, 201),
    "accept": (43, 202),
    "accept4": (288, 242),
    "sendto": (44, 206),
    "sendmsg": (46, 211),
    "sendmmsg": (307, 269),
    "recvmsg": (47, 212),
    "recvmmsg": (299, 243),
    # other programs and processes
    "execve": (59, 221),
    "execveat": (322, 281),
    "fork": (57, None),
    "vfork": (58, None),
    "ptrace": (101, 117),
    "process_vm_readv": (310, 270),
    "process_vm_writev": (311, 271),
    "process_madvise": (440, 440),
    "process_mrelease": (448, 448),
    "kcmp": (312, 272),
    "pidfd_open": (434, 434),
    "pidfd_getfd": (438, 438),
    "pidfd_send_signal": (424, 424),
    "tkill": (200, 130),
    "rt_sigqueueinfo": (129, 138),
    "rt_tgsigqueueinfo": (297, 240),
    "setpriority": (141, 140),
    "sched_setscheduler": (144, 119),
    "sched_setparam": (142, 118),
    "sched_setattr": (314, 274),
    "ioprio_set": (251, 30),
    "migrate_pages": (256, 238),
    "move_pages": (279, 239),
    # mounts and namespaces
    "mount": (165, 40),
    "umount2": (166, 39),
    "pivot_root": (155, 41),
    "chroot": (161, 51),
    "unshare": (272, 97),
    "setns": (308, 268),
    "open_tree": (428, 428),
    "move_mount": (429, 429),
    "fsopen": (430, 430),
    "fsconfig": (431, 431),
    "fsmount": (432, 432),
    "fspick": (433, 433),
    "mount_setattr": (442, 442),
    # memory that no limit counts, and ways round this filter
    "memfd_create": (319, 279),
    "memfd_secret": (447, 447),
    "shmget": (29, 194),
    "semget": (64, 190),
    "msgget": (68, 186),
    "mq_open": (240, 180),
    "io_uring_setup": (425, 425),
    "io_uring_enter": (426, 426),
    "io_uring_register": (427, 427),
    "userfaultfd": (323, 282),
    # attributes of files, which Landlock does not rule
    "chmod": (90, None),
    "fchmod": (91, 52),
    "fchmodat": (268, 53),
    "fchmodat2": (452, 452),
    "chown": (92, None),
    "fchown": (93, 55),
    "lchown": (94, None),
    "fchownat": (260, 54),
    "setxattr": (188, 5),
    "lsetxattr": (189, 6),
    "fsetxattr": (190, 7),
    "setxattrat": (463, 463),
    "removexattr": (197, 14),
    "lremovexattr": (198, 15),
    "fremovexattr": (199, 16),
    "removexattrat": (466, 466),
    "utime": (132, None),
    "utimes": (235, None),
    "futimesat": (261, None),
    "utimensat": (280, 88),
    "open_by_handle_at": (304, 265),
    "name_to_handle_at": (303, 264),
    "fanotify_init": (300, 262),
    # the machine
    "bpf": (321, 280),
    "perf_event_open": (298, 241),
    "add_key": (248, 217),
    "request_key": (249, 218),
    "keyctl": (250, 219),
    "kexec_load": (246, 104),
    "kexec_file_load": (320, 294),
    "init_module": (175, 105),
    "finit_module": (313, 273),
    "delete_module": (176, 106),
    "reboot": (169, 142),
    "swapon": (167, 224),
    "swapoff": (168, 225),
    "sethostname": (170, 161),
    "setdomainname": (171, 162),
    "settimeofday": (164, 170),
    "clock_settime": (227, 112),
    "adjtimex": (159, 171),
    "clock_adjtime": (305, 266),
    "acct": (163, 89),
    "syslog": (103, 116),
    "quotactl": (179, 60),
    "quotactl_fd": (443, 443),
    "personality": (135, 92),
    "iopl": (172, None),
    "ioperm": (173, None),
    "modify_ldt": (154, None),
}
# Refused for some arguments only.
CLONE, CLONE3, KILL, TGKILL, PRLIMIT64, IOCTL = (56, 220), (435, 435), (62, 129), (234, 131), (302, 261), (16, 29)
SECCOMP = (317, 277)

# Source: linux/audit.h, linux/seccomp.h, linux/filter.h, linux/sched.h, asm-generic/ioctls.h.
AUDIT_ARCH = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}
X32_BIT = 0x40000000
SET_MODE_FILTER, FLAG_SPEC_ALLOW = 1, 4
ALLOW, ERRNO = 0x7FFF0000, 0x00050000
LOAD, JUMP_EQUAL, JUMP_GREATER_EQUAL, JUMP_SET, RETURN = 0x20, 0x15, 0x35, 0x45, 0x06
AT_NUMBER, AT_ARCH, AT_FIRST_ARGUMENT, AT_SECOND_ARGUMENT = 0, 4, 16, 24
CLONE_THREAD = 0x00010000
TIOCSTI = 0x5412


def _step(code: int, value: int, if_true: int = 0, if_false: int = 0) -> bytes:
    return struct.pack("HBBI", code, if_true, if_false, value)


def plan_filter(machine: str, own_pid: int, allowed: Collection[str] = ()) -> bytes:
    """The filter's program, as an array of `struct sock_filter`.

    Args:
        machine: "x86_64" or "aarch64".
        own_pid: the only process that may be signalled.
        allowed: names in `REFUSED` that are not refused this time.

    Raises:
        KeyError: no system call numbers are known for the machine.
    """
    arch, column = AUDIT_ARCH[machine], ("x86_64", "aarch64").index(machine)
    refuse = _step(RETURN, ERRNO | errno.EPERM)
    allow = _step(RETURN, ALLOW)
    steps = [
        _step(LOAD, AT_ARCH),
        _step(JUMP_EQUAL, arch, 1, 0),
        refuse,
        _step(LOAD, AT_NUMBER),
    ]
    if machine == "x86_64":
        steps += [_step(JUMP_GREATER_EQUAL, X32_BIT, 0, 1), refuse]
    for name, numbers in REFUSED.items():
        number = numbers[column]
        if number is not None and name not in allowed:
            steps += [_step(JUMP_EQUAL, number, 0, 1), refuse]
    # The C library falls back from clone3, whose flags a filter cannot see, to clone, whose flags it can: threads yes,
    # processes no.
    steps += [_step(JUMP_EQUAL, CLONE3[column], 0, 1), _step(RETURN, ERRNO | errno.ENOSYS)]
    steps += [
        _step(JUMP_EQUAL, CLONE[column], 0, 4),
        _step(LOAD, AT_FIRST_ARGUMENT),
        _step(JUMP_SET, CLONE_THREAD, 0, 1),
        allow,
        refuse,
    ]
    for call in (KILL, TGKILL):
        steps += [_step(JUMP_EQUAL, call[column], 0, 4), _step(LOAD, AT_FIRST_ARGUMENT)]
        steps += [_step(JUMP_EQUAL, own_pid, 0, 1), allow, refuse]
    steps += [_step(JUMP_EQUAL, PRLIMIT64[column], 0, 4), _step(LOAD, AT_FIRST_ARGUMENT)]
    steps += [_step(JUMP_EQUAL, 0, 0, 1), allow, refuse]
    steps += [_step(JUMP_EQUAL, IOCTL[column], 0, 4), _step(LOAD, AT_SECOND_ARGUMENT)]
    steps += [_step(JUMP_EQUAL, TIOCSTI, 1, 0), allow, refuse]
    return b"".join([*steps, allow])


class _Program(ctypes.Structure):
    _fields_ = (("length", ctypes.c_ushort), ("filter", ctypes.c_void_p))


def install_filter(allowed: Collection[str]) -> str:
    """Put the filter on this process for good; `no_new_privs` must be set.

    Args:
        allowed: names in `REFUSED` that are not refused.

    Returns:
        "on", or why there is no filter.
    """
    machine = platform.machine()
    if machine not in AUDIT_ARCH:
        return f"off: no system call table for {machine}"
    code = plan_filter(machine, os.getpid(), allowed)
    steps = ctypes.create_string_buffer(code, len(code))
    program = _Program(len(code) // 8, ctypes.addressof(steps))
    libc = ctypes.CDLL(None, use_errno=True)
    number = SECCOMP[("x86_64", "aarch64").index(machine)]
    # Without SPEC_ALLOW older kernels turn on speculation barriers, which cost a decoder several per cent.
    for flags in (FLAG_SPEC_ALLOW, 0):
        if libc.syscall(number, SET_MODE_FILTER, flags, ctypes.byref(program)) == 0:
            return "on"
    return f"off: {os.strerror(ctypes.get_errno())}"
