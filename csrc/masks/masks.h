// Kernels on the bits of masks.
#pragma once

#include <cstdint>

#include "core/target.h"

namespace pyifcn {

// Rows of bytes to rows of bits: byte x of a row becomes bit `lead` + x, set where it is not 0. All of the
// (lead + width + 63) / 64 words of a row are written. lead < 64.
template <Target T>
void pack_rows(const uint8_t* bytes, int64_t pitch, int64_t rows, int64_t width, int64_t lead,
               uint64_t* words);

// The inverse: bytes of 0 and 1.
template <Target T>
void unpack_rows(const uint64_t* words, int64_t rows, int64_t width, int64_t lead, uint8_t* bytes,
                 int64_t pitch);

template <Target T>
int64_t count_bits(const uint64_t* words, int64_t count);

// Bits in common of two rectangles of words, whose rows are `a_across` and `b_across` words apart.
template <Target T>
int64_t count_common(const uint64_t* a, int64_t a_across, const uint64_t* b, int64_t b_across, int64_t rows,
                     int64_t across);

}  // namespace pyifcn
