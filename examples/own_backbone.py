"""InstanceFCN on a backbone of one's own: a forward pass, a loss on assembled windows, a step."""

import torch
from torch import nn

import pyifcn
from pyifcn.models import InstanceFCN, adapt

torch.manual_seed(0)
features = nn.Sequential(
    nn.Conv2d(3, 16, 5, stride=4, padding=2), nn.ReLU(), nn.Conv2d(16, 32, 3, padding=1), nn.ReLU()
)
model = InstanceFCN(adapt(features), grid=5, window=21, width=32)
print(f"stride {model.stride}, {sum(p.numel() for p in model.parameters())} parameters")

# A disc in the middle of an image, and the window around it.
y, x = torch.meshgrid(torch.arange(96), torch.arange(96), indexing="ij")
disc = (y - 48) ** 2 + (x - 48) ** 2 < 24**2
image = (0.2 + 0.6 * disc).expand(1, 3, 96, 96)
window = torch.tensor([[0, 12, 12]])
truth = disc[::4, ::4][None, 2:23, 2:23].float()

optimizer = torch.optim.AdamW(model.parameters(), 3e-3)
for step in range(30):
    score_maps, objectness = model(image)
    mask = pyifcn.assemble(score_maps, window, size=21)
    loss = nn.functional.binary_cross_entropy_with_logits(mask, truth)
    loss = loss + nn.functional.softplus(-objectness[0, 12, 12])
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    if step % 10 == 0 or step == 29:
        print(f"step {step:2d}  loss {loss.item():.3f}")
