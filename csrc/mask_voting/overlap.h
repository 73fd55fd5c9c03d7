// The arithmetic that decides who is suppressed and who votes, on vectors or scalars; each operation rounded
// once.
#pragma once

#include "core/target.h"

namespace pyifcn {
namespace {

template <class V>
struct VotingBox {
  V x1, y1, x2, y2, area;
};

// `last` is 1 where x2 and y2 are of the last pixel inside, else 0.
template <class V>
PYIFCN_INLINE V area_of(V x1, V y1, V x2, V y2, V last) {
  return (x2 - x1 + last) * (y2 - y1 + last);
}

template <class V>
PYIFCN_INLINE V intersection(const VotingBox<V>& a, const VotingBox<V>& b, V last, V zero) {
  const V width = max(min(a.x2, b.x2) - max(a.x1, b.x1) + last, zero);
  const V height = max(min(a.y2, b.y2) - max(a.y1, b.y1) + last, zero);
  return width * height;
}

template <class V>
PYIFCN_INLINE V iou(const VotingBox<V>& a, const VotingBox<V>& b, V common) {
  return common / (a.area + b.area - common);
}

}  // namespace
}  // namespace pyifcn
