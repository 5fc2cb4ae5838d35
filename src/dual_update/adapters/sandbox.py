"""A child that reads strangers' files is confined by the kernel: its own directory, no network, no programs.

Landlock restricts a thread and what it starts from then on, without any privilege. So a confined process
is started from a thread that lives only for that. Where the kernel has no Landlock (before 5.13, switched
off, or hidden by a container's seccomp profile) `is_available` is false and callers must check by themselves.
Source of the numbers: the kernel's include/uapi/linux/landlock.h, the same on every architecture.
"""

import ctypes
import os
import struct
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from threading import Thread
from typing import TypeVar

Made = TypeVar("Made")

_CREATE_RULESET, _ADD_RULE, _RESTRICT_SELF = 444, 445, 446
_VERSION_FLAG = 1
_RULE_PATH_BENEATH = 1
_NO_NEW_PRIVS = 38

_EXECUTE, _WRITE_FILE, _READ_FILE = 1 << 0, 1 << 1, 1 << 2
_ALL_FILE_RIGHTS = {1: (1 << 13) - 1, 2: (1 << 14) - 1, 3: (1 << 15) - 1, 4: (1 << 15) - 1, 5: (1 << 16) - 1}
_TCP_BIND_AND_CONNECT = 0b11
_NETWORK_SINCE = 4


@dataclass(frozen=True)
class Confinement:
    """What a child may touch. Directories in `writable` are its own; `programs` it may read and start.

    `memory_bytes` bounds its address space, `output_bytes` what it prints on standard output and every
    file it writes.
    """

    writable: Sequence[Path]
    programs: Sequence[Path]
    memory_bytes: int
    output_bytes: int


@cache
def _kernel() -> tuple[Callable[..., int], Callable[..., int]]:
    library = ctypes.CDLL(None, use_errno=True)
    return library.syscall, library.prctl


@cache
def version() -> int:
    """Landlock's version of this kernel, or 0 without it."""
    try:
        syscall, _ = _kernel()
        return max(0, syscall(_CREATE_RULESET, None, ctypes.c_size_t(0), ctypes.c_uint32(_VERSION_FLAG)))
    except (OSError, AttributeError):
        return 0


def is_available() -> bool:
    """Does the kernel confine our children."""
    return version() > 0


def within(confinement: Confinement, make: Callable[[], Made]) -> Made:
    """Call `make` in a confined thread and return what it returns: a process started there stays confined.

    Raises OSError when the kernel refuses to confine, and whatever `make` raises.
    """
    made: list[Made] = []
    failed: list[BaseException] = []

    def body() -> None:
        try:
            _restrict(confinement)
            made.append(make())
        except BaseException as error:
            failed.append(error)

    thread = Thread(target=body)
    thread.start()
    thread.join()
    if failed:
        raise failed[0]
    return made[0]


def _restrict(confinement: Confinement) -> None:
    syscall, prctl = _kernel()
    rights = _ALL_FILE_RIGHTS.get(version(), _ALL_FILE_RIGHTS[5])
    attributes = struct.pack("=Q", rights)
    if version() >= _NETWORK_SINCE:
        attributes += struct.pack("=Q", _TCP_BIND_AND_CONNECT)
    ruleset = _checked(syscall(_CREATE_RULESET, attributes, ctypes.c_size_t(len(attributes)), 0))
    try:
        for directory in confinement.writable:
            _allow(ruleset, directory, rights & ~_EXECUTE)
        for program in confinement.programs:
            _allow(ruleset, program, _EXECUTE | _READ_FILE)
        _allow(ruleset, Path(os.devnull), _READ_FILE | _WRITE_FILE)
        _checked(prctl(_NO_NEW_PRIVS, 1, 0, 0, 0))
        _checked(syscall(_RESTRICT_SELF, ruleset, 0))
    finally:
        os.close(ruleset)


def _allow(ruleset: int, path: Path, rights: int) -> None:
    syscall, _ = _kernel()
    descriptor = os.open(path, os.O_PATH | os.O_CLOEXEC)
    try:
        rule = struct.pack("=Qi", rights, descriptor)  # packed in the kernel's header, too
        _checked(syscall(_ADD_RULE, ruleset, _RULE_PATH_BENEATH, rule, 0))
    finally:
        os.close(descriptor)


def _checked(result: int) -> int:
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, f"Landlock: {os.strerror(number)}")
    return result
