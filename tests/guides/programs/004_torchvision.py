import os

import numpy as np
import torch
import torch.nn as nn
from PIL import Image
from torchvision import models, transforms
from torch.utils.data import DataLoader
from torchvision.datasets import ImageFolder

torch.manual_seed(0)

# 加载 ResNet50 (no download: the weights are drawn)
model = models.resnet50(weights=None)

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
print(model.layer4)
print(models.ResNet50_Weights.IMAGENET1K_V2.transforms())

# A folder of pictures, drawn here
for name, level in (("ants", 60), ("bees", 180)):
    os.makedirs(f"pictures/{name}")
    for i in range(4):
        noise = np.random.RandomState(level + i).randint(-50, 50, (48, 64, 3))
        Image.fromarray((level + noise).astype(np.uint8)).save(f"pictures/{name}/{i}.png")

transform = transforms.Compose([
    transforms.RandomResizedCrop(32),
    transforms.RandomHorizontalFlip(),
    transforms.ColorJitter(brightness=0.2, contrast=0.2),
    transforms.RandomRotation(10),
    transforms.ToTensor(),
    transforms.Normalize(mean=[0.485, 0.456, 0.406], std=[0.229, 0.224, 0.225]),
])
dataset = ImageFolder("pictures", transform=transform)
print(dataset)
print(dataset.classes, dataset.class_to_idx)
for images, labels in DataLoader(dataset, batch_size=4, shuffle=True):
    print(images.shape, labels, f"{images.mean():.4f} {images.std():.4f}")
