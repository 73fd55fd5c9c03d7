// One mask as pyifcn.Masks holds it: rows of 64-bit words, aligned to the image's 64-pixel grid, that cover a
// tight box. Without Python.
#pragma once

#include <cstdint>
#include <vector>

namespace pyifcn {

// The words of an image's grid that cover columns [x1, x2).
constexpr int64_t words_across(int64_t x1, int64_t x2) { return (x2 + 63) / 64 - x1 / 64; }

// One mask of an image, borrowed.
struct MaskView {
  int64_t x1, y1, x2, y2;  // half-open; empty: all 0
  const uint64_t* words;

  int64_t rows() const { return y2 - y1; }
  int64_t across() const { return words_across(x1, x2); }
};

// One mask that is being made.
struct PackedMask {
  int32_t box[4] = {0, 0, 0, 0};
  std::vector<uint64_t> words;
};

}  // namespace pyifcn
