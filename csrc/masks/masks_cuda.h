// The arrays of a Masks in device memory.
#pragma once

#include <cstdint>

#include "core/target.h"
#include "core/view.h"

namespace pyifcn {

// The words of an image's 64-pixel grid that cover columns [x1, x2).
PYIFCN_INLINE int64_t grid_words(int64_t x1, int64_t x2) { return (x2 + 63) / 64 - x1 / 64; }

// One mask: rows of words that cover its tight box.
struct CudaMask {
  int32_t x1, y1, x2, y2;  // half-open; empty: all 0
  const uint64_t* words;

  PYIFCN_INLINE int64_t rows() const { return y2 - y1; }
  PYIFCN_INLINE int64_t across() const { return grid_words(x1, x2); }

  // Word k of row y of the image, 0 where the mask has none.
  PYIFCN_INLINE uint64_t word(int64_t y, int64_t k) const {
    const int64_t column = k - x1 / 64, width = across();
    if (y < y1 || y >= y2 || column < 0 || column >= width) return 0;
    return words[(y - y1) * width + column];
  }
};

struct CudaMasks {
  View<const int32_t, 2> boxes;    // (N, 4)
  View<const int64_t, 1> offsets;  // (N + 1,)
  View<const uint64_t, 1> words;

  PYIFCN_INLINE int64_t count() const { return boxes.shape[0]; }
  PYIFCN_INLINE CudaMask operator[](int64_t i) const {
    const int32_t* box = boxes.data + 4 * i;
    return {box[0], box[1], box[2], box[3], words.data + offsets.data[i]};
  }
};

}  // namespace pyifcn
