"""Integers of a dictionary that NumPy pickled into a ``.npy`` file, read without unpickling.

A pickle is a program that can run any code. Here its instructions are read as data, and only those are understood by
which NumPy writes arrays in a dictionary: nothing is imported, called or executed.
"""

from __future__ import annotations

import pickletools
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from visloc_ros.core.errors import MapError
from visloc_ros.core.files import read_bytes

_LARGEST_BYTES = 4 << 30
_MAGIC = np.lib.format.magic(1, 0)
_LENGTH_BYTES = 2
_INTEGERS = ("i4", "i8", "u4", "u8")
_ARRAY, _TYPE = "_reconstruct", "dtype"
_SKIPPED = ("PROTO", "FRAME")
_VALUES = (
    "BININT", "BININT1", "BININT2", "LONG1", "SHORT_BINUNICODE", "BINUNICODE", "SHORT_BINBYTES", "BINBYTES",
    "BINBYTES8",
)  # fmt: skip
_CONSTANTS: Mapping[str, Any] = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False, "EMPTY_TUPLE": ()}
_TUPLES = {"TUPLE1": 1, "TUPLE2": 2, "TUPLE3": 3}
_PUTS, _GETS = ("BINPUT", "LONG_BINPUT"), ("BINGET", "LONG_BINGET")


def read_pickled_integers(path: Path, names: tuple[str, ...], advice: str) -> dict[str, NDArray[np.int64]]:
    """Arrays (N,) of integers by their names in the dictionary. Raises MapError with ``advice`` at its end."""
    content = read_bytes(path, MapError, _LARGEST_BYTES, advice)
    start = len(_MAGIC) + _LENGTH_BYTES
    end = start + int.from_bytes(content[len(_MAGIC) : start], "little")
    try:
        if not content.startswith(_MAGIC) or b"'descr': '|O'" not in content[start:end]:
            raise ValueError("no pickled dictionary")
        (dictionary,) = _Read(content[end:]).value.state[4]
        return {name: _integers(dictionary[name]) for name in names}
    except (ValueError, KeyError, IndexError, TypeError, AttributeError, OverflowError) as error:
        wanted = " and ".join(f"'{name}'" for name in names)
        raise MapError(
            f"{path} is no dictionary of NumPy with the integers {wanted}; other pickles, which may run code, are not "
            f"opened{advice}"
        ) from error


@dataclass(eq=False)
class _Made:
    """What a pickle would make by a call of something by its name, and then give a state."""

    name: str
    arguments: Any
    state: Any = None


class _Read:
    """The value of a pickle, with calls as ``_Made``. Raises ValueError for any instruction that is not known."""

    def __init__(self, pickled: bytes) -> None:
        self._stack: list[Any] = []
        self._marks: list[int] = []
        self._memo: dict[int, Any] = {}
        for instruction, argument, _ in pickletools.genops(pickled):
            self._follow(instruction.name, argument)
        (self.value,) = self._stack

    def _follow(self, name: str, argument: Any) -> None:
        stack = self._stack
        if name in _VALUES:
            stack.append(argument)
        elif name in _CONSTANTS:
            stack.append(_CONSTANTS[name])
        elif name == "MARK":
            self._marks.append(len(stack))
        elif name in _PUTS or name == "MEMOIZE":
            self._memo[len(self._memo) if name == "MEMOIZE" else argument] = stack[-1]
        elif name in _GETS:
            stack.append(self._memo[argument])
        elif name == "TUPLE" or name in _TUPLES:
            stack.append(tuple(self._taken(_TUPLES.get(name))))
        elif name not in (*_SKIPPED, "STOP"):
            self._make(name, argument)

    def _make(self, name: str, argument: Any) -> None:
        stack = self._stack
        if name == "EMPTY_DICT":
            stack.append({})
        elif name == "EMPTY_LIST":
            stack.append([])
        elif name in ("SETITEM", "SETITEMS"):
            items = self._taken(2 if name == "SETITEM" else None)
            stack[-1].update(zip(items[0::2], items[1::2], strict=True))
        elif name in ("APPEND", "APPENDS"):
            items = self._taken(1 if name == "APPEND" else None)
            stack[-1].extend(items)
        elif name == "GLOBAL":
            stack.append(argument.rpartition(" ")[2])
        elif name == "STACK_GLOBAL":
            stack.append(self._taken(2)[1])
        elif name == "REDUCE":
            stack.append(_Made(*self._taken(2)))
        elif name == "BUILD":
            (state,) = self._taken(1)
            stack[-1].state = state
        else:
            raise ValueError(f"the instruction {name}")

    def _taken(self, count: int | None) -> list[Any]:
        """The last values, or all since the last mark, taken off the stack."""
        start = self._marks.pop() if count is None else len(self._stack) - count
        if start < 0:
            raise IndexError("the stack is empty")
        values = self._stack[start:]
        del self._stack[start:]
        return values


def _integers(made: Any) -> NDArray[np.int64]:
    """The array (N,) that NumPy would make."""
    _, (count,), kind, _, content = made.state
    if made.name != _ARRAY or kind.name != _TYPE or kind.arguments[0] not in _INTEGERS or kind.state[1] not in "<>":
        raise ValueError("no array of integers")
    numbers = np.frombuffer(content, np.dtype(f"{kind.state[1]}{kind.arguments[0]}"))
    if len(numbers) != count:
        raise ValueError(f"{len(numbers)} integers instead of {count}")
    return numbers.astype(np.int64)
