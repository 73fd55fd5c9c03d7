// The arithmetic that decides a suppression, on vectors or scalars. Its order of operations and of operands
// is torchvision's, each operation rounded once, so that the decisions are equal bit for bit.
#pragma once

#include "core/target.h"

namespace pyifcn {
namespace {

template <class V>
struct Boxes {
  V x1, y1, x2, y2, area;
};

// min and max give their second operand where either is NaN, as std::min(kept, other) and std::max do.
template <class V>
PYIFCN_INLINE V intersection(const Boxes<V>& kept, const Boxes<V>& other, V zero) {
  const V width = max(min(other.x2, kept.x2) - max(other.x1, kept.x1), zero);
  const V height = max(min(other.y2, kept.y2) - max(other.y1, kept.y1), zero);
  return width * height;
}

template <class V>
PYIFCN_INLINE V iou(const Boxes<V>& kept, const Boxes<V>& other, V zero) {
  const V inter = intersection(kept, other, zero);
  return inter / (kept.area + other.area - inter);
}

}  // namespace
}  // namespace pyifcn
