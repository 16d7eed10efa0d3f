import torch
import torch.nn as nn

torch.manual_seed(0)


# 定义一个简单的 MLP
class SimpleMLP(nn.Module):
    def __init__(self, input_size, hidden_size, output_size):
        super(SimpleMLP, self).__init__()
        # 定义层
        self.fc1 = nn.Linear(input_size, hidden_size)
        self.fc2 = nn.Linear(hidden_size, hidden_size)
        self.fc3 = nn.Linear(hidden_size, output_size)
        self.relu = nn.ReLU()

    def forward(self, x):
        # 定义前向传播
        x = self.fc1(x)
        x = self.relu(x)
        x = self.fc2(x)
        x = self.relu(x)
        x = self.fc3(x)
        return x


# 创建模型
model = SimpleMLP(input_size=10, hidden_size=20, output_size=1)
# 前向传播
x = torch.randn(5, 10)  # batch_size=5, input_size=10
output = model(x)
print(f"输出形状: {output.shape}")  # torch.Size([5, 1])

model = SimpleMLP(10, 20, 1)
# 查看所有参数
for name, param in model.named_parameters():
    print(f"{name}: {param.shape}")
# 查看参数总数
total_params = sum(p.numel() for p in model.parameters())
print(f"总参数数: {total_params}")
# 可训练参数
trainable_params = sum(p.numel() for p in model.parameters() if p.requires_grad)
print(f"可训练参数: {trainable_params}")
# 访问特定参数
print(f"fc1 权重:\n{model.fc1.weight[:3, :3]}")  # 前3行3列
# 冻结参数
model.fc1.weight.requires_grad = False
print(f"fc1 可训练: {model.fc1.weight.requires_grad}")  # False


# 自动选择设备
def get_device():
    """获取最佳设备"""
    if torch.cuda.is_available():
        return torch.device('cuda')
    elif hasattr(torch.backends, 'mps') and torch.backends.mps.is_available():
        # Apple Silicon GPU
        return torch.device('mps')
    else:
        return torch.device('cpu')


device = get_device()
print(f"使用设备: {device}")
# 将模型和数据移到设备
model = SimpleMLP(10, 20, 1).to(device)
x = torch.randn(5, 10).to(device)
# 前向传播
output = model(x)


# 确保数据在同一设备
def predict(model, x):
    model.eval()
    with torch.no_grad():
        x = x.to(device)  # 确保输入在正确设备
        output = model(x)
    return output.cpu()  # 将结果移回 CPU


print(output, predict(model, x), sep="\n")
