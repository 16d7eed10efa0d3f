"""Quick: what is done for every recorded step and every flush, done in C (backends/recording.c, stepping.c) once a program flushes again and again.

The Python it stands for is the only definition: the C does the same for the cases that come all the time, and calls it for the others.
Where there is no compiler, or another interpreter, everything stays Python.
"""

from __future__ import annotations

import ctypes
from functools import lru_cache
from types import FunctionType
from typing import Any

import numpy as np

from ..dialects import flags
from ..dialects.types import DTYPES
from . import assignment, indexing, known_calls, operators, overrides, plan, promote, recorder, storage, strides, views
from .assignment import in_place
from .autocasting import regions
from .known_calls import KnownCalls
from .doubts import ask
from .dying import LOOKING, Dying
from .leaves import Accumulation
from .node import ALIAS, HELD, PHRASE, RESULT, Boundary, Bundle, Node
from .optim.gathered import Gathered
from .optim.updates import write
from .origin import BETWEEN, native, origin
from .phrases import BESIDE, Phrase, Phrases
from .plan import Plan, lay_anew
from .residuals import was_overwritten
from .sampling import Redraw
from .schedule import is_freed
from .size import Size
from .storage import Storage
from .tensor import Tensor, holding, nodes_of
from .track import Native as Tracks
from .views import LeafMark
from .walk import fresh_mark

_WORD = ctypes.sizeof(ctypes.c_void_p)
_METHODS = (
    (KnownCalls, "again"), (KnownCalls, "of_two"), (KnownCalls, "made_node"), (Phrases, "recorded"), (Tensor, "_through"), (Tensor, "__getitem__"),
    (Tensor, "__setitem__"), (Tensor, "detach"), (Tensor, "_detached"), (Tensor, "copy_"), (Node, "__init__"), (Storage, "__init__"),
)  # fmt: skip
"""As recording.c has them."""
_STEPPING = (Phrase, "_append"), (Accumulation, "__call__"), (Gathered, "update"), (Plan, "run")
"""As stepping.c has them; behind them it has the tape."""
_NAMES = {(Node, "__init__"): "node_init", (Storage, "__init__"): "storage_init", (Tensor, "_detached"): "detached", (Tensor, "copy_"): "copied"}
_SLOTTED = (
    (Node, "node"), (Storage, "storage"), (Tensor, "tensor"), (type(recorder.state), "state"), (Phrase, "phrase"), (Boundary, "boundary"),
    (Accumulation, "accumulation"), (KnownCalls, "calls"), (Gathered, "gathered"), (Plan, "plan"), (Dying, "dying"), (known_calls.Anew, "anew"), (views.Detached, "detached"),
)  # fmt: skip
_PYTHON = (nodes_of, None, None, holding, in_place)
_TAPE = recorder.state.tape
_python: dict[tuple[type, str], Any] = {(kind, name): vars(kind)[name] for kind, name in (*_METHODS, *_STEPPING)}
_python |= {(Tensor, short.name): short.method for short in operators.short_operators}


def quicken(library: Any = None, stepping: Any = None) -> None:
    """Record by the functions of a library from now on, and do the rest of a step by those of another, where they can be had."""
    recorder.state.origin = native(library)
    if recorder.state.origin is origin:
        return
    for kind, name, method in _methods(library):
        _exchange(kind, name, method)
    _read_by(*(_readers(library) or _PYTHON))
    _call_publics_by(library)
    found = _rest(stepping) if stepping is not None else []
    if found:
        *methods, recorder.state.tape = found
        for (kind, name), method in zip(_STEPPING, methods, strict=True):
            _exchange(kind, name, method)
        Tracks.track = stepping.lamina_track
        lay_anew()
        _read_numbers_by(stepping)


def _exchange(kind: type, name: str, method: Any) -> None:
    if vars(kind)[name] is _python[kind, name]:  # what a program exchanged itself stays
        setattr(kind, name, method)


def _call_publics_by(library: Any) -> None:
    """Have C look at calls of public functions first: these stay the objects they are, only what happens when they are called is another."""
    thing, number = ctypes.py_object, ctypes.c_int
    library.lamina_public.argtypes, library.lamina_public.restype = (thing, thing, thing, thing, thing, number, number), thing
    library.lamina_publics.argtypes, library.lamina_publics.restype = (number,), None
    if not _methods(library):
        return
    for public in known_calls.publics.values():
        if public.function not in _python_of and type(public.function) is FunctionType:
            own = _python_of[public.function] = _copied(public.function)
            at_length = own if public.at_length is public.function else public.at_length
            library.lamina_public(public.function, own, at_length, public.calls, public.label, public.follows, public.writes)
    library.lamina_publics(True)
    _awake.append(library)


_READERS = (recorder.flush, Tensor.item, Tensor.__bool__, Tensor.__float__, Tensor.__int__)
"""As reading.h has them."""


def _read_numbers_by(library: Any) -> None:
    """Have C flush what it knows the program of, and read single numbers."""
    thing = ctypes.py_object
    library.lamina_reading.argtypes, library.lamina_reading.restype = (thing, thing), thing
    library.lamina_reads.argtypes, library.lamina_reads.restype = (ctypes.c_int,), None
    if library.lamina_reading(_READERS, tuple(map(_copied, _READERS))):
        library.lamina_reads(True)
        _reading.append(library)


_reading: list[Any] = []
_python_of: dict[FunctionType, FunctionType] = {}  # the Python of public functions, as functions that C calls
_awake: list[Any] = []


def _copied(function: FunctionType) -> FunctionType:
    made = FunctionType(function.__code__, function.__globals__, function.__name__, function.__defaults__, function.__closure__)
    made.__kwdefaults__ = function.__kwdefaults__
    return made


def slow() -> None:
    """Record in Python again."""
    while _awake:
        _awake.pop().lamina_publics(False)
    while _reading:
        _reading.pop().lamina_reads(False)
    recorder.state.origin, recorder.state.tape, Tracks.track = origin, _TAPE, None
    lay_anew()
    _read_by(*_PYTHON)
    for (kind, name), method in _python.items():
        setattr(kind, name, method)


def _read_by(nodes_of: Any, holds: Any, are_at: Any, holding: Any, in_place: Any) -> None:
    state = recorder.state
    state.nodes_of, state.holds, state.are_at, state.holding, state.in_place = nodes_of, holds, are_at, holding, in_place


def _readers(library: Any) -> Any:
    """`nodes_of` in C, `holds`, `are_at`, `holding` and `in_place`; None where nothing is recorded in C."""
    if not _methods(library):
        return None
    library.lamina_readers.argtypes, library.lamina_readers.restype = (), ctypes.py_object
    return library.lamina_readers()


@lru_cache(maxsize=1)
def _methods(library: Any) -> list[tuple[type, str, Any]]:
    """Class, name and method of what is to be exchanged. Made once: the C holds on to what it is told."""
    told = _told()
    if told is None:
        return []
    thing = ctypes.py_object
    library.lamina_recording.argtypes, library.lamina_recording.restype = (thing, thing, thing), thing
    library.lamina_operator.argtypes = (thing, thing, thing, thing, thing, ctypes.c_int, ctypes.c_int)
    library.lamina_operator.restype = thing
    methods: list[Any] = []
    if not library.lamina_recording(tuple([kind for kind, _ in _METHODS]), told, methods):
        return []
    made = [(kind, name, method) for (kind, name), method in zip(_METHODS, methods, strict=True)]
    for short in operators.short_operators:
        own = library.lamina_operator(short.name, short.op, short.label, short.calls, short.method, short.flipped, short.compares)
        if own is not None:
            made.append((Tensor, short.name, own))
    return made


@lru_cache(maxsize=1)
def _rest(library: Any) -> list[Any]:
    """The methods and the function of stepping.c; none where slots are not found. Made once, as above."""
    told = _told()
    if told is None:
        return []
    thing = ctypes.py_object
    library.lamina_stepping.argtypes, library.lamina_stepping.restype = (thing, thing), thing
    library.lamina_track.argtypes, library.lamina_track.restype = (ctypes.c_ssize_t, thing, thing, thing), thing
    return library.lamina_stepping(tuple([kind for kind, _ in _STEPPING]), told) or []


def _told() -> dict[str, Any] | None:
    """Where slots lie, and objects, by the names that the C gives them; None where slots are not found."""
    told: dict[str, Any] = {
        "Node": Node, "Storage": Storage, "Tensor": Tensor, "state": recorder.state, "full": "full", "phrase": PHRASE, "fill_in": storage.fill_in,
        "at_bound": recorder.at_bound, "read": Tensor._read, "follow": strides.follow, "numbers": operators.numbers_at, "truth": operators.truth, "regions": regions.on,
        "in_vain": known_calls.IN_VAIN, "redraw": Redraw, "by_line": known_calls.BY_LINE, "seen": promote.seen, "changes": promote.CHANGES, "between": BETWEEN,
        **{_NAMES.get((kind, name), name): vars(kind)[name] for kind, name in _METHODS},
        "plain": tuple(known_calls.TENSORS), "floats": tuple([t for t in DTYPES.values() if t.kind == "f"]),
        "kinds": known_calls.PLAIN, "float": float, "int": int, "tuple": tuple, "list": list, "reshape": "reshape", "slice": "slice",
        "label": "_label", "skips": "skips", "None": None, "True": True, "False": False, "nothing": (), "zero": 0, "minus_one": -1,
        "Boundary": Boundary, "Bundle": Bundle, "LeafMark": LeafMark, "Detached": views.Detached, "result": RESULT, "held": HELD, "beside": BESIDE, "expand": "expand",
        "fresh_mark": fresh_mark, "was_overwritten": was_overwritten, "tape": _TAPE, "write": write, "forget": Tensor._forget,
        "grad_name": "_grad", "hooks_name": "_hooks", "post_hooks_name": "_post_hooks", "mark_name": "_mark", "told_name": "_told", "read_name": "_read", "outputs_name": "outputs",
        "array": np.ndarray, "bool": bool, "permute": "permute", "alias": ALIAS, "phrases_of_reads": views._reads, "phrases_of_writes": views._writes,
        "selections": views._selections, "rows": indexing._rows, "read_part": views.read, "write_part": views.write, "replace": Storage.replace,
        "extended": views.extended, "put": assignment.put, "filled": promote.filled, "slice_class": slice, "parse": indexing._parse, "in_place": in_place, "several": "_several", "shown": known_calls.Shown, "mark": known_calls.mark, "modes": overrides.state.modes, "anew": known_calls.Anew, "Size": Size, "of_arrays": known_calls.OfArrays, "ask": ask,
        "through": _python[Tensor, "_through"], "getitem": _python[Tensor, "__getitem__"], "setitem": _python[Tensor, "__setitem__"],
        "tracks": plan._tracks, "limit": recorder.PENDING_LIMIT, "show": flags.show, "failed": recorder.failed,
        "dying": Dying.of, "is_freed": is_freed, "looking": LOOKING, "counted": _are_counted(),
        **{name: _python[kind, method] for (kind, method), name in zip(_STEPPING, ("append", "arrive", "update", "run"), strict=True)},
    }  # fmt: skip
    for kind, name in _SLOTTED:
        places = _places(kind)
        if places is None:
            return None
        told["class"] = places.pop("class")
        told |= {f"{name}_{slot}": place for slot, place in places.items()}
    return told


def _are_counted() -> bool:
    """Whether half of the first word of an object says how many refer to it."""
    node = Node(None, (), (), (), "", False, 0)  # type: ignore[arg-type]  # never read
    word = ctypes.c_uint64.from_address(id(node))
    alone, more = word.value & 0xFFFFFFFF, [node] * 3
    return alone == 1 and word.value & 0xFFFFFFFF == 1 + len(more)


def _places(kind: type) -> dict[str, int] | None:
    """Where in an object of a class its slots lie, and its class, in bytes: found by looking for what was put there."""
    thing = kind.__new__(kind)
    marks = {slot: object() for slot in kind.__slots__ if not slot.startswith("__")}  # type: ignore[attr-defined]  # those classes have slots
    for slot, mark in marks.items():
        setattr(thing, slot, mark)
    words = list((ctypes.c_size_t * (kind.__basicsize__ // _WORD)).from_address(id(thing)))
    wanted = {slot: id(mark) for slot, mark in (*marks.items(), ("class", kind))}
    if any([words.count(word) != 1 for word in wanted.values()]):
        return None
    return {slot: words.index(word) * _WORD for slot, word in wanted.items()}
