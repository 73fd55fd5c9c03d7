// Kernels on the bits of masks.
#pragma once

#include <cstdint>

#include "core/target.h"

namespace pyifcn {

// Rows of bytes to rows of bits: byte x of a row becomes bit `lead` + x, set where it is not 0. All of the
// (lead + width + 63) / 64 words of a row are written. lead < 64. The bytes of a row lie `column_step` apart,
// rows `row_step`.
template <Target T>
void pack_rows(const uint8_t* bytes, int64_t row_step, int64_t column_step, int64_t rows, int64_t width,
               int64_t lead, uint64_t* words);

// The inverse, to bytes of 0 and 1 side by side, rows `pitch` apart.
template <Target T>
void unpack_rows(const uint64_t* words, int64_t rows, int64_t width, int64_t lead, uint8_t* bytes,
                 int64_t pitch);

template <Target T>
int64_t count_bits(const uint64_t* words, int64_t count);

// A mask word column by word column: row y, column k of the words is words[k pitch + y - y1]. Behind each
// column's rows stand kPadding zeros, so that a register may be read at any row.
struct StripedMask {
  static constexpr int64_t kPadding = 7;

  int64_t x1, y1, x2, y2;  // half-open; empty: all 0
  int64_t area;
  int64_t pitch;
  const uint64_t* words;
};

// The pixels that two masks share, whose boxes meet.
template <Target T>
int64_t count_shared(const StripedMask& a, const StripedMask& b);

}  // namespace pyifcn
