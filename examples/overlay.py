"""Find nuclei with the shipped weights and draw them."""

from PIL import Image

import pyifcn.models
from pyifcn.data import SyntheticNuclei
from pyifcn.plot import overlay

image = SyntheticNuclei(1, size=(192, 256), seed=4)[0].image
masks, scores = pyifcn.models.load("nuclei").segment(image)
areas = masks.area.tolist()
Image.fromarray(overlay(image, masks)).save("overlay.png")
print(f"{len(masks)} nuclei, the largest of {max(areas, default=0)} pixels: overlay.png")
