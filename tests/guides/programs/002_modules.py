import torch
import torch.nn as nn
import torch.optim as optim

torch.manual_seed(0)


class SimpleNet(nn.Module):
    def __init__(self):
        super(SimpleNet, self).__init__()
        self.fc1 = nn.Linear(784, 128)
        self.fc2 = nn.Linear(128, 10)
        self.relu = nn.ReLU()

    def forward(self, x):
        x = self.relu(self.fc1(x))
        x = self.fc2(x)
        return x


model = SimpleNet()
print(model)

# 查看所有参数
for name, param in model.named_parameters():
    print(name, param.shape)

# 保存和加载
torch.save(model.state_dict(), 'model.pth')
print(model.load_state_dict(torch.load('model.pth')))

in_features, out_features, in_channels, out_channels, kernel_size = 12, 5, 3, 4, 3
num_features, normalized_shape = 4, (5, 6)
layers = [
    # 全连接层
    nn.Linear(in_features, out_features),
    # 卷积层
    nn.Conv2d(in_channels, out_channels, kernel_size),
    # 池化层
    nn.MaxPool2d(kernel_size),
    nn.AvgPool2d(kernel_size),
    # 归一化层
    nn.BatchNorm2d(num_features),
    nn.LayerNorm(normalized_shape),
    # 激活函数
    nn.ReLU(),
    nn.Sigmoid(),
    nn.Tanh(),
    nn.Softmax(dim=-1),
    # Dropout
    nn.Dropout(p=0.5),
]
for layer in layers:
    print(layer)
net = nn.Sequential(*layers[1:2], layers[4], layers[2], nn.Flatten(), layers[0], layers[6], layers[10], layers[9])
x, target = torch.randn(2, 3, 11, 5), torch.rand(2, 5)
net[4] = nn.Linear(4 * 3 * 1, 5)
print(net(x))

# 损失函数
for criterion in (nn.CrossEntropyLoss(), nn.MSELoss(), nn.BCELoss()):
    print(criterion, criterion(net(x), target))

# 优化器
optimizer = optim.SGD(model.parameters(), lr=0.01, momentum=0.9)
print(optimizer)
optimizer = optim.Adam(model.parameters(), lr=0.001)
print(optimizer)
optimizer = optim.AdamW(model.parameters(), lr=0.001, weight_decay=0.01)
print(optimizer)
