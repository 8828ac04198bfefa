"""ResNet-12 of few-shot learning, with the widths of Lee et al. (CVPR 2019, arXiv 1904.03758)."""

from torch import Tensor, nn

from ancor.models.dropblock import DropBlock

WIDTHS = (64, 160, 320, 640)


class ResidualBlock(nn.Module):
    """Three 3x3 convolutions beside a 1x1 shortcut, then 2x2 max-pooling and regularisation."""

    def __init__(self, in_channels: int, channels: int, regulariser: nn.Module) -> None:
        super().__init__()

        def conv3x3(inputs: int) -> nn.Conv2d:
            return nn.Conv2d(inputs, channels, 3, padding=1, bias=False)

        self.conv1, self.bn1 = conv3x3(in_channels), nn.BatchNorm2d(channels)
        self.conv2, self.bn2 = conv3x3(channels), nn.BatchNorm2d(channels)
        self.conv3, self.bn3 = conv3x3(channels), nn.BatchNorm2d(channels)
        self.downsample = nn.Sequential(
            nn.Conv2d(in_channels, channels, 1, bias=False), nn.BatchNorm2d(channels)
        )
        self.relu = nn.LeakyReLU(0.1, inplace=True)
        self.maxpool = nn.MaxPool2d(2)
        self.regulariser = regulariser

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, C_in, H, W) to (N, C, H // 2, W // 2)."""
        out = self.relu(self.bn1(self.conv1(x)))
        out = self.relu(self.bn2(self.conv2(out)))
        out = self.bn3(self.conv3(out))
        out = self.relu(out + self.downsample(x))
        return self.regulariser(self.maxpool(out))


class ResNet12(nn.Module):
    """Images (N, 3, H, W), sides of 16 pixels or more, to pooled features (N, 640).

    Args:
        block_size: DropBlock's block in the last two stages (5 for 84 px, 2 for 32 px).
        drop_rate: rate of the dropout in the first two stages and of DropBlock.
    """

    out_features = WIDTHS[-1]

    def __init__(self, block_size: int = 5, drop_rate: float = 0.1) -> None:
        super().__init__()
        regularisers = (
            nn.Dropout(drop_rate),
            nn.Dropout(drop_rate),
            DropBlock(block_size, drop_rate),
            DropBlock(block_size, drop_rate),
        )
        stages = [
            nn.Sequential(ResidualBlock(in_channels, channels, regulariser))
            for in_channels, channels, regulariser in zip(
                (3, *WIDTHS), WIDTHS, regularisers, strict=False
            )
        ]
        self.layer1, self.layer2, self.layer3, self.layer4 = stages
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="leaky_relu")

    def forward(self, images: Tensor) -> Tensor:
        """Map images (N, 3, H, W) to features (N, 640)."""
        x = self.layer4(self.layer3(self.layer2(self.layer1(images))))
        return self.avgpool(x).flatten(1)
