"""Images with instance masks: annotations of many formats, synthetic fields, augmentation.

Needs NumPy and Pillow, but not PyTorch; label images in TIFF need tifffile.
"""

try:
    from pyifcn.data import augment
    from pyifcn.data.checks import DataError, ImageError
    from pyifcn.data.cityscapes import CityscapesInstances
    from pyifcn.data.coco import CocoInstances, write_coco
    from pyifcn.data.dataset import AnnotatedImages, SkippedWarning
    from pyifcn.data.files import written_whole
    from pyifcn.data.images import decode_image, read_image
    from pyifcn.data.label_images import LabelImages
    from pyifcn.data.labels import read_labels
    from pyifcn.data.lvis import LvisInstances
    from pyifcn.data.nuclei import SyntheticNuclei
    from pyifcn.data.opening import FORMATS, open_dataset
    from pyifcn.data.panoptic import CocoPanoptic
    from pyifcn.data.sample import Sample, Truth
    from pyifcn.data.shapes import SyntheticShapes
    from pyifcn.data.voc import SbdInstances, VocInstances
except ModuleNotFoundError as error:
    if (error.name or "").partition(".")[0] != "PIL":
        raise
    raise ImportError(
        f'pyifcn.data needs {error.name}; install it with: pip install "pyifcn[data]"'
    ) from None

__all__ = [
    "FORMATS",
    "AnnotatedImages",
    "CityscapesInstances",
    "CocoInstances",
    "CocoPanoptic",
    "DataError",
    "ImageError",
    "LabelImages",
    "LvisInstances",
    "Sample",
    "SbdInstances",
    "SkippedWarning",
    "SyntheticNuclei",
    "SyntheticShapes",
    "Truth",
    "VocInstances",
    "augment",
    "decode_image",
    "open_dataset",
    "read_image",
    "read_labels",
    "write_coco",
    "written_whole",
]
