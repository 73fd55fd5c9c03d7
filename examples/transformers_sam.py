"""The post-processing of SAM in transformers on our kernels; nothing else is changed."""

import torch

import pyifcn

try:
    from transformers.models.sam.image_processing_sam import SamImageProcessor
except (ImportError, RuntimeError) as error:  # those of its parts raise RuntimeError
    raise SystemExit(f"skipped, transformers' SAM cannot be imported: {error}") from None

y, x = torch.meshgrid(torch.arange(120), torch.arange(160), indexing="ij")
centres = torch.tensor([[40, 50], [70, 110]])[:, :, None, None]
logits = 300 - 10 * ((y - centres[:, 0]) ** 2 + (x - centres[:, 1]) ** 2).sqrt()
with pyifcn.accelerate("transformers") as accelerated:
    codes, scores, boxes = SamImageProcessor().filter_masks(
        logits[:, None], torch.tensor([[0.95], [0.9]]), (120, 160), [0, 0, 160, 120], 0.88, 0.9
    )
print(f"{len(accelerated.replaced)} functions replaced; {len(codes)} masks in {boxes.tolist()}")
