"""Networks that predict instance-sensitive score maps (need PyTorch: ``pyifcn[models]``)."""

from pyifcn.models.adapters import adapt as adapt
from pyifcn.models.squeezenet import SqueezeNet as SqueezeNet
from pyifcn.models.vgg import VGG16 as VGG16
