// Bytes are read once, in order, 64 at a time: as bits, a pixel differs from the one before where
// x ^ (x << 1 | carry) is set. Most words have no such bit. Memory is what limits this.
#include "rle/rle.h"

#include "core/simd.h"
#include "masks/pack.h"

namespace pyifcn {
namespace {

PYIFCN_INLINE uint32_t* write_edges(uint64_t edges, uint32_t first, uint32_t* pixels) {
  for (; edges; edges &= edges - 1) *pixels++ = first + uint32_t(__builtin_ctzll(edges));
  return pixels;
}

}  // namespace

template <>
int64_t find_edges<kTarget>(const uint8_t* bytes, int64_t count, uint32_t first, bool* inside,
                            uint32_t* pixels) {
  uint32_t* end = pixels;
  uint64_t before = *inside;
  int64_t i = 0;
  for (; i + 64 <= count; i += 64) {
    const uint64_t word = pack64(bytes + i);
    end = write_edges(word ^ (word << 1 | before), first + uint32_t(i), end);
    before = word >> 63;
  }
  if (i < count) {
    const int64_t rest = count - i;
    uint64_t word = 0;
    for (int64_t k = 0; k < rest; ++k) word |= uint64_t(bytes[i + k] != 0) << k;
    const uint64_t edges = word ^ (word << 1 | before);
    end = write_edges(edges & ((uint64_t(1) << rest) - 1), first + uint32_t(i), end);
    before = word >> (rest - 1);
  }
  *inside = before;
  return end - pixels;
}

}  // namespace pyifcn
