"""detectron2's pasting and AdelaiDet's matrix NMS without either."""

try:
    import torch
except ImportError as error:
    raise SystemExit(f"skipped, PyTorch cannot be imported: {error}") from None

from pyifcn.compat.detectron2 import matrix_nms, paste_masks_in_image

torch.manual_seed(0)
corners = torch.rand(20, 2) * 300
boxes = torch.cat([corners, corners + 50 + 100 * torch.rand(20, 2)], 1)
masks = paste_masks_in_image(torch.rand(20, 28, 28), boxes, (480, 640))
scores = torch.rand(20).sort(descending=True)[0]
labels = torch.zeros(20, dtype=torch.long)
lowered = matrix_nms(labels, masks, masks.sum((1, 2)), scores)
print(f"{len(masks)} masks, {int((lowered < scores).sum())} of lower score")
