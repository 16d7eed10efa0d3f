import torch

torch.manual_seed(0)

# 创建 Tensor 并设置 requires_grad=True
x = torch.tensor([2.0, 3.0], requires_grad=True)
print(f"x: {x}, requires_grad: {x.requires_grad}")
# 计算过程
y = x + 2
z = y * y * 3
out = z.mean()
print(f"y = x + 2: {y}")
print(f"z = y² × 3: {z}")
print(f"out = z.mean(): {out}")
# 反向传播
out.backward()
# 查看梯度
print(f"x.grad: {x.grad}")

# 构建计算图
a = torch.tensor([2.0], requires_grad=True)
b = torch.tensor([3.0], requires_grad=True)
c = torch.tensor([4.0], requires_grad=True)
# y = a + b
y = a + b
# z = y * c
z = y * c
# 反向传播
z.backward()
print(f"dz/da: {a.grad}")  # 4.0 (= c)
print(f"dz/db: {b.grad}")  # 4.0 (= c)
print(f"dz/dc: {c.grad}")  # 5.0 (= a+b)

# 禁用梯度计算
with torch.no_grad():
    x = torch.tensor([1.0], requires_grad=True)
    y = x + 1
    print(f"禁用梯度: y.requires_grad = {y.requires_grad}")  # False


# 或使用装饰器
@torch.no_grad()
def add(x, y):
    return x + y


x = torch.tensor([1.0], requires_grad=True)
y = add(x, 2)
print(f"装饰器禁用: y.requires_grad = {y.requires_grad}")  # False
# 清空梯度
x = torch.tensor([2.0], requires_grad=True)
y = x * x
y.backward()
print(f"第一次梯度: {x.grad}")  # tensor([4.])
# 再次计算需要清空梯度
y = x * x
y.backward()
print(f"不清空梯度会累加: {x.grad}")  # tensor([8.])
x.grad.zero_()
y = x * x
y.backward()
print(f"清空后梯度: {x.grad}")  # tensor([4.])

# 创建参数
w = torch.randn(3, requires_grad=True)
x = torch.randn(3)
y = w * x
loss = y.sum()
loss.backward()
print(f"裁剪前梯度范数: {w.grad.norm()}")  # 例如: 5.2
# 裁剪梯度
torch.nn.utils.clip_grad_norm_([w], max_norm=1.0)
print(f"裁剪后梯度范数: {w.grad.norm()}")  # <= 1.0
