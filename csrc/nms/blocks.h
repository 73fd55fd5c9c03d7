// A block's boxes in registers, for kernels.
#pragma once

#include "core/simd.h"
#include "nms/iou.h"
#include "nms/nms.h"

namespace pyifcn {
namespace {

// As many boxes as there are lanes, from `lane` on.
template <class E>
PYIFCN_INLINE Boxes<Vec<E>> load(const BoxBlock<E>& block, int lane) {
  using V = Vec<E>;
  return {V::load(block.x1 + lane), V::load(block.y1 + lane), V::load(block.x2 + lane),
          V::load(block.y2 + lane), V::load(block.area + lane)};
}

// One box in all lanes.
template <class E>
PYIFCN_INLINE Boxes<Vec<E>> repeat(const BoxBlock<E>& block, int lane) {
  using V = Vec<E>;
  return {V::all(block.x1[lane]), V::all(block.y1[lane]), V::all(block.x2[lane]), V::all(block.y2[lane]),
          V::all(block.area[lane])};
}

}  // namespace
}  // namespace pyifcn
