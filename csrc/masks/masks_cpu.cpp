// Bytes and words are read once, in order; memory is what limits these, but for narrow masks, where it is the
// start of each row.
#include "masks/masks.h"

#include "core/simd.h"
#include "masks/pack.h"

namespace pyifcn {
namespace {

PYIFCN_INLINE uint64_t pack_first(const uint8_t* bytes, int64_t count) {
  uint8_t padded[64] = {};
  for (int64_t i = 0; i < count; ++i) padded[i] = bytes[i];
  return pack64(padded);
}

PYIFCN_INLINE void pack(const uint8_t* bytes, int64_t width, int64_t lead, uint64_t* words,
                        const uint64_t* end) {
  uint64_t carry = 0;
  for (int64_t x = 0; x < width; x += 64) {
    const uint64_t word = x + 64 <= width ? pack64(bytes + x) : pack_first(bytes + x, width - x);
    *words++ = carry | word << lead;
    carry = word >> 1 >> (63 - lead);
  }
  if (words < end) *words = carry;
}

PYIFCN_INLINE void unpack(const uint64_t* words, const uint64_t* end, int64_t width, int64_t lead,
                          uint8_t* bytes) {
  for (int64_t x = 0; x < width; x += 64) {
    uint64_t word = *words++ >> lead;
    if (words < end) word |= *words << 1 << (63 - lead);
    if (x + 64 <= width) {
      unpack64(word, bytes + x);
    } else {
      for (int64_t i = x; i < width; ++i) bytes[i] = uint8_t(word >> (i - x) & 1);
    }
  }
}

PYIFCN_INLINE int64_t common(const uint64_t* a, const uint64_t* b, int64_t count) {
  int64_t bits = 0, i = 0;
  if (U64::lanes > 1 && count >= U64::lanes) {
    U64 sum = U64::all(0);
    for (; i + U64::lanes <= count; i += U64::lanes)
      sum = sum + popcount(U64::load(a + i) & U64::load(b + i));
    bits = int64_t(sum.sum());
  }
  for (; i < count; ++i) bits += __builtin_popcountll(a[i] & b[i]);
  return bits;
}

// Rows of few words, the most frequent by far.
template <int kAcross>
PYIFCN_INLINE int64_t common_narrow(const uint64_t* a, int64_t a_across, const uint64_t* b, int64_t b_across,
                                    int64_t rows) {
  int64_t bits = 0;
  for (int64_t row = 0; row < rows; ++row, a += a_across, b += b_across)
    for (int k = 0; k < kAcross; ++k) bits += __builtin_popcountll(a[k] & b[k]);
  return bits;
}

}  // namespace

template <>
void pack_rows<kTarget>(const uint8_t* bytes, int64_t pitch, int64_t rows, int64_t width, int64_t lead,
                        uint64_t* words) {
  const int64_t across = (lead + width + 63) / 64;
  for (int64_t row = 0; row < rows; ++row, bytes += pitch, words += across)
    pack(bytes, width, lead, words, words + across);
}

template <>
void unpack_rows<kTarget>(const uint64_t* words, int64_t rows, int64_t width, int64_t lead, uint8_t* bytes,
                          int64_t pitch) {
  const int64_t across = (lead + width + 63) / 64;
  for (int64_t row = 0; row < rows; ++row, bytes += pitch, words += across)
    unpack(words, words + across, width, lead, bytes);
}

template <>
int64_t count_bits<kTarget>(const uint64_t* words, int64_t count) {
  return common(words, words, count);
}

template <>
int64_t count_common<kTarget>(const uint64_t* a, int64_t a_across, const uint64_t* b, int64_t b_across,
                              int64_t rows, int64_t across) {
  switch (across) {
    case 1:
      return common_narrow<1>(a, a_across, b, b_across, rows);
    case 2:
      return common_narrow<2>(a, a_across, b, b_across, rows);
    case 3:
      return common_narrow<3>(a, a_across, b, b_across, rows);
    case 4:
      return common_narrow<4>(a, a_across, b, b_across, rows);
  }
  int64_t bits = 0;
  for (int64_t row = 0; row < rows; ++row) bits += common(a + row * a_across, b + row * b_across, across);
  return bits;
}

}  // namespace pyifcn
