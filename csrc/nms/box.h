// One box.
#pragma once

#include "core/target.h"

namespace pyifcn {

template <class E>
struct Box {
  E x1, y1, x2, y2;
};

// Whether a box can have a positive IoU with any: its sides and its area are positive and finite.
template <class E>
PYIFCN_INLINE bool can_overlap(const Box<E>& b) {
  const E width = b.x2 - b.x1, height = b.y2 - b.y1, area = width * height;
  return width > 0 && height > 0 && area > 0 && area - area == 0;
}

}  // namespace pyifcn
