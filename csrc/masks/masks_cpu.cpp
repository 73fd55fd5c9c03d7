// Bytes and words are read once, in order; memory is what limits these, but for narrow masks, where it is the
// start of each row.
#include "masks/masks.h"

#include "core/simd.h"
#include "masks/pack.h"

namespace pyifcn {
namespace {

PYIFCN_INLINE int64_t least(int64_t a, int64_t b) { return a < b ? a : b; }
PYIFCN_INLINE int64_t most(int64_t a, int64_t b) { return a > b ? a : b; }

// The first bytes of 64, which lie `step` apart.
PYIFCN_INLINE uint64_t pack_some(const uint8_t* bytes, int64_t step, int64_t count) {
  uint8_t gathered[64] = {};
  for (int64_t i = 0; i < count; ++i) gathered[i] = bytes[i * step];
  return pack64(gathered);
}

PYIFCN_INLINE void pack_row(const uint8_t* bytes, int64_t step, int64_t width, int64_t lead, uint64_t* words,
                            const uint64_t* end) {
  uint64_t carry = 0;
  for (int64_t x = 0; x < width; x += 64) {
    const int64_t count = least(width - x, 64);
    const uint64_t word =
        count == 64 && step == 1 ? pack64(bytes + x) : pack_some(bytes + x * step, step, count);
    *words++ = carry | word << lead;
    carry = word >> 1 >> (63 - lead);
  }
  if (words < end) *words = carry;
}

// Bit i of word k becomes bit k of word i.
PYIFCN_INLINE void transpose_bits(uint64_t (&words)[64]) {
  uint64_t low = 0xffffffff;
  for (int side = 32; side > 0; side /= 2, low ^= low << side)
    for (int block = 0; block < 64; block += 2 * side)
      for (int k = block; k < block + side; ++k) {
        const uint64_t differing = (words[k] >> side ^ words[k + side]) & low;
        words[k] ^= differing << side;
        words[k + side] ^= differing;
      }
}

// Bytes that lie side by side down the columns, `column_step` from one column to the next: squares of 64
// x 64.
PYIFCN_INLINE void pack_columns(const uint8_t* bytes, int64_t column_step, int64_t rows, int64_t width,
                                int64_t lead, uint64_t* words, int64_t across) {
  for (int64_t y = 0; y < rows; y += 64)
    for (int64_t k = 0; k < across; ++k) {
      const int64_t down = least(rows - y, 64), first = most(64 * k - lead, 0);
      const int64_t end = least(64 * (k + 1) - lead, width);
      uint64_t square[64] = {};
      for (int64_t x = first; x < end; ++x) {
        const uint8_t* column = bytes + x * column_step + y;
        square[x + lead - 64 * k] = down == 64 ? pack64(column) : pack_some(column, 1, down);
      }
      transpose_bits(square);
      for (int64_t row = 0; row < down; ++row) words[(y + row) * across + k] = square[row];
    }
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

// Rows behind the end of one of the masks are zeros there.
PYIFCN_INLINE U64 count_rows(const uint64_t* a, const uint64_t* b, int64_t rows) {
  U64 sum = U64::all(0);
  for (int64_t row = 0; row < rows; row += U64::lanes)
    sum = sum + popcount(U64::load(a + row) & U64::load(b + row));
  return sum;
}

}  // namespace

template <>
void pack_rows<kTarget>(const uint8_t* bytes, int64_t row_step, int64_t column_step, int64_t rows,
                        int64_t width, int64_t lead, uint64_t* words) {
  const int64_t across = (lead + width + 63) / 64;
  if (column_step != 1 && row_step == 1)
    return pack_columns(bytes, column_step, rows, width, lead, words, across);
  for (int64_t row = 0; row < rows; ++row, bytes += row_step, words += across)
    pack_row(bytes, column_step, width, lead, words, words + across);
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
  int64_t i = 0;
  U64 sum = U64::all(0);
  for (; i + U64::lanes <= count; i += U64::lanes) sum = sum + popcount(U64::load(words + i));
  auto bits = int64_t(sum.sum());
  for (; i < count; ++i) bits += __builtin_popcountll(words[i]);
  return bits;
}

template <>
int64_t count_shared<kTarget>(const StripedMask& a, const StripedMask& b) {
  const int64_t top = most(a.y1, b.y1), rows = least(a.y2, b.y2) - top;
  const int64_t first = most(a.x1, b.x1) / 64, end = (least(a.x2, b.x2) + 63) / 64;
  const uint64_t* a_words = a.words + (first - a.x1 / 64) * a.pitch + top - a.y1;
  const uint64_t* b_words = b.words + (first - b.x1 / 64) * b.pitch + top - b.y1;
  U64 bits = U64::all(0);
  for (int64_t k = first; k < end; ++k, a_words += a.pitch, b_words += b.pitch)
    bits = bits + count_rows(a_words, b_words, rows);
  return int64_t(bits.sum());
}

}  // namespace pyifcn
