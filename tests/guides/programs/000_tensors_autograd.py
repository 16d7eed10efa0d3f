import torch

torch.manual_seed(0)

# 创建张量
x = torch.tensor([1, 2, 3])  # 一维张量
y = torch.zeros((3, 4))     # 3x4全0张量
z = torch.randn(2, 2, 2)    # 2x2x2正态分布随机张量
print(x, y, z, sep="\n")

# 张量运算
a = torch.tensor([[1, 2], [3, 4]])
b = torch.tensor([[5, 6], [7, 8]])
c = a + b  # 加法
d = torch.matmul(a, b)  # 矩阵乘法
print(c, d, sep="\n")

# 设备迁移
if torch.cuda.is_available():
    a = a.cuda()  # 移至GPU
    b = b.cuda()

x = torch.tensor(2.0, requires_grad=True)
y = (x + 3) ** 2
y.backward()  # 反向传播
print(x.grad)  # 输出:10.0(即dy/dx=2*(2+3)=10)


# PyTorch动态图(支持运行时修改)
def dynamic_graph(x):
    if x.shape[0] > 1:
        return x.sum()
    else:
        return x.mean()


print(dynamic_graph(torch.arange(6.0).view(2, 3)), dynamic_graph(torch.arange(6.0).view(1, 6)))
