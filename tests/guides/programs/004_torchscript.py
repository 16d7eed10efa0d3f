import os
import tempfile

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
device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
model = nn.Sequential(
    nn.Conv2d(3, 8, 7, stride=2, padding=3), nn.MaxPool2d(3, 2, 1), Block(8), Block(8), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 10)
).to(device)

# 方法一:Trace(适合无控制流的模型)
example_input = torch.randn(1, 3, 32, 32).to(device)
traced_model = torch.jit.trace(model.eval(), example_input)
traced_model.save("resnet50_traced.pt")


# 方法二:Script(支持控制流)
@torch.jit.script
def inference_forward(x):
    if x.sum() > 0:
        return torch.relu(x)
    return x * 2


# 加载与推理
loaded_model = torch.jit.load("resnet50_traced.pt")
with torch.no_grad():
    output = loaded_model(example_input)

print(output)
print(inference_forward(torch.ones(2)), inference_forward(-torch.ones(2)))
print(sorted(loaded_model.state_dict()) == sorted(model.state_dict()))
with torch.no_grad():
    print(loaded_model(torch.ones(4, 3, 32, 32)).shape)
