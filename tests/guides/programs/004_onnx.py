import os
import tempfile

import numpy as np
import torch
import torch.nn as nn


class Block(nn.Module):
    def __init__(self, channels):
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(channels, channels, 3, padding=1), nn.BatchNorm2d(channels), nn.ReLU())

    def forward(self, x):
        return x + self.body(x)


torch.manual_seed(0)
os.chdir(tempfile.mkdtemp())
model = nn.Sequential(
    nn.Conv2d(3, 8, 7, stride=2, padding=3), nn.MaxPool2d(3, 2, 1), Block(8), Block(8), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 10)
)
device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
example_input = torch.randn(1, 3, 32, 32).to(device)

# 导出 ONNX
torch.onnx.export(
    model.eval(),
    example_input,                           # 样例输入
    "model.onnx",                         # 输出路径
    export_params=True,
    opset_version=17,
    input_names=["input"],
    output_names=["output"],
    dynamic_axes={
        "input": {0: "batch_size"},          # 动态 batch
        "output": {0: "batch_size"},
    },
    verbose=False,
)

# 验证 ONNX 模型
import onnx
onnx_model = onnx.load("model.onnx")
onnx.checker.check_model(onnx_model)
print("✅ ONNX 模型验证通过")

# ONNX Runtime 推理
import onnxruntime as ort
session = ort.InferenceSession("model.onnx")
outputs = session.run(None, {"input": example_input.numpy()})

print([i.name for i in session.get_inputs()], session.get_inputs()[0].shape, session.get_outputs()[0].shape, outputs[0].shape)
with torch.no_grad():
    print(np.abs(model(example_input).numpy() - outputs[0]).max() < 1e-4)
    batch = torch.randn(3, 3, 32, 32)
    print(np.abs(model(batch).numpy() - session.run(None, {"input": batch.numpy()})[0]).max() < 1e-4)
