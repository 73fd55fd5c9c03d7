// Masks as pyifcn.Masks holds them: rows of 64-bit words, aligned to the image's 64-pixel grid, that cover a
// tight box.
#pragma once

#include <pybind11/pybind11.h>

#include <cstdint>
#include <vector>

namespace pyifcn {

struct PackedMask {
  int32_t box[4] = {0, 0, 0, 0};  // x1 y1 x2 y2, half-open; empty: all 0
  std::vector<uint64_t> words;
};

// The words of an image's grid that cover columns [x1, x2).
constexpr int64_t words_across(int64_t x1, int64_t x2) { return (x2 + 63) / 64 - x1 / 64; }

// The mask whose rows from `top` on are `rows` times `across` words, the first of them covering the columns
// from 64 `word` on.
PackedMask tighten(const uint64_t* words, int64_t rows, int64_t across, int64_t top, int64_t word);

// (boxes, offsets, words), the arrays of Masks.
pybind11::tuple to_arrays(const std::vector<PackedMask>& masks);

}  // namespace pyifcn
