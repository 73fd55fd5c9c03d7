// The arrays of a pyifcn.Masks, read and made.
#pragma once

#include <vector>

#include "core/bind.h"
#include "masks/mask_view.h"

namespace pyifcn {

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

// The mask whose rows from `top` on are `rows` times `across` words, the first of them covering the columns
// from 64 `word` on.
PackedMask tighten(const uint64_t* words, int64_t rows, int64_t across, int64_t top, int64_t word);

// (boxes, offsets, words), the arrays of a Masks.
py::tuple to_arrays(const std::vector<PackedMask>& masks);

}  // namespace pyifcn
