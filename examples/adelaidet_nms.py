"""AdelaiDet's NMS of masks and of boxes by class, without AdelaiDet."""

from dataclasses import dataclass

try:
    import torch
except ImportError as error:
    raise SystemExit(f"skipped, PyTorch cannot be imported: {error}") from None

from pyifcn.compat.detectron2 import mask_nms, matrix_nms, ml_nms

torch.manual_seed(0)
corners = torch.rand(30, 2) * 200
boxes = torch.cat([corners, corners + 40 + 60 * torch.rand(30, 2)], 1)
scores = torch.rand(30).sort(descending=True)[0]
labels = torch.arange(30) % 3


@dataclass
class Boxes:
    tensor: torch.Tensor


@dataclass
class Instances:
    """As much of detectron2's as NMS looks at."""

    pred_boxes: Boxes
    scores: torch.Tensor
    pred_classes: torch.Tensor

    def __getitem__(self, keep):
        return Instances(
            Boxes(self.pred_boxes.tensor[keep]), self.scores[keep], self.pred_classes[keep]
        )


y, x = torch.arange(300)[:, None, None], torch.arange(300)[:, None]
inside = (x >= boxes[:, 0]) & (x < boxes[:, 2]) & (y >= boxes[:, 1]) & (y < boxes[:, 3])
masks = inside.permute(2, 0, 1)
areas = masks.sum((1, 2))
found = ml_nms(Instances(Boxes(boxes), scores, labels), 0.3)
stay = mask_nms(labels, masks, areas, scores, 0.3)
lowered = matrix_nms(labels, masks, areas, scores)
print(f"of 30, ml_nms keeps {len(found.scores)} boxes and mask_nms {int(stay.sum())} masks")
print(f"matrix_nms lowers {int((lowered < scores).sum())} scores")
