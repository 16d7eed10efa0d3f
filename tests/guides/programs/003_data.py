import torch
from torch.utils.data import Dataset, DataLoader


class TimeSeriesDataset(Dataset):
    """时序数据集"""
    def __init__(self, data, seq_len, horizon=1):
        """
        Args:
            data: numpy array 或 tensor, shape (n_samples, n_features)
            seq_len: 序列长度(用多少个历史步预测)
            horizon: 预测步数
        """
        self.data = torch.tensor(data, dtype=torch.float32)
        self.seq_len = seq_len
        self.horizon = horizon

    def __len__(self):
        # 返回样本数量
        return len(self.data) - self.seq_len - self.horizon + 1

    def __getitem__(self, idx):
        # 返回单个样本
        x = self.data[idx:idx + self.seq_len]  # 输入序列
        y = self.data[idx + self.seq_len:idx + self.seq_len + self.horizon]  # 标签
        return x, y


# 使用示例
import numpy as np
np.random.seed(0)
# 创建模拟数据(100个样本,5个特征)
data = np.random.randn(100, 5)
# 创建数据集
dataset = TimeSeriesDataset(data, seq_len=10, horizon=1)
print(f"数据集大小: {len(dataset)}")
# 获取第一个样本
x, y = dataset[0]
print(f"输入形状: {x.shape}")  # (10, 5)
print(f"标签形状: {y.shape}")  # (1, 5)

# 创建 DataLoader
dataloader = DataLoader(
    dataset,
    batch_size=16,  # 批次大小
    shuffle=False,  # 时序数据不 shuffle
    num_workers=0,  # 数据加载进程数(0=主进程)
    drop_last=False,  # 是否丢弃最后不完整的批次
    pin_memory=False  # 是否锁页内存(GPU 加速)
)
# 迭代
for batch_idx, (x_batch, y_batch) in enumerate(dataloader):
    print(f"批次 {batch_idx}: x={x_batch.shape}, y={y_batch.shape}")
    if batch_idx >= 2:  # 只显示前3个批次
        break

dataloader = DataLoader(
    dataset,
    batch_size=32,
    shuffle=False,  # 时序数据不打乱
    num_workers=4
)
for x_batch, y_batch in dataloader:
    print(x_batch.shape, y_batch.shape, x_batch.sum())
