import torch
import numpy as np

torch.manual_seed(0)

# 检查 CUDA 是否可用
print(f"CUDA 可用: {torch.cuda.is_available()}")
# 检查 GPU 数量
print(f"GPU 数量: {torch.cuda.device_count()}")
# 获取设备名称
if torch.cuda.is_available():
    print(f"设备名称: {torch.cuda.get_device_name(0)}")
x = torch.randn(3, 3)
# 从 GPU 移回 CPU
x_cpu = x.cpu()
print(f"设备: {x_cpu.device}")  # cpu
# 自动选择设备
device = torch.device('cuda' if torch.cuda.is_available() else 'cpu')
x = torch.randn(3, 3, device=device)
print(f"自动选择设备: {x.device}")
# 性能对比
import time
x = torch.randn(1000, 1000)
# CPU
start = time.time()
for _ in range(100):
    _ = x @ x
print("CPU 时间:", time.time() - start < 60)
if torch.cuda.is_available():
    x_gpu = x.cuda()
    # 预热
    for _ in range(10):
        _ = x_gpu @ x_gpu
    start = time.time()
    for _ in range(100):
        _ = x_gpu @ x_gpu
    torch.cuda.synchronize()  # 等待 GPU 完成
    print(f"GPU 时间: {time.time() - start:.4f}秒")

# NumPy → Tensor
arr = np.array([1, 2, 3])
t = torch.from_numpy(arr)
print(f"NumPy → Tensor: {t}")
# Tensor → NumPy
t = torch.tensor([1, 2, 3])
arr = t.numpy()
print(f"Tensor → NumPy: {arr}")
# 注意:共享内存
arr = np.array([1, 2, 3])
t = torch.from_numpy(arr)
t[0] = 999
print(f"修改 Tensor 后 NumPy 也变: {arr}")  # [999 2 3]
# 避免共享内存
t = torch.tensor(arr)  # 复制数据
# 或
t = torch.from_numpy(arr).clone()
t[1] = 7
print(arr, t)
