import torch
import torch.nn as nn

torch.manual_seed(0)

# 创建需要梯度的张量
x = torch.tensor([2.0], requires_grad=True)
y = x ** 2 + 3 * x

# 反向传播
y.backward()

# 查看梯度
print(x.grad)  # dy/dx = 2x + 3 = 7

model = nn.Linear(1, 1)
optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
loss = model(x).sum()

# 临时禁用梯度计算（推理时使用）
with torch.no_grad():
    y = model(x)
print(y.requires_grad)

# 梯度清零（训练循环中必须）
optimizer.zero_grad()

# 梯度累积
loss.backward()  # 梯度会累加到 .grad
print(x.grad, model.weight.grad)

# 分离计算图
y = x.detach()  # y 不再追踪梯度
print(y, y.requires_grad)
