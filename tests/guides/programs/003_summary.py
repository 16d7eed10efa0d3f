import torch
import torch.nn as nn

torch.manual_seed(0)

# 创建
x = torch.randn(3, 4)
y = torch.zeros(3, 4)
# 操作
z = x + y  # 加法
print(z)
z = torch.cat([x, y], dim=0)  # 拼接
print(z)
z = x.reshape(4, 3)  # 重塑
print(z)

x = torch.tensor([2.0], requires_grad=True)
y = x * x
y.backward()
print(x.grad)  # 4.0


class MyModel(nn.Module):
    def __init__(self):
        super().__init__()
        self.fc = nn.Linear(10, 1)

    def forward(self, x):
        return self.fc(x)


print(MyModel()(torch.ones(2, 10)))
