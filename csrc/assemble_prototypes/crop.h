// Which pixels lie in a box, for the CPU and for CUDA: x1 <= x < x2 and y1 <= y < y2, as YOLACT has it.
#pragma once

#include <cmath>
#include <cstdint>

#include "assemble_prototypes/assemble_prototypes.h"
#include "core/target.h"

namespace pyifcn {

constexpr int64_t kMostSide = 1 << 24;  // of a side

// The first pixel at `edge` or beyond; `size` if there is none.
PYIFCN_INLINE int32_t first_pixel(double edge, int64_t size) {
  return edge > 0 ? int32_t(edge < double(size) ? std::ceil(edge) : double(size)) : 0;
}

// `box` is x1, y1, x2, y2. None lies in one with NaN.
PYIFCN_INLINE Crop crop_of(const double* box, int64_t height, int64_t width) {
  if (!(box[0] < box[2] && box[1] < box[3])) return {0, 0, 0, 0};
  const Crop crop{first_pixel(box[0], width), first_pixel(box[1], height), first_pixel(box[2], width),
                  first_pixel(box[3], height)};
  if (crop.x1 >= crop.x2 || crop.y1 >= crop.y2) return {0, 0, 0, 0};
  return crop;
}

}  // namespace pyifcn
