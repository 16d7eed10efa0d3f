"""Wrong calls in a user's script: PyTorch's words, the operands, the line, and what to do next; the process lives on."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from command_line import assert_plain, lamina

# What is called | kind of error | words of it
CALLS = """
torch.ones(3, 4) @ torch.ones(5, 6) | ShapeError | mat1 and mat2 shapes cannot be multiplied (3x4 and 5x6)
torch.ones(3, 4) + torch.ones(5) | ShapeError | The size of tensor a (4) must match the size of tensor b (5) at non-singleton dimension 1
torch.ones(3, 4).reshape(5, 5) | ShapeError | shape '[5, 5]' is invalid for input of size 12
torch.ones(3).expand(4, 5) | ShapeError | The expanded size of the tensor (5) must match the existing size (3)
torch.cat([torch.ones(2, 3), torch.ones(3, 4)]) | ShapeError | Sizes of tensors must match except in dimension 0. Expected size 3 but got size 4
nn.Linear(3, 4)(torch.ones(2, 5)) | ShapeError | mat1 and mat2 shapes cannot be multiplied (2x5 and 3x4)
nn.Conv2d(1, 2, 3)(torch.ones(2, 3, 8, 8)) | ShapeError | to have 1 channels, but got 3 channels instead
nn.Conv2d(1, 2, 9)(torch.ones(1, 1, 8, 8)) | ShapeError | Kernel size can't be greater than actual input size
nn.CrossEntropyLoss()(torch.ones(3, 4), torch.ones(2).long()) | ShapeError | Expected input batch_size (3) to match target batch_size (2)
torch.ones(3).masked_fill(torch.ones(2).bool(), 1.) | ShapeError | must match the size of tensor b (2)
nn.Linear(3, 4)(torch.ones(2, 3).long()) | DTypeError | got Long and Float
torch.ones(3) & torch.ones(3) | DTypeError | bitwise_and needs an integer or bool a, got float32
torch.softmax(torch.ones(3).long(), 0) | DTypeError | needs a floating-point
torch.ones(3, device="cuda") | NoDeviceError | there is no device 'cuda' here
nn.Linear(2, 2).to("cuda") | NoDeviceError | there is no device 'cuda' here
torch.nonexistent(3) | MissingNameError | module 'torch' has no attribute 'nonexistent'
nn.Nonexistent(3) | MissingNameError | module 'torch.nn' has no attribute 'Nonexistent'
torch.load("missing.pt") | MissingFileError | No such file or directory: 'missing.pt'
torch.save(torch.ones(2), "nowhere/x.pt") | FileError | cannot write nowhere/x.pt
torch.ones(3).nonexistent() | AttributeError | 'Tensor' object has no attribute 'nonexistent'
torch.ones(3, device="banana") | RuntimeError | at start of device string: banana
torch.ones(3, dtype="float32") | TypeError | argument 'dtype' must be torch.dtype, not str
torch.ones(2.5) | TypeError | must be tuple of ints
torch.ones(-1) | RuntimeError | negative dimension -1
torch.ones(3, 4).sum(5) | IndexError | Dimension out of range (expected to be in range of [-2, 1], but got 5)
torch.ones(3)[5] | IndexError | index 5 is out of bounds for dimension 0 with size 3
torch.ones(3)[torch.tensor([9])] | IndexError | index 9 is out of bounds for dimension 0 with size 3
torch.ones(3, 4).permute(0, 0) | RuntimeError | duplicate dims are not allowed
torch.ones(3, 4).chunk(0) | RuntimeError | chunk expects `chunks` to be greater than 0, got: 0
torch.where(torch.ones(3), 1., 2.) | RuntimeError | where expected condition to be a boolean tensor
torch.eye(-2) | RuntimeError | must be greater or equal to 0, got -2
torch.einsum("ij,jk", torch.ones(2, 3)) | RuntimeError | fewer operands were provided than specified
torch.einsum("ij,jk->il", torch.ones(2, 3), torch.ones(3, 2)) | RuntimeError | output subscript l does not appear
torch.ones(3).backward() | RuntimeError | does not require grad and does not have a grad_fn
torch.ones(2, requires_grad=True).backward() | RuntimeError | grad can be implicitly created only for scalar outputs
torch.ones(2, requires_grad=True).add_(1) | RuntimeError | a leaf Variable that requires grad is being used in an in-place operation
torch.ones(2).item() | RuntimeError | a Tensor with 2 elements cannot be converted to Scalar
nn.CrossEntropyLoss()(torch.ones(3, 4), torch.tensor([0, 1, 9])) | IndexError | Target 9 is out of bounds
nn.Embedding(3, 4)(torch.tensor([5])) | IndexError | index out of range in self
nn.Embedding(3, 4)(torch.ones(2)) | DTypeError | one of the following scalar types: Long, Int; but got torch.float32
nn.Linear(2, 2).load_state_dict({"weight": torch.ones(3, 3)}) | RuntimeError | size mismatch for weight
torch.optim.Adam([]) | ValueError | optimizer got an empty parameter list
torch.tensor([[1, 2], [3]]) | ValueError | expected sequence of length 2 at dim 1 (got 1)
torch.ones(3) + "a" | TypeError | unsupported operand type(s) for +
""".strip().splitlines()

SCRIPT = """import json
import torch
import torch.nn as nn

def attempt(call):
    try:
        exec(compile(call, "calls.py", "exec"), globals())
    except Exception as error:
        return [[kind.__name__ for kind in type(error).__mro__], str(error)]
    return [[], "no error"]

print(json.dumps([attempt(call) for call in CALLS]))
print(torch.ones(3).sum().item())
"""


@pytest.fixture(scope="module")
def answers(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[list[str], str]]:
    folder = tmp_path_factory.mktemp("calls")
    calls = [line.split(" | ")[0] for line in CALLS]
    (folder / "train.py").write_text(SCRIPT.replace("in CALLS", f"in {calls!r}"), encoding="utf-8")
    done = lamina("run", "train.py", cwd=folder)
    first, last = done.out.splitlines()
    assert last == "3.0", done.err  # nothing that failed is still waiting to be computed
    return {call: (kinds, text) for call, (kinds, text) in zip(calls, json.loads(first), strict=True)}


@pytest.mark.parametrize("line", CALLS, ids=lambda line: line.split(" | ")[0])
def test_wrong_call(line: str, answers: dict[str, tuple[list[str], str]]) -> None:
    call, kind, words = line.split(" | ")
    kinds, text = answers[call]
    assert kind in kinds and words in text, (kinds, text)
    assert_plain(text)
    if kind in ("ShapeError", "DTypeError"):
        assert "    at calls.py:1" in text, text  # the user's line
    if kind in ("DTypeError", "UnsupportedError", "NoDeviceError", "MissingNameError", "FileError"):
        assert "help: " in text, text


def test_a_wrong_call_shows_only_the_users_frames(tmp_path: Path) -> None:
    (tmp_path / "net.py").write_text("import torch\ndef forward(x):\n    return x @ x\n", encoding="utf-8")
    script = tmp_path / "train.py"
    script.write_text("import torch\nimport net\ntry:\n    {}['a']\nexcept KeyError:\n    net.forward(torch.ones(2, 3))\n", encoding="utf-8")
    done = lamina("run", script)
    assert done.status == 1 and done.err.count("File ") == 3, done.err  # KeyError's line, the call, the product
    assert "ShapeError: mat1 and mat2" in done.err and "a  float32[2, 3]  train.py:6" in done.err
    assert "at net.py:3   return x @ x" in done.err
    assert str(Path("pyfront")) + "/" not in done.err


@pytest.mark.slow
def test_what_python_raises_inside_the_compiler_is_called_a_bug(tmp_path: Path) -> None:
    script = tmp_path / "train.py"
    script.write_text(
        "import torch\nimport lamina.lowering.bufferize as room\n"
        "for name in [n for n in vars(room) if n.startswith('_') and callable(vars(room)[n])]:\n    setattr(room, name, None)\n"
        "x = torch.randn(9, 9)\nfor _ in range(3):\n    print((x @ x).sum().item())\n", encoding="utf-8",
    )  # fmt: skip
    done = lamina("run", script, LAMINA_CACHE=str(tmp_path / "cache"))
    assert done.status == 1 and done.err.count("File ") == 1 and 'train.py", line 7' in done.err, done.err
    assert "inside lamina: lowering/bufferize.py:" in done.err and "help: this is a bug in lamina" in done.err
    whole = lamina("run", script, LAMINA_CACHE=str(tmp_path / "cache"), LAMINA_SHOW="traceback")
    assert "bufferize.py" in whole.err and whole.err.count("File ") > 5
