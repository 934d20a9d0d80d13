"""The filter's program, run by a small interpreter of classic BPF: what it lets pass and what it refuses."""

from __future__ import annotations

import errno
import struct

import pytest

from encoders import seccomp

OWN = 4711
REFUSED = seccomp.ERRNO | errno.EPERM


def verdict(code: bytes, machine: str, number: int, *arguments: int) -> int:
    """What the filter returns for a system call. Source: linux/filter.h, struct seccomp_data."""
    padded = [*arguments, 0, 0, 0, 0, 0, 0][:6]
    data = struct.pack("<IIQ6Q", number, seccomp.AUDIT_ARCH[machine], 0, *padded)
    steps = [struct.unpack_from("HBBI", code, at) for at in range(0, len(code), 8)]
    accumulator, at = 0, 0
    while True:
        operation, if_true, if_false, value = steps[at]
        at += 1
        if operation == seccomp.LOAD:
            (accumulator,) = struct.unpack_from("<I", data, value)
        elif operation == seccomp.RETURN:
            return int(value)
        else:
            tests = {
                seccomp.JUMP_EQUAL: accumulator == value,
                seccomp.JUMP_GREATER_EQUAL: accumulator >= value,
                seccomp.JUMP_SET: bool(accumulator & value),
            }
            at += if_true if tests[operation] else if_false


@pytest.fixture(params=["x86_64", "aarch64"])
def machine(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    return name


@pytest.fixture
def code(machine: str) -> bytes:
    return seccomp.plan_filter(machine, OWN)


def number_of(call: tuple[int | None, int | None], machine: str) -> int:
    found = call[0 if machine == "x86_64" else 1]
    assert found is not None
    return found


def test_everything_on_the_list_is_refused(code: bytes, machine: str) -> None:
    column = 0 if machine == "x86_64" else 1
    numbers = [call[column] for call in seccomp.REFUSED.values() if call[column] is not None]
    assert len(numbers) == len(set(numbers)) > 60
    for number in numbers:
        assert number is not None
        assert verdict(code, machine, number) == REFUSED


def test_what_a_decoder_needs_passes(code: bytes, machine: str) -> None:
    # read, write, mmap, munmap, brk, futex, openat, exit_group
    calls = [(0, 63), (1, 64), (9, 222), (11, 215), (12, 214), (202, 98), (257, 56), (231, 94)]
    for call in calls:
        assert verdict(code, machine, number_of(call, machine)) == seccomp.ALLOW


def test_threads_but_no_processes(code: bytes, machine: str) -> None:
    clone = number_of(seccomp.CLONE, machine)
    assert verdict(code, machine, clone, 0x003D0F00) == seccomp.ALLOW
    assert verdict(code, machine, clone, 17) == REFUSED
    assert verdict(code, machine, number_of(seccomp.CLONE3, machine)) == seccomp.ERRNO | errno.ENOSYS


def test_signals_to_itself_only(code: bytes, machine: str) -> None:
    for call in (seccomp.KILL, seccomp.TGKILL):
        assert verdict(code, machine, number_of(call, machine), OWN) == seccomp.ALLOW
        assert verdict(code, machine, number_of(call, machine), 1) == REFUSED


def test_own_limits_and_no_typing_into_terminals(code: bytes, machine: str) -> None:
    limits, control = number_of(seccomp.PRLIMIT64, machine), number_of(seccomp.IOCTL, machine)
    assert verdict(code, machine, limits, 0) == seccomp.ALLOW
    assert verdict(code, machine, limits, 1) == REFUSED
    assert verdict(code, machine, control, 1, seccomp.TIOCSTI) == REFUSED
    assert verdict(code, machine, control, 1, 0x5413) == seccomp.ALLOW


def test_calls_of_another_machine_are_refused(code: bytes, machine: str) -> None:
    other = "aarch64" if machine == "x86_64" else "x86_64"
    assert verdict(code, other, 0) == REFUSED


def test_the_other_numbering_of_x86_is_refused() -> None:
    code = seccomp.plan_filter("x86_64", OWN)
    assert verdict(code, "x86_64", seccomp.X32_BIT | 0) == REFUSED


def test_exceptions_are_by_name() -> None:
    code = seccomp.plan_filter("x86_64", OWN, {"memfd_create"})
    assert verdict(code, "x86_64", 319) == seccomp.ALLOW
    assert verdict(code, "x86_64", 41) == REFUSED


def test_unknown_machines_have_no_filter() -> None:
    with pytest.raises(KeyError):
        seccomp.plan_filter("vax", OWN)
