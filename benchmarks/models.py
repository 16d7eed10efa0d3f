"""Models the benchmarks share, written as ordinary scripts over either framework (`torch` is lamina or PyTorch)."""

from __future__ import annotations

from types import ModuleType


def digits_cnn(torch: ModuleType) -> object:
    """The CNN of guide 004: three conv, batch norm, relu, pool blocks, dropout, two linear layers; input [n, 1, 28, 28]."""
    nn, F = torch.nn, torch.nn.functional

    class CNN(nn.Module):
        def __init__(self, num_classes=10):
            super().__init__()
            self.conv1 = nn.Conv2d(1, 16, kernel_size=3, padding=1)
            self.bn1 = nn.BatchNorm2d(16)
            self.conv2 = nn.Conv2d(16, 32, kernel_size=3, padding=1)
            self.bn2 = nn.BatchNorm2d(32)
            self.conv3 = nn.Conv2d(32, 64, kernel_size=3, padding=1)
            self.bn3 = nn.BatchNorm2d(64)
            self.pool = nn.MaxPool2d(2, 2)
            self.dropout = nn.Dropout(0.3)
            self.fc1 = nn.Linear(64 * 3 * 3, 128)
            self.fc2 = nn.Linear(128, num_classes)

        def forward(self, x):
            x = self.pool(F.relu(self.bn1(self.conv1(x))))
            x = self.pool(F.relu(self.bn2(self.conv2(x))))
            x = self.pool(F.relu(self.bn3(self.conv3(x))))
            x = x.view(x.size(0), -1)
            x = self.dropout(F.relu(self.fc1(x)))
            return self.fc2(x)

    return CNN()


def resnet(torch: ModuleType, depth: int = 50, num_classes: int = 1000) -> object:
    """ResNet-18 or ResNet-50 (He et al., 2015) with torchvision's names; input [n, 3, h, w]."""
    nn = torch.nn

    class BasicBlock(nn.Module):
        expansion = 1

        def __init__(self, inplanes, planes, stride=1):
            super().__init__()
            self.conv1 = nn.Conv2d(inplanes, planes, 3, stride, 1, bias=False)
            self.bn1 = nn.BatchNorm2d(planes)
            self.relu = nn.ReLU(inplace=True)
            self.conv2 = nn.Conv2d(planes, planes, 3, 1, 1, bias=False)
            self.bn2 = nn.BatchNorm2d(planes)
            self.downsample = shortcut(inplanes, planes, stride)

        def forward(self, x):
            identity = x if self.downsample is None else self.downsample(x)
            out = self.relu(self.bn1(self.conv1(x)))
            out = self.bn2(self.conv2(out))
            out += identity
            return self.relu(out)

    class Bottleneck(nn.Module):
        expansion = 4

        def __init__(self, inplanes, planes, stride=1):
            super().__init__()
            self.conv1 = nn.Conv2d(inplanes, planes, 1, bias=False)
            self.bn1 = nn.BatchNorm2d(planes)
            self.conv2 = nn.Conv2d(planes, planes, 3, stride, 1, bias=False)
            self.bn2 = nn.BatchNorm2d(planes)
            self.conv3 = nn.Conv2d(planes, planes * 4, 1, bias=False)
            self.bn3 = nn.BatchNorm2d(planes * 4)
            self.relu = nn.ReLU(inplace=True)
            self.downsample = shortcut(inplanes, planes * 4, stride)

        def forward(self, x):
            identity = x if self.downsample is None else self.downsample(x)
            out = self.relu(self.bn1(self.conv1(x)))
            out = self.relu(self.bn2(self.conv2(out)))
            out = self.bn3(self.conv3(out))
            out += identity
            return self.relu(out)

    def shortcut(inplanes, planes, stride):
        if stride == 1 and inplanes == planes:
            return None
        return nn.Sequential(nn.Conv2d(inplanes, planes, 1, stride, bias=False), nn.BatchNorm2d(planes))

    block, counts = {18: (BasicBlock, (2, 2, 2, 2)), 50: (Bottleneck, (3, 4, 6, 3))}[depth]

    class ResNet(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv1 = nn.Conv2d(3, 64, 7, 2, 3, bias=False)
            self.bn1 = nn.BatchNorm2d(64)
            self.relu = nn.ReLU(inplace=True)
            self.maxpool = nn.MaxPool2d(3, 2, 1)
            inplanes = 64
            for i, (planes, count) in enumerate(zip((64, 128, 256, 512), counts)):
                blocks = []
                for k in range(count):
                    blocks.append(block(inplanes, planes, 2 if i and not k else 1))
                    inplanes = planes * block.expansion
                setattr(self, f"layer{i + 1}", nn.Sequential(*blocks))
            self.avgpool = nn.AdaptiveAvgPool2d((1, 1))
            self.fc = nn.Linear(inplanes, num_classes)

        def forward(self, x):
            x = self.maxpool(self.relu(self.bn1(self.conv1(x))))
            x = self.layer4(self.layer3(self.layer2(self.layer1(x))))
            return self.fc(torch.flatten(self.avgpool(x), 1))

    return ResNet()


def mobilenet_v2(torch: ModuleType, num_classes: int = 1000) -> object:
    """MobileNetV2 (Sandler et al., 2018), width 1; input [n, 3, 224, 224]."""
    nn = torch.nn

    def unit(inp, out, kernel=3, stride=1, groups=1):
        conv = nn.Conv2d(inp, out, kernel, stride, (kernel - 1) // 2, groups=groups, bias=False)
        return nn.Sequential(conv, nn.BatchNorm2d(out), nn.ReLU6(inplace=True))

    class InvertedResidual(nn.Module):
        def __init__(self, inp, out, stride, expand):
            super().__init__()
            hidden = inp * expand
            layers = [] if expand == 1 else [unit(inp, hidden, 1)]
            layers += [unit(hidden, hidden, 3, stride, hidden), nn.Conv2d(hidden, out, 1, bias=False), nn.BatchNorm2d(out)]
            self.conv = nn.Sequential(*layers)
            self.residual = stride == 1 and inp == out

        def forward(self, x):
            return x + self.conv(x) if self.residual else self.conv(x)

    settings = ((1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1), (6, 160, 3, 2), (6, 320, 1, 1))

    class MobileNetV2(nn.Module):
        def __init__(self):
            super().__init__()
            layers, inp = [unit(3, 32, 3, 2)], 32
            for expand, out, count, stride in settings:
                for k in range(count):
                    layers.append(InvertedResidual(inp, out, stride if k == 0 else 1, expand))
                    inp = out
            layers.append(unit(inp, 1280, 1))
            self.features = nn.Sequential(*layers)
            self.classifier = nn.Sequential(nn.Dropout(0.2), nn.Linear(1280, num_classes))

        def forward(self, x):
            return self.classifier(self.features(x).mean([2, 3]))

    return MobileNetV2()


def unet(torch: ModuleType, width: int = 32, depth: int = 4, classes: int = 2) -> object:
    """U-Net (Ronneberger et al., 2015) with padding and batch norm; input [n, 3, h, w], h and w multiples of 2**depth."""
    nn = torch.nn

    def double(inp, out):
        layers = []
        for a in (inp, out):
            layers += [nn.Conv2d(a, out, 3, padding=1, bias=False), nn.BatchNorm2d(out), nn.ReLU(inplace=True)]
        return nn.Sequential(*layers)

    class UNet(nn.Module):
        def __init__(self):
            super().__init__()
            widths = [width << i for i in range(depth + 1)]
            self.down = nn.ModuleList(double(a, b) for a, b in zip([3, *widths], widths))
            self.pool = nn.MaxPool2d(2)
            pairs = list(zip(widths[::-1], widths[-2::-1]))
            self.up = nn.ModuleList(nn.ConvTranspose2d(a, b, 2, stride=2) for a, b in pairs)
            self.merge = nn.ModuleList(double(a, b) for a, b in pairs)
            self.head = nn.Conv2d(width, classes, 1)

        def forward(self, x):
            kept = []
            for i, block in enumerate(self.down):
                x = block(x if i == 0 else self.pool(x))
                kept.append(x)
            kept.pop()
            for up, merge in zip(self.up, self.merge):
                x = merge(torch.cat([kept.pop(), up(x)], dim=1))
            return self.head(x)

    return UNet()


def conv_autoencoder(torch: ModuleType) -> object:
    """Three strided convolutions down, three transposed ones up; input [n, 3, 32, 32]."""
    nn = torch.nn
    return nn.Sequential(
        nn.Conv2d(3, 16, 3, stride=2, padding=1), nn.ReLU(),
        nn.Conv2d(16, 32, 3, stride=2, padding=1), nn.ReLU(),
        nn.Conv2d(32, 64, 3, stride=2, padding=1), nn.ReLU(),
        nn.ConvTranspose2d(64, 32, 3, stride=2, padding=1, output_padding=1), nn.ReLU(),
        nn.ConvTranspose2d(32, 16, 3, stride=2, padding=1, output_padding=1), nn.ReLU(),
        nn.ConvTranspose2d(16, 3, 3, stride=2, padding=1, output_padding=1), nn.Sigmoid(),
    )  # fmt: skip


def vae(torch: ModuleType) -> object:
    """The variational autoencoder of PyTorch's examples: 784-400-20-400-784; gives (reconstruction, mean, log variance)."""
    nn, F = torch.nn, torch.nn.functional

    class VAE(nn.Module):
        def __init__(self):
            super().__init__()
            self.fc1, self.fc21, self.fc22 = nn.Linear(784, 400), nn.Linear(400, 20), nn.Linear(400, 20)
            self.fc3, self.fc4 = nn.Linear(20, 400), nn.Linear(400, 784)

        def forward(self, x):
            hidden = F.relu(self.fc1(x))
            mean, logvar = self.fc21(hidden), self.fc22(hidden)
            std = torch.exp(0.5 * logvar)
            z = mean + torch.randn_like(std) * std
            return torch.sigmoid(self.fc4(F.relu(self.fc3(z)))), mean, logvar

    return VAE()


def mlp(torch: ModuleType, *widths: int) -> object:
    """Linear layers with ReLU between them."""
    layers = []
    for a, b in zip(widths, widths[1:]):
        layers += [torch.nn.Linear(a, b), torch.nn.ReLU()]
    return torch.nn.Sequential(*layers[:-1])


def recommender(torch: ModuleType, rows: int = 20000, width: int = 32) -> object:
    """Two embedding bags and dense features into an MLP with one logit."""
    nn = torch.nn

    class Recommender(nn.Module):
        def __init__(self):
            super().__init__()
            self.users, self.items = nn.EmbeddingBag(rows, width, mode="mean"), nn.EmbeddingBag(rows, width, mode="sum")
            self.dense = nn.Linear(13, width)
            self.top = mlp(torch, 3 * width, 64, 1)

        def forward(self, users, items, dense):
            parts = [self.users(users), self.items(items), torch.relu(self.dense(dense))]
            return self.top(torch.cat(parts, dim=1)).squeeze(1)

    return Recommender()
