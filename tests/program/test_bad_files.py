"""Files, folders, texts and settings that are not what they should be: one clear error, nothing half written."""

from __future__ import annotations

import pickle
import zipfile
from pathlib import Path

import pytest
from command_line import Outcome, assert_plain, lamina, many

NET = """import torch

class Net(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.fc = torch.nn.Linear(3, 2)

    def forward(self, x):
        return self.fc(x).relu()

class Needy(Net):
    def __init__(self, width):
        super().__init__()

class Angry(Net):
    def forward(self, x):
        return self.fc(x) + {}["missing"]

class Tensorless(Net):
    def forward(self, x):
        return 3.5

class Reader(Net):
    def forward(self, x):
        return x if self.fc(x).sum().item() > 0 else -x

def wrong():
    return 3

def doubled(x):
    return x * 2

SIZE = 28
if __name__ == "__main__":
    torch.save(Net().state_dict(), "net.pt")
    torch.save({"fc.weight": torch.ones(3)}, "other.pt")
    torch.save(torch.ones(3), "tensor.pt")
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("files")
    (folder / "net.py").write_text(NET, encoding="utf-8")
    assert lamina("run", "net.py", cwd=folder).status == 0
    whole = (folder / "net.pt").read_bytes()
    (folder / "truncated.pt").write_bytes(whole[: len(whole) // 2])
    place = whole.index(b"PK\x03\x04", 1) - 8
    (folder / "flipped.pt").write_bytes(_flipped(folder / "net.pt"))
    (folder / "foreign.pt").write_text("hello", encoding="utf-8")
    (folder / "empty.pt").write_bytes(b"")
    (folder / "pickled.pt").write_bytes(pickle.dumps({"a": print}))
    (folder / "file").write_text("", encoding="utf-8")
    assert place > 0
    return folder


def _flipped(path: Path) -> bytes:
    """A checkpoint with one bit of a tensor turned."""
    data = bytearray(path.read_bytes())
    with zipfile.ZipFile(path) as archive:
        entry = next(e for e in archive.infolist() if "/data/" in e.filename and e.file_size)
    start = entry.header_offset + 30 + int.from_bytes(data[entry.header_offset + 26 : entry.header_offset + 28], "little")
    start += int.from_bytes(data[entry.header_offset + 28 : entry.header_offset + 30], "little")
    data[start] ^= 1
    return bytes(data)


X = ("--example", "float32[1,3]", "-o", "out")
# arguments | words of the error
COMPILE = {
    "truncated": (("net.py:Net", "--weights", "truncated.pt", *X), ("FileError: truncated.pt is not a readable checkpoint", "file size")),
    "flipped": (("net.py:Net", "--weights", "flipped.pt", *X), ("FileError: flipped.pt", "at offset", "CRC")),
    "foreign": (("net.py:Net", "--weights", "foreign.pt", *X), ("FileError: foreign.pt is not a checkpoint: no zip header at offset 0",)),
    "empty": (("net.py:Net", "--weights", "empty.pt", *X), ("FileError: empty.pt is empty",)),
    "pickled": (("net.py:Net", "--weights", "pickled.pt", *X), ("FileError: pickled.pt is not a checkpoint",)),
    "of another model": (("net.py:Net", "--weights", "other.pt", *X), ("other.pt does not fit the model", 'Missing key(s) in state_dict: "fc.bias"', "size mismatch for fc.weight")),
    "no state_dict": (("net.py:Net", "--weights", "tensor.pt", *X), ("tensor.pt holds a Tensor, not a state_dict",)),
    "weights missing": (("net.py:Net", "--weights", "none.pt", *X), ("No such file or directory: 'none.pt'", "help: in that folder")),
    "script missing": (("none.py:Net", *X), ("FileError: cannot read none.py",)),
    "no class": (("net.py", *X), ("'net.py' does not name a model", "help: write SCRIPT:CLASS")),
    "unknown class": (("net.py:Nut", *X), ("net.py defines no Nut", "help: models it defines: Angry, Needy, Net, Reader, Tensorless")),
    "needs arguments": (("net.py:Needy", *X), ("Needy in net.py cannot be called without arguments: missing a required argument: 'width'",)),
    "a number": (("net.py:SIZE", *X), ("SIZE is not a torch.nn.Module",)),
    "makes a number": (("net.py:wrong", *X), ("wrong is not a torch.nn.Module",)),
    "forward raises": (("net.py:Angry", *X), ('net.py", line 17, in forward', "KeyError: 'missing'")),
    "no tensors": (("net.py:Tensorless", *X), ("forward gives a float, not tensors",)),
    "reads a value": (("net.py:Reader", *X), ("looks at a value on the way that depends on x", "return x if self.fc(x).sum().item() > 0 else -x")),
    "no type": (("net.py:Net", "--example", "float[1,3", "-o", "out"), ("'float[1,3' is not a type", "float32[64,1,28,28]")),
    "negative size": (("net.py:Net", "--example", "float32[-1,3]", "-o", "out"), ("'float32[-1,3]' is not a type",)),
    "wrong shape": (("net.py:Net", "--example", "float32[1,4]", "-o", "out"), ("ShapeError: mat1 and mat2", "input   float32[1, 4]  x", "at net.py:9")),
    "wrong dtype": (("net.py:Net", "--example", "int64[1,3]", "-o", "out"), ("DTypeError: linear needs one dtype",)),
    "too many inputs": (("net.py:Net", "--example", "float32[1,3]", *X), ("LaminaError: forward of Net does not take 2 arguments: too many positional arguments", "help: give one --example for each of x, in order")),
    "a function that does not train": (("net.py:doubled", *X), ("LaminaError: the function reaches no optimizer", "help: a training step names its model and its optimizer")),
    "output is a file": (("net.py:Net", "--example", "float32[1,3]", "-o", "file"), ("FileError: cannot write the model into file", "help: choose another folder")),
    "dump is a file": (("net.py:Net", *X, "--dump", "file"), ("FileError: cannot make the folder file", "--dump")),
}  # fmt: skip


@pytest.fixture(scope="module")
def compiled(folder: Path) -> dict[str, Outcome]:
    commands = [("compile", *arguments) for arguments, _ in COMPILE.values()]
    return dict(zip(COMPILE, many(commands, folder), strict=True))


@pytest.mark.parametrize("case", COMPILE)
def test_compile(case: str, compiled: dict[str, Outcome], folder: Path) -> None:
    status, out, err = compiled[case]
    assert status == 1 and not out
    for words in COMPILE[case][1]:
        assert words in err, err
    assert_plain(err)
    assert not (folder / "out").exists() and (folder / "file").read_bytes() == b""


GOOD = """builtin.module {
  func.func @main(%x: tensor<4xf32>) -> tensor<4xf32> {
    %y = prim.exp %x : (tensor<4xf32>) -> tensor<4xf32>
    %z = prim.neg %y : (tensor<4xf32>) -> tensor<4xf32>
    func.return %z : tensor<4xf32>
  }
}
"""
LINES = GOOD.splitlines(keepends=True)
# text, pipeline, words of the error
TEXTS = {
    "empty": ("", "cse", ("t.mlir is empty",)),
    "not IR": ("hello\n", "cse", ("hello is not registered", "at t.mlir:1:")),
    "unknown op": (GOOD.replace("exp", "expp"), "cse", ("Operation prim.expp is not registered", "at t.mlir:3:")),
    "syntax": (GOOD.replace("tensor<4xf32>)", "tensor<4xf32)", 1), "cse", ("Expected '>'", "at t.mlir:2:")),
    "cut off": ("".join(LINES[:3]), "cse", ("the text ends here, unfinished", "at t.mlir:4:1")),
    "types that differ": (GOOD.replace("%y : (tensor<4x", "%y : (tensor<5x"), "cse", ("operand is used with type tensor<5xf32>", "at t.mlir:4:")),
    "wrong result type": (GOOD.replace("f32>\n    func.return %z : tensor<4xf32>", "f64>\n    func.return %x : tensor<4xf32>"), "cse", ("prim.neg gives tensor<4xf32>, not tensor<4xf64>", "at t.mlir:4:5")),
    "used before defined": ("".join([*LINES[:2], LINES[3], LINES[2], *LINES[4:]]), "cse", ("operand 0 of prim.neg is used before it is defined", "at t.mlir:3:5")),
    "undefined": (GOOD.replace("exp %x", "exp %nope"), "cse", ("%nope is used but not defined", "at t.mlir:3:19")),
    "missing attribute": (GOOD.replace("exp %x", "sum %x"), "cse", ("prim.sum lacks its attribute axes", "at t.mlir:3:5")),
    "no main": ("builtin.module {\n}\n", "cse", ("the module has no @main function",)),
    "misspelt pass": (GOOD, "fuze", ("there is no pass called 'fuze'", "help: did you mean fuse? known passes: autodiff")),
    "unknown pass": (GOOD, "nonsense", ("there is no pass called 'nonsense'", "help: known passes: autodiff")),
    "unknown option": (GOOD, "cse{depth=3}", ('"depth"', "help: its options")),
    "wrong option": (GOOD, "simplify{fast=maybe}", ("simplify: ", "help: its options")),
    "unreadable pipeline": (GOOD, "cse{", ("cannot read the pipeline 'cse{'",)),
    "wrong order": (GOOD, "bufferize,fuse", ("fuse cannot run here", "comes after")),
    "wrong level": (GOOD, "bufferize", ("bufferize cannot run on this module", "prim.exp outside a kernel")),
    "level too low": (GOOD.replace("prim.neg %y : (", "autodiff.saved %x, %y : (tensor<4xf32>, "), "fuse", ("fuse cannot run on this module", "autodiff.saved")),
}  # fmt: skip


@pytest.fixture(scope="module")
def rewritten(folder: Path) -> dict[str, Outcome]:
    commands = []
    for i, (text, pipeline, _) in enumerate(TEXTS.values()):
        (folder / str(i)).mkdir()
        (folder / str(i) / "t.mlir").write_text(text, encoding="utf-8")
        commands.append(("opt", folder / str(i) / "t.mlir", "-p", pipeline, "-o", folder / str(i) / "new.mlir"))
    return dict(zip(TEXTS, many(commands, folder), strict=True))


@pytest.mark.parametrize("case", TEXTS)
def test_opt(case: str, rewritten: dict[str, Outcome], folder: Path) -> None:
    status, out, err = rewritten[case]
    number = list(TEXTS).index(case)
    assert status == 1 and not out and not (folder / str(number) / "new.mlir").exists()
    err = err.replace(str(folder / str(number)) + "/", "")
    for words in TEXTS[case][2]:
        assert words in err, err
    assert "Traceback" not in err
    assert_plain(err)


@pytest.mark.slow
def test_opt_files(folder: Path) -> None:
    (folder / "bytes.mlir").write_bytes(b"\x00\xff\xfe")
    (folder / "good.mlir").write_text(GOOD, encoding="utf-8")
    missing, bytes_, output, good = many(
        [
            ("opt", "none.mlir"), ("opt", "bytes.mlir"), ("opt", "good.mlir", "-o", "nowhere/new.mlir"),
            ("opt", "good.mlir", "-p", "fuse,kernel-to-linalg", "--check-each-pass"),
        ],
        folder,
    )  # fmt: skip
    assert missing.status == 1 and "FileError: cannot read none.mlir" in missing.err
    assert bytes_.status == 1 and "FileError: cannot read bytes.mlir" in bytes_.err
    assert output.status == 1 and "FileError: cannot write nowhere/new.mlir" in output.err
    assert good.status == 0 and "linalg.generic" in good.out


SETTINGS = {
    "LAMINA_THREADS": "0", "LAMINA_CHECK": "7", "LAMINA_SHOW": "banana", "LAMINA_DEVICE": "tpu", "LAMINA_FAST": "maybe",
}  # fmt: skip


@pytest.mark.parametrize("variable", SETTINGS)
def test_settings(variable: str) -> None:
    done = lamina("flags", **{variable: SETTINGS[variable]})
    assert done.status == 1 and f"{variable}='{SETTINGS[variable]}' is not a value of this flag\nhelp: " in done.err, done.err


def test_options(folder: Path) -> None:
    commands = [("--threads", "0"), ("--show", "banana"), ("--device", "tpu"), ("--dump", "file"), ("--nonsense",)]
    outcomes = many([*[("run", *c, "net.py") for c in commands], ("run",), ("nonsense",), ()], folder)
    assert [o.status for o in outcomes] == [2, 2, 2, 1, 2, 2, 2, 2]
    assert "number of threads" in outcomes[0].err and "comma list" in outcomes[1].err and "invalid choice" in outcomes[2].err
    assert "FileError: cannot make the folder file" in outcomes[3].err
    assert not any("Traceback" in o.err for o in outcomes)
