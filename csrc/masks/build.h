// Masks made in two passes, the first for their tight boxes, the second for their words: beside the result
// there is never more than a band of rows.
#pragma once

#include <algorithm>
#include <bit>
#include <vector>

#include "core/parallel.h"
#include "masks/packed.h"

namespace pyifcn {

// A half-open box that holds a mask's pixels. Empty: x1 >= x2 or y1 >= y2.
struct Extent {
  int64_t x1, y1, x2, y2;
  bool tight;  // there are pixels on all four sides

  bool empty() const { return x1 >= x2 || y1 >= y2; }
};

inline Extent extent_of(const MaskView& mask) { return {mask.x1, mask.y1, mask.x2, mask.y2, true}; }

// Adds the bits of all rows to those of `columns`.
inline void unite_rows(const uint64_t* words, int64_t rows, int64_t across, uint64_t* columns) {
  for (int64_t k = 0; k < across; ++k) {
    uint64_t column = 0;
    for (int64_t row = 0; row < rows; ++row) column |= words[row * across + k];
    columns[k] |= column;
  }
}

// The tight extent of what a source makes.
template <class Source>
Extent tight_extent(const Source& source) {
  constexpr int64_t kBand = 4096;  // words, which the first-level cache holds
  const Extent loose = source.extent();
  if (loose.empty()) return {0, 0, 0, 0, true};
  if (loose.tight) return loose;
  const int64_t first = loose.x1 / 64, across = words_across(loose.x1, loose.x2);
  const int64_t band = std::min(std::max<int64_t>(1, kBand / across), loose.y2 - loose.y1);
  std::vector<uint64_t> words(size_t(band * across)), columns(size_t(across), 0);
  Extent tight{0, 0, 0, 0, true};
  for (int64_t begin = loose.y1; begin < loose.y2; begin += band) {
    const int64_t end = std::min(begin + band, loose.y2);
    source.fill(begin, end, first, across, words.data());
    const auto is_empty = [&](int64_t y) {
      const uint64_t* row = words.data() + (y - begin) * across;
      return std::all_of(row, row + across, [](uint64_t word) { return word == 0; });
    };
    int64_t top = begin, bottom = end;
    while (top < bottom && is_empty(top)) ++top;
    while (top < bottom && is_empty(bottom - 1)) --bottom;
    if (top == bottom) continue;
    if (tight.y2 == 0) tight.y1 = top;
    tight.y2 = bottom;
    unite_rows(words.data() + (top - begin) * across, bottom - top, across, columns.data());
  }
  if (tight.y2 == 0) return tight;
  int64_t left = 0, right = across - 1;
  while (columns[size_t(left)] == 0) ++left;
  while (columns[size_t(right)] == 0) --right;
  tight.x1 = 64 * (first + left) + std::countr_zero(columns[size_t(left)]);
  tight.x2 = 64 * (first + right + 1) - std::countl_zero(columns[size_t(right)]);
  return tight;
}

// (boxes, offsets, words) of `count` masks. source_of(i) makes mask i: its extent() holds the mask's pixels,
// and its fill(begin, end, first, across, to) writes rows [begin, end) of them, each the words [first, first
// + across) of the image's grid, where the rows and words asked for lie inside the extent.
template <class SourceOf>
py::tuple build_masks(int64_t count, int threads, SourceOf source_of) {
  constexpr int64_t kGrain = 1 << 13;  // words that are worth a thread
  py::array_t<int32_t> boxes({py::ssize_t(count), py::ssize_t(4)});
  py::array_t<int64_t> offsets(count + 1);
  int32_t* corners = boxes.mutable_data();
  int64_t* starts = offsets.mutable_data();
  without_gil([&] {
    parallel_for(count, 32, threads, [&](int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; ++i) {
        const Extent box = tight_extent(source_of(i));
        corners[4 * i] = int32_t(box.x1), corners[4 * i + 1] = int32_t(box.y1);
        corners[4 * i + 2] = int32_t(box.x2), corners[4 * i + 3] = int32_t(box.y2);
        starts[i + 1] = (box.y2 - box.y1) * words_across(box.x1, box.x2);
      }
    });
    starts[0] = 0;
    for (int64_t i = 0; i < count; ++i) starts[i + 1] = checked_count("masks", {starts[i] + starts[i + 1]});
  });
  py::array_t<uint64_t> words(starts[count]);
  uint64_t* to = words.mutable_data();
  const auto fill = [&](int64_t i, int64_t begin, int64_t end) {
    const int32_t* box = corners + 4 * i;
    const int64_t across = words_across(box[0], box[2]);
    if (begin < end)
      source_of(i).fill(box[1] + begin, box[1] + end, box[0] / 64, across, to + starts[i] + begin * across);
  };
  const auto rows = [&](int64_t i) { return int64_t(corners[4 * i + 3]) - corners[4 * i + 1]; };
  without_gil([&] {
    if (count < threads) {  // bands of each mask
      for (int64_t i = 0; i < count; ++i) {
        const int64_t each = std::max<int64_t>(1, words_across(corners[4 * i], corners[4 * i + 2]));
        parallel_for(rows(i), std::max<int64_t>(1, kGrain / each), threads,
                     [&](int64_t begin, int64_t end) { fill(i, begin, end); });
      }
    } else {
      const int64_t each = std::max<int64_t>(1, starts[count] / std::max<int64_t>(1, count));
      parallel_for(count, std::max<int64_t>(1, kGrain / each), threads, [&](int64_t begin, int64_t end) {
        for (int64_t i = begin; i < end; ++i) fill(i, 0, rows(i));
      });
    }
  });
  return py::make_tuple(boxes, offsets, words);
}

}  // namespace pyifcn
