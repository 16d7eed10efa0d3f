import torch
import torch.nn as nn

torch.manual_seed(0)

# 创建全连接层
fc = nn.Linear(in_features=10, out_features=5, bias=True)
# 输入
x = torch.randn(3, 10)  # (batch_size=3, in_features=10)
# 前向传播
output = fc(x)
print(f"输出形状: {output.shape}")  # (3, 5)
# 查看权重和偏置
print(f"权重形状: {fc.weight.shape}")  # (5, 10)
print(f"偏置形状: {fc.bias.shape}")  # (5)

# 单层单向 LSTM
lstm = nn.LSTM(
    input_size=10,  # 输入特征维度
    hidden_size=20,  # 隐藏状态维度
    num_layers=1,  # LSTM 层数
    batch_first=True,  # 输入形状 (batch, seq, feature)
    bidirectional=False  # 是否双向
)
# 输入: (batch_size=3, seq_len=5, input_size=10)
x = torch.randn(3, 5, 10)
# 前向传播
output, (h_n, c_n) = lstm(x)
print(f"输出形状: {output.shape}")  # (3, 5, 20)
print(f"h_n 形状: {h_n.shape}")  # (1, 3, 20)
print(f"c_n 形状: {c_n.shape}")  # (1, 3, 20)
print(lstm, output, h_n, c_n, sep="\n")

# Dropout 层
dropout = nn.Dropout(p=0.5)  # 50% 概率丢弃
x = torch.randn(5, 10)
output = dropout(x)
# 注意:只在训练时生效
dropout.train()  # 训练模式(有 dropout)
output_train = dropout(x)
print(f"训练模式(部分元素为0):\n{output_train}")
dropout.eval()  # 评估模式(无 dropout,按比例缩放)
output_eval = dropout(x)
print(f"评估模式:\n{output_eval}")

# 1D BatchNorm
bn = nn.BatchNorm1d(num_features=10)
# 输入: (batch_size=5, num_features=10)
x = torch.randn(5, 10)
output = bn(x)
print(f"输出形状: {output.shape}")  # (5, 10)
# 查看运行的统计量
print(f"运行均值: {bn.running_mean[:3]}")  # 前3个特征
print(f"运行方差: {bn.running_var[:3]}")

# Embedding 层(用于类别变量)
embedding = nn.Embedding(num_embeddings=100, embedding_dim=32)
# 输入: 索引
x = torch.tensor([1, 5, 10, 50])
# 前向传播
output = embedding(x)
print(f"输出形状: {output.shape}")  # (4, 32)
print(f"第一个嵌入向量: {output[0]}")
