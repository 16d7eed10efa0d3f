import torch
import numpy as np

torch.manual_seed(0)

# 从列表创建
t1 = torch.tensor([1, 2, 3])
print(f"从列表: {t1}")  # tensor([1, 2, 3])
# 从 NumPy 创建
arr = np.array([1, 2, 3])
t2 = torch.from_numpy(arr)
print(f"从 NumPy: {t2}")  # tensor([1, 2, 3], dtype=torch.int32)
# 创建全零 Tensor
t3 = torch.zeros(2, 3)
print(f"全零:\n{t3}")
# 创建全一 Tensor
t4 = torch.ones(2, 3)
print(f"全一:\n{t4}")
# 创建随机 Tensor(正态分布)
t5 = torch.randn(2, 3)
print(f"随机:\n{t5}")
# 创建指定范围的 Tensor
t6 = torch.arange(0, 10, 2)
print(f"范围: {t6}")  # tensor([0, 2, 4, 6, 8])
# 创建等间隔 Tensor
t7 = torch.linspace(0, 1, 5)
print(f"等间隔: {t7}")  # tensor([0.0000, 0.2500, 0.5000, 0.7500, 1.0000])

# 创建 Tensor
x = torch.tensor([[1, 2, 3], [4, 5, 6]])
print(f"原始 Tensor:\n{x}")
# 形状
print(f"形状: {x.shape}")  # torch.Size([2, 3])
print(f"维度: {x.ndim}")  # 2
# 索引和切片
print(f"第一行: {x[0]}")  # tensor([1, 2, 3])
print(f"第一列: {x[:, 0]}")  # tensor([1, 4])
print(f"右下角: {x[1:, 1:]}")  # tensor([[5, 6]])
# Reshape
y = x.reshape(3, 2)
print(f"Reshape (3, 2):\n{y}")
# 展平
z = x.flatten()
print(f"展平: {z}")  # tensor([1, 2, 3, 4, 5, 6])
# 拼接
a = torch.tensor([1, 2])
b = torch.tensor([3, 4])
print(f"按行拼接: {torch.cat([a, b], dim=0)}")  # tensor([1, 2, 3, 4])
# 堆叠
print(f"堆叠:\n{torch.stack([a, b], dim=0)}")
# 数学运算
x1 = torch.tensor([1, 2, 3])
x2 = torch.tensor([4, 5, 6])
print(f"加法: {x1 + x2}")  # tensor([5, 7, 9])
print(f"乘法: {x1 * x2}")  # tensor([ 4, 10, 18])
print(f"点积: {x1 @ x2}")  # 32
print(f"矩阵乘法: {torch.mm(x1.unsqueeze(0), x2.unsqueeze(1))}")  # tensor([[32]])
# 广播
x = torch.tensor([[1, 2, 3], [4, 5, 6]])
y = torch.tensor([1, 2, 3])
print(f"广播加法:\n{x + y}")
# 统计; the guide takes the mean of integers, which PyTorch refuses
x = torch.tensor([1, 2, 3, 4, 5])
try:
    print(f"均值: {x.mean()}")
except RuntimeError as error:
    print(type(error).__name__)
x = x.float()
print(f"均值: {x.mean()}")  # 3.0
print(f"标准差: {x.std()}")  # 1.4142
print(f"最大值: {x.max()}")  # 5
print(f"最大值索引: {x.argmax()}")  # 4
