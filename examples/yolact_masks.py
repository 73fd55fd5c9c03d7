"""What a network like YOLACT gives as boxes and masks, without YOLACT."""

try:
    import torch
except ImportError as error:
    raise SystemExit(f"skipped, PyTorch cannot be imported: {error}") from None

from pyifcn.compat.yolact import Detect, postprocess

torch.manual_seed(0)
priors = torch.cat([torch.rand(2000, 2), 0.1 + 0.3 * torch.rand(2000, 2)], 1)
predictions = {
    "loc": torch.randn(1, 2000, 4),
    "conf": torch.softmax(4 * torch.randn(1, 2000, 81), -1),
    "mask": torch.randn(1, 2000, 32).tanh(),
    "priors": priors,
    "proto": torch.randn(1, 138, 138, 32).relu(),
}
detect = Detect(81, 0, top_k=200, conf_thresh=0.05, nms_thresh=0.5)
detect.use_fast_nms = True
classes, scores, boxes, masks = postprocess(detect(predictions, None), 640, 480)
print(f"{len(masks)} masks of {classes.unique().numel()} classes on {tuple(masks.shape[1:])}")
