// Where the pixels of an image read a soft mask along one axis.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <string>
#include <vector>

#include "core/check.h"

namespace pyifcn {

enum class PasteConvention { torchvision, detectron2 };

inline PasteConvention paste_convention_of(const std::string& name) {
  if (name == "torchvision") return PasteConvention::torchvision;
  require(name == "detectron2", "convention is '", name, "', expected 'torchvision' or 'detectron2'");
  return PasteConvention::detectron2;
}

// Pixel begin + i lies between cells[i] and the next one, whose weight is weights[i]. Cells are counted from
// the ring of zeros on: 0..size + 1. Cells and weights rise or fall together, all along.
template <class E>
struct Sampling {
  int64_t begin = 0;
  std::vector<int32_t> cells;
  std::vector<E> weights;

  int64_t count() const { return int64_t(cells.size()); }

  void resize(double first, double end, int64_t pixels) {
    begin = int64_t(std::clamp(first, 0.0, double(pixels)));
    const int64_t last = int64_t(std::clamp(end, 0.0, double(pixels)));
    cells.resize(size_t(std::max<int64_t>(last - begin, 0)));
    weights.resize(cells.size());
  }
};

// torchvision's: the mask with its ring is stretched over whole pixels. B is the type of the boxes.
template <class B, class E>
void sample_torchvision(B low, B high, int64_t size, int64_t pixels, Sampling<E>& out) {
  const B ring = B(double(size + 2) / double(size));
  const B half = (high - low) * B(0.5) * ring, centre = (high + low) * B(0.5);
  const double first = std::trunc(double(centre - half)), last = std::trunc(double(centre + half));
  if (!std::isfinite(E(first)) || !std::isfinite(E(last))) return out.resize(0, 0, 0);
  out.resize(first, last + 1, pixels);
  const E step = E(size + 2) / E(last - first + 1);
  for (int64_t i = 0; i < out.count(); ++i) {
    const E at = std::max(step * (E(double(out.begin + i) - first) + E(0.5)) - E(0.5), E(0));
    const auto cell = std::min(int32_t(at), int32_t(size + 1));
    out.cells[size_t(i)] = cell;
    out.weights[size_t(i)] = std::min(at - E(cell), E(1));
  }
}

// detectron2's: the mask is sampled at the pixels' centres, up to a pixel outside the box.
template <class B, class E>
void sample_detectron2(B low, B high, int64_t size, int64_t pixels, Sampling<E>& out) {
  if (!std::isfinite(low) || !std::isfinite(high)) return out.resize(0, 0, 0);
  out.resize(std::floor(double(low)) - 1, std::ceil(double(high)) + 1, pixels);
  for (int64_t i = 0; i < out.count(); ++i) {
    const B part = (B(out.begin + i) + B(0.5) - low) / (high - low) * 2 - 1;
    const E at = ((E(part) + 1) * E(size) - 1) / 2;
    const bool inside = at > -1 && at < E(size);
    const int32_t cell = inside ? int32_t(at + 1) : at >= E(size) ? int32_t(size + 1) : 0;
    out.cells[size_t(i)] = cell;
    out.weights[size_t(i)] = inside ? std::clamp(at - E(cell - 1), E(0), E(1)) : E(0);
  }
}

}  // namespace pyifcn
