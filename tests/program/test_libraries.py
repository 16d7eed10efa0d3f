"""Programs that use libraries of models: `lamina run` prints what PyTorch prints."""

from __future__ import annotations

import importlib.util
import os
import re
import subprocess
import sys

import pytest
from needs import needs_compiler

pytestmark = [pytest.mark.slow, pytest.mark.torch, needs_compiler]

PROGRAMS = {
    "transformers": """
import torch
from transformers import BertConfig, BertForSequenceClassification, GPT2Config, GPT2LMHeadModel, LlamaConfig, LlamaForCausalLM

def trained(model, ids):
    model.train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    for _ in range(3):
        loss = model(input_ids=ids, labels=ids).loss
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        print(type(model).__name__, loss.item())
    print(model.eval().generate(ids[:, :5], max_new_tokens=6, do_sample=False, pad_token_id=0).tolist())

torch.manual_seed(0)
ids = torch.randint(0, 100, (2, 16))
trained(GPT2LMHeadModel(GPT2Config(
    n_embd=32, n_layer=2, n_head=2, vocab_size=100, n_positions=64, resid_pdrop=0, embd_pdrop=0, attn_pdrop=0, bos_token_id=1, eos_token_id=2)), ids)
trained(LlamaForCausalLM(LlamaConfig(
    hidden_size=32, num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=2, intermediate_size=64, vocab_size=100)), ids)
bert = BertForSequenceClassification(BertConfig(
    hidden_size=32, num_hidden_layers=2, num_attention_heads=4, intermediate_size=64, vocab_size=100, hidden_dropout_prob=0, attention_probs_dropout_prob=0))
mask = torch.ones(2, 16, dtype=torch.long)
mask[1, 10:] = 0
out = bert(ids, attention_mask=mask, labels=torch.tensor([0, 1]))
out.loss.backward()
print(out.loss.item(), bert.bert.embeddings.word_embeddings.weight.grad.norm().item())
""",
    "transformers pretrained": """
import tempfile
import torch
from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification, BertConfig, BertForSequenceClassification, GPT2Config, GPT2LMHeadModel

torch.manual_seed(0)
ids = torch.arange(10)[None]
folder = tempfile.mkdtemp()
GPT2LMHeadModel(GPT2Config(n_embd=32, n_layer=2, n_head=2, vocab_size=100, n_positions=64, bos_token_id=1, eos_token_id=2)).save_pretrained(folder)
for options in ({}, {"dtype": torch.bfloat16}, {"low_cpu_mem_usage": True}):
    model = AutoModelForCausalLM.from_pretrained(folder, **options).eval()
    print(options, model.dtype, model.device, model.lm_head.weight is model.transformer.wte.weight, round(model(ids).logits.float().square().mean().item(), 3))
BertForSequenceClassification(BertConfig(
    hidden_size=32, num_hidden_layers=2, num_attention_heads=4, intermediate_size=64, vocab_size=100, hidden_dropout_prob=0, attention_probs_dropout_prob=0,
)).save_pretrained(folder)
model = AutoModelForSequenceClassification.from_pretrained(folder).train()
optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
for _ in range(3):
    loss = model(ids, labels=torch.tensor([1])).loss
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    print(loss.item())
""",
    "accelerate": """
import tempfile
import torch
from accelerate import Accelerator
from transformers import BertConfig, BertForSequenceClassification, PrinterCallback, Trainer, TrainingArguments

torch.manual_seed(0)
accelerator = Accelerator(cpu=True)
model = torch.nn.Sequential(torch.nn.Linear(8, 16), torch.nn.ReLU(), torch.nn.Linear(16, 3))
optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
loader = torch.utils.data.DataLoader(torch.utils.data.TensorDataset(torch.randn(64, 8), torch.randint(0, 3, (64,))), batch_size=16, shuffle=True)
model, optimizer, loader, scheduler = accelerator.prepare(model, optimizer, loader, torch.optim.lr_scheduler.StepLR(optimizer, 2, 0.5))
for x, y in loader:
    with accelerator.accumulate(model):
        loss = torch.nn.functional.cross_entropy(model(x), y)
        accelerator.backward(loss)
        accelerator.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        scheduler.step()
        optimizer.zero_grad()
    print(loss.item(), optimizer.param_groups[0]["lr"])

class Texts(torch.utils.data.Dataset):
    def __len__(self):
        return 24
    def __getitem__(self, i):
        return {"input_ids": torch.arange(i, i + 10) % 100, "labels": i % 2}

model = BertForSequenceClassification(BertConfig(
    hidden_size=32, num_hidden_layers=1, num_attention_heads=4, intermediate_size=64, vocab_size=100, hidden_dropout_prob=0, attention_probs_dropout_prob=0))
trainer = Trainer(model, TrainingArguments(
    tempfile.mkdtemp(), per_device_train_batch_size=8, num_train_epochs=2, report_to=[], logging_strategy="no", save_strategy="no", use_cpu=True, seed=0, disable_tqdm=True),
    train_dataset=Texts(), eval_dataset=Texts())
trainer.remove_callback(PrinterCallback)  # it prints seconds
print(trainer.train().training_loss, trainer.evaluate()["eval_loss"], trainer.predict(Texts()).predictions.shape)
""",
    "peft": """
import torch
from peft import LoraConfig, get_peft_model
from transformers import GPT2Config, GPT2LMHeadModel

torch.manual_seed(0)
model = GPT2LMHeadModel(GPT2Config(n_embd=32, n_layer=2, n_head=2, vocab_size=100, n_positions=64, resid_pdrop=0, embd_pdrop=0, attn_pdrop=0))
model = get_peft_model(model, LoraConfig(r=4, lora_alpha=8, target_modules=["c_attn"], lora_dropout=0.0))
model.print_trainable_parameters()
ids = torch.randint(0, 100, (2, 16))
optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=1e-2)
for _ in range(3):
    loss = model(input_ids=ids, labels=ids).loss
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    print(loss.item())
wanted = model.eval()(input_ids=ids).logits
print((model.merge_and_unload()(input_ids=ids).logits - wanted).abs().max().item() < 1e-4)
""",
    "timm": """
import timm
import torch
torch.manual_seed(0)
x = torch.randn(2, 3, 64, 64)
for name, options in (("vit_tiny_patch16_224", {"img_size": 64}), ("resnet18", {}), ("mobilenetv3_small_050", {})):
    model = timm.create_model(name, pretrained=False, num_classes=10, **options)
    with torch.no_grad():
        print(name, sum(p.numel() for p in model.parameters()), model.eval()(x).square().mean().item())
""",
    "torchmetrics": """
import torch
import torchmetrics
torch.manual_seed(0)
chances, labels = torch.randn(40, 5).softmax(-1), torch.randint(5, (40,))
for name in ("Accuracy", "F1Score", "AUROC", "ConfusionMatrix", "CohenKappa"):
    metric = getattr(torchmetrics, name)(task="multiclass", num_classes=5)
    for part in range(0, 40, 20):
        metric.update(chances[part:part + 20], labels[part:part + 20])
    print(name, metric.compute())
""",
    "einops": """
import torch
from einops import einsum, rearrange, reduce
from einops.layers.torch import Rearrange
torch.manual_seed(0)
x = torch.randn(2, 3, 8, 8, requires_grad=True)
patches = rearrange(x, "b c (h p) (w q) -> b (h w) (c p q)", p=4, q=4)
model = torch.nn.Sequential(Rearrange("b n d -> b (n d)"), torch.nn.Linear(192, 5))
(model(patches).sum() + einsum(patches, patches, "b i d, b j d -> b i j").mean() + reduce(x, "b c h w -> b c", "max").sum()).backward()
print(x.grad.norm().item(), model[1].weight.grad.norm().item())
""",
}
# torchvision's kernels are not in every build; what libraries import of it needs none of them.
ORACLE = """
import runpy, sys, types
sys.modules["torchvision._meta_registrations"] = types.ModuleType("torchvision._meta_registrations")
runpy.run_path(sys.argv[1], run_name="__main__")
"""
NUMBER = re.compile(r"-?\d+\.\d+(?:e-?\d+)?")


def _printed(command, script):
    environment = {**os.environ, "TOKENIZERS_PARALLELISM": "false", "HF_HUB_OFFLINE": "1"}
    done = subprocess.run([*command, str(script)], capture_output=True, text=True, env=environment, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


@pytest.mark.parametrize("library", PROGRAMS)
def test_programs_print_what_pytorch_prints(library, tmp_path):
    for needed in (library.split()[0], "torch"):
        if importlib.util.find_spec(needed) is None:
            pytest.skip(f"{needed} is not installed")
    script = tmp_path / "program.py"
    script.write_text(PROGRAMS[library])
    found, wanted = _printed([sys.executable, "-m", "lamina", "run"], script), _printed([sys.executable, "-c", ORACLE], script)
    assert NUMBER.sub("#", found) == NUMBER.sub("#", wanted)
    for a, b in zip(NUMBER.findall(found), NUMBER.findall(wanted), strict=True):
        assert float(a) == pytest.approx(float(b), rel=2e-4, abs=2e-5)
