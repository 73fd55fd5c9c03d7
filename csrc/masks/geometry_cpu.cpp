// A word of the result is cut out of two neighbouring words, at the same bit all along. Memory is what limits
// this, but for narrow masks, where it is the start of each row.
#include "masks/geometry.h"

namespace pyifcn {
namespace {

// 64 bits of a row from bit 64 `word` + `bit` on; 0 outside the row.
PYIFCN_INLINE uint64_t cut_at_ends(const uint64_t* row, int64_t across, int64_t word, int bit) {
  const uint64_t low = word >= 0 && word < across ? row[word] : 0;
  const uint64_t high = word >= -1 && word < across - 1 ? row[word + 1] : 0;
  return low >> bit | high << 1 << (63 - bit);
}

PYIFCN_INLINE uint64_t cut(const uint64_t* words, int bit) {
  return words[0] >> bit | words[1] << 1 << (63 - bit);
}

PYIFCN_INLINE uint64_t reverse(uint64_t x) {
  x = (x >> 1 & 0x5555555555555555u) | (x & 0x5555555555555555u) << 1;
  x = (x >> 2 & 0x3333333333333333u) | (x & 0x3333333333333333u) << 2;
  x = (x >> 4 & 0x0f0f0f0f0f0f0f0fu) | (x & 0x0f0f0f0f0f0f0f0fu) << 4;
  return __builtin_bswap64(x);
}

PYIFCN_INLINE int64_t clamp(int64_t value, int64_t low, int64_t high) {
  return value < low ? low : value > high ? high : value;
}

}  // namespace

template <>
void shift_rows<kTarget>(const uint64_t* from, int64_t from_across, int64_t rows, int64_t shift, uint64_t* to,
                         int64_t to_across) {
  const int64_t word = shift >> 6;
  const int bit = int(shift & 63);
  const int64_t begin = clamp(-word, 0, to_across);  // where both words exist
  const int64_t end = clamp(from_across - 1 - word, begin, to_across);
  for (int64_t row = 0; row < rows; ++row, from += from_across, to += to_across) {
    uint64_t* __restrict here = to;
    for (int64_t k = 0; k < begin; ++k) here[k] = cut_at_ends(from, from_across, word + k, bit);
    for (int64_t k = begin; k < end; ++k) here[k] = cut(from + word + k, bit);
    for (int64_t k = end; k < to_across; ++k) here[k] = cut_at_ends(from, from_across, word + k, bit);
  }
}

template <>
void mirror_rows<kTarget>(const uint64_t* from, int64_t from_across, int64_t rows, int64_t last, uint64_t* to,
                          int64_t to_across) {
  const int64_t word = (last - 63) >> 6;
  const int bit = int((last - 63) & 63);
  const int64_t begin = clamp(word - from_across + 2, 0, to_across);  // where both words exist
  const int64_t end = clamp(word + 1, begin, to_across);
  for (int64_t row = 0; row < rows; ++row, from += from_across, to += to_across) {
    uint64_t* __restrict here = to;
    for (int64_t k = 0; k < begin; ++k) here[k] = reverse(cut_at_ends(from, from_across, word - k, bit));
    for (int64_t k = begin; k < end; ++k) here[k] = reverse(cut(from + word - k, bit));
    for (int64_t k = end; k < to_across; ++k)
      here[k] = reverse(cut_at_ends(from, from_across, word - k, bit));
  }
}

}  // namespace pyifcn
