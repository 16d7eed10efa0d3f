import torch

torch.manual_seed(0)

# 从列表创建
x = torch.tensor([[1, 2], [3, 4]])

# 创建特殊张量
zeros = torch.zeros(2, 3)        # 全零张量
ones = torch.ones(2, 3)          # 全一张量
rand = torch.rand(2, 3)          # 随机张量 [0, 1)
randn = torch.randn(2, 3)        # 标准正态分布
for t in (x, zeros, ones, rand, randn):
    print(t)

# 基本运算
y = x + 2
z = torch.matmul(x, y)   # 矩阵乘法
z = x @ y                # 矩阵乘法的简写
print(y, z, sep="\n")

# 形状操作
x = x.view(4, 1)         # 改变形状
print(x)
x = x.reshape(-1, 2)     # 自动推断维度
print(x)
x = x.transpose(0, 1)    # 转置
print(x)

# 索引和切片
print(x[0, :])                  # 第一行
print(x[:, 1])                  # 第二列

# Tensor -> NumPy
tensor = torch.rand(3)
numpy_array = tensor.cpu().numpy()
print(type(numpy_array).__name__, numpy_array)

# NumPy -> Tensor
tensor = torch.from_numpy(numpy_array)
numpy_array[0] = 5
print(tensor)
