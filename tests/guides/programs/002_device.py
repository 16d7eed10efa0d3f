import torch
import torch.nn as nn

torch.manual_seed(0)
model, inputs = nn.Linear(3, 2), torch.randn(4, 3)

# 检查 CUDA 是否可用
device = torch.device('cuda' if torch.cuda.is_available() else 'cpu')
print(device)

# 移动模型和数据到 GPU
model = model.to(device)
inputs = inputs.to(device)
print(model(inputs))

# 多 GPU 训练
if torch.cuda.device_count() > 1:
    model = nn.DataParallel(model)
try:
    model.to('cuda')
except Exception as error:
    print(isinstance(error, (AssertionError, RuntimeError)))
