// What the operators on score maps share: their dtypes, the grid's side and the cell of each row and column.
#pragma once

#include <bit>
#include <cstdint>
#include <string>
#include <vector>

#include "core/bind.h"
#include "core/half.h"

namespace pyifcn {

inline void check_floating(const Array& array) {
  const Dtype d = array.dtype;
  if (d != Dtype::float16 && d != Dtype::bfloat16 && d != Dtype::float32 && d != Dtype::float64)
    throw type_error(
        sentence(array.name, " is ", array.dtype_name(), ", expected float16, bfloat16, float32 or float64"));
}

// grad_out (N, size, size) of the windows that assembling was given, or (B, H, W, size, size) of all.
// `windows` is N, or -1.
inline void check_grad_out(const Array& grad, const Array& maps, int64_t windows) {
  const int64_t* shape = grad.shape;
  const bool fits = windows >= 0
                        ? shape[0] == windows
                        : shape[0] == maps.shape[0] && shape[1] == maps.shape[2] && shape[2] == maps.shape[3];
  require(fits && shape[grad.rank - 2] == shape[grad.rank - 1],
          "grad_out does not fit score_maps, or is not of the square windows that there are");
}

// K of (B, K K, H, W).
inline int64_t grid_of(const Array& maps) {
  const int64_t channels = maps.shape[1];
  int64_t grid = 0;
  while (grid * grid < channels) ++grid;
  require(grid > 0 && grid * grid == channels, maps.name, " has ", channels,
          " channels, expected K * K for a grid of K x K cells");
  return grid;
}

// cell(i): "nearest" is floor((2 i + 1) K / (2 size)), "floor" is floor(i K / size).
inline std::vector<int32_t> cells_of(const std::string& cells, int64_t grid, int64_t size) {
  require(size >= grid, "size is ", size, ", expected at least the grid side ", grid);
  require(size <= 1 << 20, "size is ", size, ", expected at most ", 1 << 20);
  require(cells == "nearest" || cells == "floor", "cells is '", cells, "', expected 'nearest' or 'floor'");
  std::vector<int32_t> table(static_cast<size_t>(size));
  for (int64_t i = 0; i < size; ++i)
    table[size_t(i)] = int32_t(cells == "nearest" ? (2 * i + 1) * grid / (2 * size) : i * grid / size);
  return table;
}

// The bits of `pad` as an element.
inline uint64_t pad_bits(Dtype dtype, double pad) {
  switch (dtype) {
    case Dtype::float16:
      return to_float16(float(pad));
    case Dtype::bfloat16:
      return to_bfloat16(float(pad));
    case Dtype::float32:
      return bits_of(float(pad));
    default:
      return std::bit_cast<uint64_t>(pad);
  }
}

// Calls `work` with a zero of the unsigned integer that has the elements' size.
template <class Work>
void by_element_size(Dtype dtype, Work work) {
  switch (size_of(dtype)) {
    case 2:
      return work(uint16_t(0));
    case 4:
      return work(uint32_t(0));
    default:
      return work(uint64_t(0));
  }
}

}  // namespace pyifcn
