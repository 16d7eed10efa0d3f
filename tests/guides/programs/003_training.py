import torch
import torch.nn as nn
import torch.optim as optim
import numpy as np
from torch.utils.data import Dataset, DataLoader

torch.manual_seed(0)


# ========== 1. 定义模型 ==========
class SimpleModel(nn.Module):
    def __init__(self, input_size=10, hidden_size=20):
        super().__init__()
        self.net = nn.Sequential(
            nn.Linear(input_size, hidden_size),
            nn.ReLU(),
            nn.Linear(hidden_size, 1)
        )

    def forward(self, x):
        return self.net(x)


# ========== 2. 定义数据集 ==========
class SimpleDataset(Dataset):
    def __init__(self, n_samples=1000, n_features=10):
        self.X = torch.randn(n_samples, n_features)
        self.y = torch.randn(n_samples, 1)

    def __len__(self):
        return len(self.X)

    def __getitem__(self, idx):
        return self.X[idx], self.y[idx]


# ========== 3. 训练函数 ==========
def train(model, dataloader, optimizer, criterion, device):
    model.train()
    total_loss = 0
    for X_batch, y_batch in dataloader:
        # 移到设备
        X_batch = X_batch.to(device)
        y_batch = y_batch.to(device)
        # 前向传播
        predictions = model(X_batch).squeeze()
        loss = criterion(predictions, y_batch.squeeze())
        # 反向传播
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        total_loss += loss.item()
    return total_loss / len(dataloader)


# ========== 4. 主程序 ==========
def main():
    # 超参数
    BATCH_SIZE = 32
    LEARNING_RATE = 0.001
    EPOCHS = 10
    # 设备
    device = torch.device('cuda' if torch.cuda.is_available() else 'cpu')
    # 数据
    dataset = SimpleDataset()
    dataloader = DataLoader(dataset, batch_size=BATCH_SIZE, shuffle=True)
    # 模型
    model = SimpleModel().to(device)
    # 损失函数和优化器
    criterion = nn.MSELoss()
    optimizer = optim.Adam(model.parameters(), lr=LEARNING_RATE)
    # 训练循环
    for epoch in range(EPOCHS):
        loss = train(model, dataloader, optimizer, criterion, device)
        print(f"Epoch {epoch+1}/{EPOCHS}, Loss: {loss:.4f}")
    # 预测
    model.eval()
    with torch.no_grad():
        X_test = torch.randn(1, 10).to(device)
        prediction = model(X_test)
        print(f"预测值: {prediction.item():.4f}")


if __name__ == "__main__":
    main()
