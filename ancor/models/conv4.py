"""Conv-4-64, the small backbone of few-shot learning (Vinyals et al., 2016, arXiv 1606.04080)."""

from torch import Tensor, nn


class Conv4(nn.Module):
    """Images (N, 3, H, W), sides of 16 pixels or more, to pooled features (N, 64).

    Four times 3x3 convolution, batch norm, ReLU and 2x2 max-pooling. Differs from the common form,
    which flattens the last map, in its global average pooling, so that any image size fits.
    """

    out_features = 64

    def __init__(self) -> None:
        super().__init__()

        def stage(in_channels: int) -> nn.Sequential:
            return nn.Sequential(
                nn.Conv2d(in_channels, 64, 3, padding=1, bias=False),
                nn.BatchNorm2d(64),
                nn.ReLU(inplace=True),
                nn.MaxPool2d(2),
            )

        self.layer1, self.layer2, self.layer3, self.layer4 = (stage(c) for c in (3, 64, 64, 64))
        self.avgpool = nn.AdaptiveAvgPool2d(1)

    def forward(self, images: Tensor) -> Tensor:
        """Map images (N, 3, H, W) to features (N, 64)."""
        x = self.layer4(self.layer3(self.layer2(self.layer1(images))))
        return self.avgpool(x).flatten(1)
