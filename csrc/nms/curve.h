// Boxes in an order that keeps alike ones together.
#pragma once

#include <algorithm>
#include <array>
#include <cstdint>
#include <limits>

#include "nms/box.h"
#include "nms/radix.h"

namespace pyifcn {

// The bits of a byte with three zeros between them.
inline constexpr auto kSpread = [] {
  std::array<uint32_t, 256> table{};
  for (uint32_t byte = 0; byte < 256; ++byte)
    for (uint32_t bit = 0; bit < 8; ++bit) table[byte] |= (byte >> bit & 1) << (4 * bit);
  return table;
}();

// One coordinate's range, cut into 256 steps. Halves, so that no difference overflows.
template <class E>
struct Steps {
  E low = std::numeric_limits<E>::infinity(), high = -low, scale = 0;

  void widen(E value) {
    low = std::min(low, value / 2);
    high = std::max(high, value / 2);
  }
  void cut() {
    scale = 256 / (high - low);
    if (!(scale <= std::numeric_limits<E>::max())) scale = 0;
  }
  uint32_t operator()(E value) const {
    return kSpread[size_t(std::min(255, int((value / 2 - low) * scale)))];
  }
};

// Puts the places of boxes along a space-filling curve through the space of boxes, x1 y1 x2 y2: the bits of
// the four steps interleaved. Boxes in one step of all four are arranged again among themselves, down to
// `few`, so that one far outlier does not make a heap of all others. `scratch` has room for `count`.
template <class E>
void along_curve(const Box<E>* boxes, Keyed<uint32_t>* places, Keyed<uint32_t>* scratch, int64_t count,
                 int64_t few) {
  if (count <= few) return;
  Steps<E> x1, y1, x2, y2;
  for (int64_t i = 0; i < count; ++i) {
    const Box<E>& box = boxes[places[i].index];
    x1.widen(box.x1), y1.widen(box.y1), x2.widen(box.x2), y2.widen(box.y2);
  }
  for (Steps<E>* steps : {&x1, &y1, &x2, &y2}) steps->cut();
  for (int64_t i = 0; i < count; ++i) {
    const Box<E>& box = boxes[places[i].index];
    places[i].key = x1(box.x1) << 3 | y1(box.y1) << 2 | x2(box.x2) << 1 | y2(box.y2);
  }
  sort_by_key(places, scratch, count);
  for (int64_t i = 0; i < count;) {
    int64_t next = i + 1;
    while (next < count && places[next].key == places[i].key) ++next;
    if (next - i < count) along_curve(boxes, places + i, scratch, next - i, few);
    i = next;
  }
}

}  // namespace pyifcn
