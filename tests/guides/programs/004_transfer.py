import torch
import torch.nn as nn
import torch.nn.functional as F
import torch.optim as optim
from torch.utils.data import DataLoader, TensorDataset

torch.manual_seed(0)


# A small residual network stands in for the pretrained ResNet50: no download
class Block(nn.Module):
    def __init__(self, inputs, outputs, stride):
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(outputs)
        self.downsample = nn.Conv2d(inputs, outputs, 1, stride, bias=False)

    def forward(self, x):
        return F.relu(self.bn1(self.conv1(x)) + self.downsample(x))


class ResNet(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer3 = Block(3, 8, 2)
        self.layer4 = Block(8, 16, 2)
        self.avgpool = nn.AdaptiveAvgPool2d((1, 1))
        self.fc = nn.Linear(16, 1000)

    def forward(self, x):
        return self.fc(torch.flatten(self.avgpool(self.layer4(self.layer3(x))), 1))


model = ResNet()

# 冻结全部参数(特征提取模式)
for param in model.parameters():
    param.requires_grad = False

# 替换最后的全连接层(适应自己的分类数)
num_features = model.fc.in_features
model.fc = nn.Sequential(
    nn.Linear(num_features, 256),
    nn.ReLU(),
    nn.Dropout(0.4),
    nn.Linear(256, 10),  # 假设 10 类
)
# 新层的 requires_grad 默认为 True

print(f"可训练参数: {sum(p.numel() for p in model.parameters() if p.requires_grad):,}")
print(f"冻结参数: {sum(p.numel() for p in model.parameters() if not p.requires_grad):,}")


def progressive_unfreeze(model, epoch, total_epochs):
    """逐步解冻更多层"""
    if epoch >= total_epochs * 0.5:
        # 训练后半段:解冻 layer4
        for param in model.layer4.parameters():
            param.requires_grad = True
    if epoch >= total_epochs * 0.75:
        # 最后 25%:解冻 layer3
        for param in model.layer3.parameters():
            param.requires_grad = True


LR, total_epochs = 0.01, 4
device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
train_loader = DataLoader(TensorDataset(torch.randn(32, 3, 16, 16), torch.randint(0, 10, (32,))), 16, shuffle=True)
criterion = nn.CrossEntropyLoss()
optimizer = optim.Adam(filter(lambda p: p.requires_grad, model.parameters()), lr=LR)


def check_gradients(model):
    """检查梯度是否正常"""
    total_norm = 0
    for name, param in model.named_parameters():
        if param.grad is not None:
            param_norm = param.grad.data.norm(2)
            total_norm += param_norm.item() ** 2
            if torch.isnan(param.grad).any():
                print(f"⚠️  NaN 梯度: {name}")
    total_norm = total_norm ** 0.5
    print(f"梯度范数: {total_norm:.4f}")
    return total_norm


# 训练循环中使用
for epoch in range(total_epochs):
    progressive_unfreeze(model, epoch, total_epochs)
    for images, labels in train_loader:
        optimizer.zero_grad()
        loss = criterion(model(images), labels)
        loss.backward()
        optimizer.step()
    check_gradients(model)
    print(f"{loss.item():.4f}", sum(p.requires_grad for p in model.parameters()))

    # 注意:解冻后需要更新 optimizer
    if epoch == int(total_epochs * 0.5):
        optimizer = optim.Adam(
            filter(lambda p: p.requires_grad, model.parameters()),
            lr=LR * 0.1  # 降低学习率
        )

# 对新层使用更高学习率,预训练层使用更低学习率
optimizer = optim.SGD([
    {"params": model.fc.parameters(), "lr": 1e-3},        # 新层:高 lr
    {"params": model.layer4.parameters(), "lr": 1e-4},    # 顶层:中 lr
    {"params": model.layer3.parameters(), "lr": 1e-5},    # 中下层:低 lr
], momentum=0.9, weight_decay=1e-4)
print(optimizer)


# 5.2 过拟合检查
def check_overfit(train_acc, val_acc, threshold=0.05):
    gap = train_acc - val_acc
    if gap > threshold:
        print(f"⚠️ 可能过拟合!训练-验证差距: {gap:.2%}")
        print("建议:增加 Dropout / 数据增强 / 权重衰减")


check_overfit(0.99, 0.90)
