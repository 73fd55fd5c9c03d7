#include "rle/packed_runs.h"

#include <algorithm>
#include <bit>

namespace pyifcn {

void RunsOfPacked::operator()(const MaskView& mask, Runs& runs) {
  const int64_t across = mask.across(), rows = mask.rows(), left = mask.x1 / 64 * 64;
  edges_.clear(left, left + 64 * across);
  for (int64_t row = 0; row <= rows; ++row)
    for (int64_t k = 0; k < across; ++k) {
      const uint64_t above = row > 0 ? mask.words[(row - 1) * across + k] : 0;
      const uint64_t here = row < rows ? mask.words[row * across + k] : 0;
      for (uint64_t changes = above ^ here; changes; changes &= changes - 1)
        edges_.add(left + 64 * k + std::countr_zero(changes), mask.y1 + row);
    }
  edges_.to_runs(runs);
}

PackedMask pack_runs(RunsSpan runs, ImageSize size) {
  PackedMask mask;
  const RunsBox box = box_of(runs, size.height);
  if (box.x1 == box.x2) return mask;
  const int64_t across = words_across(box.x1, box.x2), left = box.x1 / 64 * 64;
  mask.box[0] = int32_t(box.x1), mask.box[1] = int32_t(box.y1);
  mask.box[2] = int32_t(box.x2), mask.box[3] = int32_t(box.y2);
  mask.words.assign(size_t((box.y2 - box.y1) * across), 0);

  // First the bits that differ from the one above, then a running sum, modulo 2, down the columns.
  const auto flip = [&](int64_t x, int64_t y) {
    if (y < box.y2)
      mask.words[size_t((y - box.y1) * across + (x - left) / 64)] ^= uint64_t(1) << (x - left) % 64;
  };
  visit_foreground(runs, [&](int64_t begin, int64_t end) {
    for (int64_t x = begin / size.height; begin < end; ++x) {
      const int64_t top = x * size.height, bottom = std::min(end - top, size.height);
      flip(x, begin - top);
      flip(x, bottom);
      begin = top + bottom;
    }
  });
  for (size_t i = size_t(across); i < mask.words.size(); ++i) mask.words[i] ^= mask.words[i - size_t(across)];
  return mask;
}

}  // namespace pyifcn
