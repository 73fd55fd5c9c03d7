"""Masks of a network like SAM as codes and boxes, without segment_anything."""

import torch

from pyifcn.compat import segment_anything as amg

y, x = torch.meshgrid(torch.arange(120), torch.arange(160), indexing="ij")
centres = torch.tensor([[40, 50], [70, 110]])[:, :, None, None]
logits = 30 - ((y - centres[:, 0]) ** 2 + (x - centres[:, 1]) ** 2).sqrt()
masks = logits > 0
for code, box, stability in zip(
    amg.mask_to_rle_pytorch(masks),
    amg.batched_mask_to_box(masks).tolist(),
    amg.calculate_stability_score(logits, 0.0, 1.0).tolist(),
    strict=True,
):
    print(box, f"stability {stability:.2f}, {len(code['counts'])} runs")
