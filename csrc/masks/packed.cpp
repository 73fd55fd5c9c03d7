#include "masks/packed.h"

#include <pybind11/numpy.h>

#include <algorithm>
#include <bit>

namespace pyifcn {

PackedMask tighten(const uint64_t* words, int64_t rows, int64_t across, int64_t top, int64_t word) {
  PackedMask mask;
  const auto is_empty = [&](int64_t row) {
    return std::all_of(words + row * across, words + (row + 1) * across, [](uint64_t w) { return w == 0; });
  };
  int64_t first = 0, last = rows;
  while (first < last && is_empty(first)) ++first;
  while (first < last && is_empty(last - 1)) --last;
  if (first == last) return mask;
  std::vector<uint64_t> columns(size_t(across), 0);
  for (int64_t row = first; row < last; ++row)
    for (int64_t k = 0; k < across; ++k) columns[size_t(k)] |= words[row * across + k];
  int64_t left = 0, right = across - 1;
  while (columns[size_t(left)] == 0) ++left;
  while (columns[size_t(right)] == 0) --right;
  mask.box[0] = int32_t(64 * (word + left) + std::countr_zero(columns[size_t(left)]));
  mask.box[1] = int32_t(top + first);
  mask.box[2] = int32_t(64 * (word + right + 1) - std::countl_zero(columns[size_t(right)]));
  mask.box[3] = int32_t(top + last);
  mask.words.reserve(size_t((last - first) * (right + 1 - left)));
  for (int64_t row = first; row < last; ++row)
    mask.words.insert(mask.words.end(), words + row * across + left, words + row * across + right + 1);
  return mask;
}

py::tuple to_arrays(const std::vector<PackedMask>& masks) {
  const auto count = py::ssize_t(masks.size());
  py::array_t<int32_t> boxes({count, py::ssize_t(4)});
  py::array_t<int64_t> offsets(count + 1);
  int64_t end = 0;
  offsets.mutable_data()[0] = 0;
  for (py::ssize_t i = 0; i < count; ++i) {
    const PackedMask& mask = masks[size_t(i)];
    std::copy_n(mask.box, 4, boxes.mutable_data() + 4 * i);
    end += int64_t(mask.words.size());
    offsets.mutable_data()[i + 1] = end;
  }
  py::array_t<uint64_t> words(end);
  uint64_t* to = words.mutable_data();
  for (const PackedMask& mask : masks) to = std::copy(mask.words.begin(), mask.words.end(), to);
  return py::make_tuple(boxes, offsets, words);
}

}  // namespace pyifcn
