import os
import warnings

import torch
import torch.nn as nn

torch.manual_seed(0)
warnings.simplefilter("ignore")  # PyTorch says that torchao will take over


class Classifier(nn.Module):
    def __init__(self):
        super().__init__()
        self.features = nn.Sequential(nn.Conv2d(3, 16, 3, stride=2, padding=1), nn.ReLU(), nn.AdaptiveAvgPool2d(4))
        self.fc = nn.Sequential(nn.Linear(256, 512), nn.ReLU(), nn.Dropout(0.1), nn.Linear(512, 10))

    def forward(self, x):
        return self.fc(self.features(x).flatten(1))


model = Classifier()
optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
images, labels = torch.rand(32, 3, 16, 16), torch.randint(0, 10, (32,))
for _ in range(5):
    optimizer.zero_grad()
    nn.functional.cross_entropy(model(images), labels).backward()
    optimizer.step()
model.eval()

# 训练后动态量化(适合 LSTM / Transformer / Linear)
quantized_model = torch.quantization.quantize_dynamic(
    model,                              # 原模型
    {nn.Linear, nn.LSTM},              # 要量化的层类型
    dtype=torch.qint8                   # int8 量化
)
# 模型大小减少约 75%,推理加速 2-3x

# 保存与加载
torch.save(quantized_model.state_dict(), "model_quantized.pth")

print(quantized_model)
torch.save(model.state_dict(), "model.pth")
print(os.path.getsize("model_quantized.pth") / os.path.getsize("model.pth") < 0.3)
with torch.no_grad():
    expected, output = model(images), quantized_model(images)
print(output[:2])
print((expected - output).abs().max().item() < 0.02, (expected.argmax(1) == output.argmax(1)).float().mean().item() > 0.9)

again = torch.quantization.quantize_dynamic(Classifier(), {nn.Linear, nn.LSTM}, dtype=torch.qint8)
again.load_state_dict(torch.load("model_quantized.pth"))
with torch.no_grad():
    print(torch.equal(again(images), output))
print(quantized_model.fc[3].weight().q_scale())
