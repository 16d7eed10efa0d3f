import torch
import torch.nn as nn
import torch.nn.functional as F
from torch.utils.data import DataLoader, TensorDataset

torch.manual_seed(0)


class SimpleNet(nn.Module):
    def __init__(self):
        super(SimpleNet, self).__init__()
        self.fc1 = nn.Linear(784, 256)  # 全连接层
        self.fc2 = nn.Linear(256, 10)   # 输出层(10分类)

    def forward(self, x):
        x = x.view(-1, 784)  # 展平输入
        x = F.relu(self.fc1(x))  # ReLU激活
        x = self.fc2(x)
        return F.log_softmax(x, dim=1)  # 输出概率


# MNIST stands in: the same shapes, no download
train_dataset = TensorDataset(torch.randn(256, 1, 28, 28), torch.randint(0, 10, (256,)))
test_dataset = TensorDataset(torch.randn(100, 1, 28, 28), torch.randint(0, 10, (100,)))

# 创建数据加载器
train_loader = DataLoader(train_dataset, batch_size=64, shuffle=True)
test_loader = DataLoader(test_dataset, batch_size=64)

model = SimpleNet()
criterion = nn.CrossEntropyLoss()
optimizer = torch.optim.Adam(model.parameters(), lr=0.001)

# 移至GPU(如果可用)
if torch.cuda.is_available():
    model = model.cuda()
    criterion = criterion.cuda()

# 训练模型
epochs = 5
for epoch in range(epochs):
    model.train()  # 启用训练模式
    for batch_idx, (data, target) in enumerate(train_loader):
        if torch.cuda.is_available():
            data, target = data.cuda(), target.cuda()

        # 前向传播
        optimizer.zero_grad()  # 清空梯度
        output = model(data)
        loss = criterion(output, target)

        # 反向传播和优化
        loss.backward()
        optimizer.step()

        # 打印训练进度
        if batch_idx % 2 == 0:
            print(f'Epoch: {epoch+1}/{epochs}, Batch: {batch_idx}, Loss: {loss.item():.4f}')

# 评估模型
model.eval()
correct = 0
with torch.no_grad():  # 不计算梯度,节省内存
    for data, target in test_loader:
        if torch.cuda.is_available():
            data, target = data.cuda(), target.cuda()
        output = model(data)
        pred = output.argmax(dim=1, keepdim=True)
        correct += pred.eq(target.view_as(pred)).sum().item()

print(f'测试准确率: {100. * correct / len(test_dataset):.2f}%')

# 保存模型(推荐仅保存参数)
torch.save(model.state_dict(), 'simplenet.pth')

# 加载模型
loaded_model = SimpleNet()
print(loaded_model.load_state_dict(torch.load('simplenet.pth')))
print(all(torch.equal(p, q) for p, q in zip(model.parameters(), loaded_model.parameters())))
