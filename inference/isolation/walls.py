"""What the kernel keeps the process of a tenant's model from: files but its own, the network, other processes and programs.

Two walls of Linux, put up by the process itself and irrevocable: Landlock for files, a seccomp filter for system calls. Where
the kernel has one of them not, :func:`put_up` says so and the limits of ``limits.py`` still hold.
Sources: landlock(7), seccomp(2), linux/landlock.h, linux/filter.h, the system call tables of x86_64 and aarch64.
"""

import ctypes
import os
import platform
import struct
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Final

_PR_SET_NO_NEW_PRIVS: Final = 38
_PR_SET_SECCOMP: Final = 22
_SECCOMP_MODE_FILTER: Final = 2
_PR_SET_PDEATHSIG: Final = 1
_SIGKILL: Final = 9

_LANDLOCK_CREATE_RULESET, _LANDLOCK_ADD_RULE, _LANDLOCK_RESTRICT_SELF = 444, 445, 446
_LANDLOCK_CREATE_RULESET_VERSION: Final = 1
_LANDLOCK_RULE_PATH_BENEATH: Final = 1
_READ_FILE, _READ_DIR = 1 << 2, 1 << 3
_ALL_OF_ABI: Final = {1: (1 << 13) - 1, 2: (1 << 14) - 1, 3: (1 << 15) - 1}
"""Every right to files that a version of Landlock knows: what is not allowed below is forbidden."""

# The system calls that a model has no use for, by machine: (x86_64, aarch64).
_FORBIDDEN: Final[dict[str, tuple[int | None, int | None]]] = {
    "socket": (41, 198),
    "socketpair": (53, 199),
    "connect": (42, 203),
    "bind": (49, 200),
    "listen": (50, 201),
    "accept": (43, 202),
    "accept4": (288, 242),
    "execve": (59, 221),
    "execveat": (322, 281),
    "fork": (57, None),
    "vfork": (58, None),
    "kill": (62, 129),
    "tkill": (200, 130),
    "pidfd_open": (434, 434),
    "pidfd_send_signal": (424, 424),
    "pidfd_getfd": (438, 438),
    "ptrace": (101, 117),
    "process_vm_readv": (310, 270),
    "process_vm_writev": (311, 271),
    "setns": (308, 268),
    "unshare": (272, 97),
    "mount": (165, 40),
    "umount2": (166, 39),
    "bpf": (321, 280),
    "perf_event_open": (298, 241),
    "userfaultfd": (323, 282),
    "io_uring_setup": (425, 425),
    "keyctl": (250, 219),
    "add_key": (248, 217),
    "init_module": (175, 105),
    "finit_module": (313, 273),
    "kexec_load": (246, 104),
    "reboot": (169, 142),
    "setuid": (105, 146),
    "setgid": (106, 144),
}
_MACHINES: Final = {"x86_64": (0, 0xC000003E), "aarch64": (1, 0xC00000B7)}

# Instructions and offsets of classic BPF over struct seccomp_data.
_LOAD, _JUMP_EQUAL, _JUMP_ABOVE, _RETURN = 0x20, 0x15, 0x35, 0x06
_AT_NUMBER, _AT_MACHINE = 0, 4
_ALLOW: Final = 0x7FFF0000
_REFUSE: Final = 0x00050000 | 1  # EPERM
_KILL: Final = 0x80000000
_X32: Final = 0x40000000  # On x86_64, numbers from here on are those of another table.


class _Program(ctypes.Structure):
    _fields_ = (("length", ctypes.c_ushort), ("instructions", ctypes.c_void_p))


def put_up(*, readable: Iterable[Path]) -> list[str]:
    """Restrict this process to reading below ``readable``; gives the names of the walls that stand."""
    if sys.platform != "linux" or platform.machine() not in _MACHINES:
        return []
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0:
        return []
    walls = []
    if _restrict_files(libc, readable):
        walls.append("landlock")
    if _restrict_calls(libc):
        walls.append("seccomp")
    return walls


def die_with_parent() -> None:
    """End this process when the one that started it ends, however that happens. Linux only."""
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, _SIGKILL, 0, 0, 0)


def _restrict_files(libc: ctypes.CDLL, readable: Iterable[Path]) -> bool:
    version = libc.syscall(_LANDLOCK_CREATE_RULESET, None, 0, _LANDLOCK_CREATE_RULESET_VERSION)
    if version < 1:
        return False
    handled = struct.pack("<Q", _ALL_OF_ABI[min(version, max(_ALL_OF_ABI))])
    rules = libc.syscall(_LANDLOCK_CREATE_RULESET, handled, len(handled), 0)
    if rules < 0:
        return False
    try:
        for path in readable:
            if not _allow_reading(libc, rules, path):
                return False
        return bool(libc.syscall(_LANDLOCK_RESTRICT_SELF, rules, 0) == 0)
    finally:
        os.close(rules)


def _allow_reading(libc: ctypes.CDLL, rules: int, path: Path) -> bool:
    """Whether what lies at ``path`` may be read now; also True where nothing lies there."""
    try:
        handle = os.open(path, os.O_PATH | os.O_CLOEXEC)
    except OSError:
        return True
    try:
        rights = _READ_FILE | _READ_DIR if path.is_dir() else _READ_FILE
        rule = struct.pack("<Qi", rights, handle)
        return bool(libc.syscall(_LANDLOCK_ADD_RULE, rules, _LANDLOCK_RULE_PATH_BENEATH, rule, 0) == 0)
    finally:
        os.close(handle)


def _restrict_calls(libc: ctypes.CDLL) -> bool:
    column, machine = _MACHINES[platform.machine()]
    numbers = [calls[column] for calls in _FORBIDDEN.values()]
    code = filter_of([number for number in numbers if number is not None], machine=machine)
    buffer = ctypes.create_string_buffer(code, len(code))
    program = _Program(len(code) // 8, ctypes.cast(buffer, ctypes.c_void_p))
    return bool(libc.prctl(_PR_SET_SECCOMP, _SECCOMP_MODE_FILTER, ctypes.byref(program), 0, 0) == 0)


def filter_of(numbers: Sequence[int], *, machine: int) -> bytes:
    """A filter that refuses these system calls with EPERM, ends a process that changes the table, and allows the rest."""

    def step(code: int, if_true: int, if_false: int, value: int) -> bytes:
        return struct.pack("<HBBI", code, if_true, if_false, value)

    steps = [
        step(_LOAD, 0, 0, _AT_MACHINE),
        step(_JUMP_EQUAL, 1, 0, machine),
        step(_RETURN, 0, 0, _KILL),
        step(_LOAD, 0, 0, _AT_NUMBER),
        step(_JUMP_ABOVE, len(numbers) + 1, 0, _X32),
    ]
    for place, number in enumerate(numbers):
        steps.append(step(_JUMP_EQUAL, len(numbers) - place, 0, number))
    steps.append(step(_RETURN, 0, 0, _ALLOW))
    steps.append(step(_RETURN, 0, 0, _REFUSE))
    return b"".join(steps)
