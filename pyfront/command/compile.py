"""`lamina compile SCRIPT:CLASS`: a trained model, or a whole training step, as C files that need no runtime."""

from __future__ import annotations

import argparse
import os
import re
import sys
from collections.abc import Sequence
from inspect import signature
from pathlib import Path
from types import FunctionType, ModuleType
from typing import Any

from ...dialects.errors import FileError, LaminaError
from ...dialects.types import DTYPES, Type
from .. import import_hook
from .flags import overridden
from .run import read_script


def add(subcommands: argparse._SubParsersAction) -> None:
    """Enter the subcommand."""
    parser = subcommands.add_parser("compile", help="turn a model into C, a header, weights and a library")
    parser.add_argument(
        "model", metavar="SCRIPT:CLASS",
        help="where the model is defined; CLASS() must make it. Or a function that takes the examples and trains: a step of training",
    )  # fmt: skip
    parser.add_argument("--weights", metavar="FILE", help="its state_dict (torch.save or safetensors)")
    parser.add_argument(
        "--example", metavar="TYPE", action="append", required=True,
        help="an input's type: 'float32[64,1,28,28]'; for ONNX sizes known only when it runs have names: 'float32[batch=64,1,28,28]'",
    )  # fmt: skip
    parser.add_argument("-o", "--output", metavar="DIR", required=True)
    parser.add_argument("--main", action="store_true", help="also write a main.c that runs the model on a file of samples")
    parser.add_argument("--no-shared", action="store_true", help="build no shared library")
    parser.add_argument(
        "--target", metavar="NAME", default="native", type=_target, help="native, portable, a GPU (cuda:sm_90a writes CUDA, PTX and a cubin), or onnx"
    )
    parser.add_argument("--dump", metavar="DIR", help="write the IR after each changing pass into a folder")
    parser.add_argument("--override", metavar="DIR", help="go on from the files of this dump that were edited")
    parser.add_argument("--check-each-pass", action="store_true", help="compare every stage with the numpy oracle")
    parser.set_defaults(act=act)


def _target(text: str) -> str:
    if text not in ("native", "portable", "onnx") and not text.startswith("cuda:"):
        raise argparse.ArgumentTypeError(f"{text!r} is none of native, portable, onnx, cuda:ARCHITECTURE")
    return text


def act(options: argparse.Namespace) -> int:
    """Write the files and list them."""
    import_hook.install()
    read = [read_example(text) for text in options.example]
    examples, names = [_example(t) for t, _ in read], [names for _, names in read]
    made = load(options.model, len(examples))
    with overridden(options.override, options.dump):
        if isinstance(made, FunctionType):
            written = _write_step(options, made, examples, names)
        else:
            _refuse_count(made, len(examples))
            if options.weights:
                _load_weights(made, options.weights)
            made.eval()
            written = (_write_onnx if options.target == "onnx" else _write_programs)(options, made, examples, names)
    for path in written:
        print(f"{os.path.getsize(path):>10,}  {path}")
    return 0


def _write_programs(options: argparse.Namespace, model: Any, examples: list[Any], names: list[dict[int, str]]) -> Sequence[Path]:
    from ..exported_program import write_c
    from ..recordings import export

    _refuse_names(names)
    return write_c(export(model, examples), options.output, **_wanted(options))


def _write_step(options: argparse.Namespace, step: Any, examples: list[Any], names: list[dict[int, str]]) -> Sequence[Path]:
    from ..training_step import reached, training_step

    _refuse_names(names)
    if options.target == "onnx":
        raise LaminaError("an ONNX model keeps nothing, so a training step cannot be one", help="leave --target out, or name a model")
    if options.weights:
        models = list(reached(step)[0].values())
        if len(models) != 1:
            raise LaminaError(f"--weights are for one model, and {step.__name__} reaches {len(models)}", help="load them in the script")
        _load_weights(models[0], options.weights)
    return training_step(step, tuple(examples)).to_c(options.output, **_wanted(options))


def _refuse_count(model: Any, count: int) -> None:
    """LaminaError where forward does not take so many arguments."""
    try:
        signature(model.forward).bind(*[None] * count)
    except TypeError as error:
        given = f"{count} argument{'s' if count > 1 else ''}"
        names = [p.name for p in signature(model.forward).parameters.values() if p.default is p.empty and p.kind is p.POSITIONAL_OR_KEYWORD]
        raise LaminaError(
            f"forward of {type(model).__name__} does not take {given}: {error}", help=f"give one --example for each of {', '.join(names) or 'its arguments'}, in order",
        ) from None  # fmt: skip
    except ValueError:  # a callable that does not say what it takes
        pass


def _refuse_names(names: list[dict[int, str]]) -> None:
    if any(names):
        raise LaminaError("sizes with names are for --target onnx: programs are compiled for the sizes of their examples")


def _wanted(options: argparse.Namespace) -> dict[str, Any]:
    return {
        "main": options.main, "shared": not options.no_shared, "target": options.target, "dump": options.dump,
        "check": 2 if options.check_each_pass else 0,
    }  # fmt: skip


def _write_onnx(options: argparse.Namespace, model: Any, examples: list[Any], names: list[dict[int, str]]) -> Sequence[Path]:
    from ..onnx import export

    if options.main or options.dump or options.override or options.check_each_pass:
        raise LaminaError("--main, --dump, --override and --check-each-pass say nothing of an ONNX model", help="leave them out")
    program = export(model, tuple(examples), dynamic_shapes=names if any(names) else None)
    folder = Path(options.output)
    folder.mkdir(parents=True, exist_ok=True)
    return program.save(folder / "model.onnx")


def load_model(where: str) -> Any:
    """The model of ``SCRIPT:CLASS``; see `load`."""
    return load(where, 0)


def load(where: str, count: int) -> Any:
    """The model of ``SCRIPT:CLASS``, or a function of so many arguments. The script is loaded as a module: what it does under
    ``__main__`` is not done."""
    script, colon, name = where.rpartition(":")
    if not colon or not name.isidentifier():
        raise LaminaError(f"{where!r} does not name a model", help="write SCRIPT:CLASS, for example train.py:Net")
    _, code = read_script(script)
    module = ModuleType(os.path.splitext(os.path.basename(script))[0])
    module.__file__ = script
    sys.modules[module.__name__] = module
    sys.path.insert(0, os.path.dirname(os.path.abspath(script)))
    exec(code, module.__dict__)  # the user's own script: loading it is what was asked for
    made = getattr(module, name, None)
    from ..nn import Module

    if not hasattr(module, name):
        known = sorted(k for k, v in vars(module).items() if isinstance(v, type) and issubclass(v, Module) and v is not Module)
        raise LaminaError(f"{script} defines no {name}", help=f"models it defines: {', '.join(known) or 'none'}")
    if count and isinstance(made, FunctionType) and not _binds(made, 0) and _binds(made, count):
        return made
    model = made if isinstance(made, Module) or not callable(made) else _make(script, name, made)
    if not isinstance(model, Module):
        raise LaminaError(f"{name} is not a torch.nn.Module", help="name a Module class, or a function that makes a model")
    return model


def _binds(function: Any, count: int) -> bool:
    """Whether a function can be called with so many arguments."""
    try:
        signature(function).bind(*[None] * count)
    except TypeError:
        return False
    return True


def _make(script: str, name: str, made: Any) -> Any:
    """Call what makes the model. LaminaError when it wants arguments; errors of its own are the user's."""
    try:
        signature(made).bind()
    except TypeError as error:
        raise LaminaError(
            f"{name} in {script} cannot be called without arguments: {error}",
            help=f"name a function that makes the model, for example: def model(): return {name}(...); a step of training takes one --example "
            "for each of its arguments",
        ) from None
    except ValueError:  # a callable that does not say what it takes
        pass
    return made()


def _load_weights(model: Any, path: str) -> None:
    from ..files import load

    state = load(path)
    if not isinstance(state, dict):
        raise FileError(f"{path} holds a {type(state).__name__}, not a state_dict", help="save model.state_dict()")
    for key in ("state_dict", "model_state_dict", "model"):  # training checkpoints keep it among other things
        if isinstance(state.get(key), dict):
            state = state[key]
            break
    try:
        model.load_state_dict(state)
    except RuntimeError as error:
        raise FileError(f"{path} does not fit the model: {error}", help="give the weights this class was trained with") from None


def read_example(text: str) -> tuple[Type, dict[int, str]]:
    """``float32[batch=64,1,28,28]`` as a type and the names of its sizes by dimension; a name alone stands for a size of 2."""
    names: dict[int, str] = {}
    head, bracket, rest = text.partition("[")
    sizes = rest.split(",")
    for i, size in enumerate(sizes):
        match = re.fullmatch(r"\s*([A-Za-z_]\w*)\s*(?:=\s*(\d+)\s*)?(\]?)\s*", size)
        if match:
            names[i] = match[1]
            sizes[i] = (match[2] or "2") + match[3]
    return read_type(head + bracket + ",".join(sizes)), names


def read_type(text: str) -> Type:
    """``float32[64,1,28,28]`` as a type. LaminaError when it is not one."""
    match = re.fullmatch(r"\s*(\w+)\s*\[([\d,\s]*)\]\s*", text)
    dtype = DTYPES.get(match[1]) if match else None
    if match is None or dtype is None:
        raise LaminaError(f"{text!r} is not a type", help=f"write a dtype and sizes, for example float32[64,1,28,28]; dtypes: {', '.join(sorted(t.name for t in set(DTYPES.values())))}")  # fmt: skip
    return tuple(int(n) for n in match[2].replace(" ", "").split(",") if n), dtype


def _example(wanted: Type) -> Any:
    from ..creation import zeros

    return zeros(*wanted[0], dtype=wanted[1])
