// Masks as pyifcn.Masks holds them: rows of 64-bit words, aligned to the image's 64-pixel grid, that cover a
// tight box.
#pragma once

#include <cstdint>
#include <vector>

#include "core/bind.h"

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

// The arrays of a Masks, which have been checked when it was made.
class MasksView {
public:
  MasksView(py::handle boxes, py::handle offsets, py::handle words)
      : boxes_(as_array(boxes, "boxes").view<const int32_t, 2>()),
        offsets_(as_array(offsets, "offsets").view<const int64_t, 1>()),
        words_(as_array(words, "words").view<const uint64_t, 1>()) {}

  int64_t count() const { return boxes_.shape[0]; }
  MaskView operator[](int64_t i) const {
    const int32_t* b = box(i);
    return {b[0], b[1], b[2], b[3], words_.data + offsets_.data[i]};
  }

  const int32_t* box(int64_t i) const { return boxes_.data + 4 * i; }
  int64_t start(int64_t i) const { return offsets_.data[i]; }  // i up to count()
  const uint64_t* words() const { return words_.data; }

  // Whether these are the very same arrays.
  bool same_as(const MasksView& other) const {
    return boxes_.data == other.boxes_.data && words_.data == other.words_.data;
  }

private:
  View<const int32_t, 2> boxes_;
  View<const int64_t, 1> offsets_;
  View<const uint64_t, 1> words_;
};

// One mask that is being made.
struct PackedMask {
  int32_t box[4] = {0, 0, 0, 0};
  std::vector<uint64_t> words;
};

// The mask whose rows from `top` on are `rows` times `across` words, the first of them covering the columns
// from 64 `word` on.
PackedMask tighten(const uint64_t* words, int64_t rows, int64_t across, int64_t top, int64_t word);

// (boxes, offsets, words), the arrays of a Masks.
py::tuple to_arrays(const std::vector<PackedMask>& masks);

}  // namespace pyifcn
