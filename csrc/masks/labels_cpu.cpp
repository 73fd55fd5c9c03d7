// Labels are read once, in order, and memory limits the speed: neighbours are compared to bytes, those are
// packed to bits.
#include "masks/labels.h"

#include "masks/pack.h"

namespace pyifcn {
namespace {

template <class E>
PYIFCN_INLINE void find(const E* labels, int64_t width, uint64_t* bits) {
  alignas(64) uint8_t differs[64];
  for (int64_t begin = 0; begin < width; begin += 64) {
    const int64_t first = begin == 0;  // has nothing before it
    const E* at = labels + begin;
    if (!first && begin + 64 <= width) {
      for (int i = 0; i < 64; ++i) differs[i] = at[i] != at[i - 1];
    } else {
      const int64_t count = width - begin < 64 ? width - begin : 64;
      for (int64_t i = 0; i < 64; ++i) differs[i] = i >= first && i < count && at[i] != at[i - 1];
      if (first) differs[0] = at[0] != 0;
    }
    *bits++ = pack64(differs);
  }
}

}  // namespace

template <>
void find_changes<kTarget>(const uint8_t* labels, int64_t width, uint64_t* bits) {
  find(labels, width, bits);
}
template <>
void find_changes<kTarget>(const uint16_t* labels, int64_t width, uint64_t* bits) {
  find(labels, width, bits);
}
template <>
void find_changes<kTarget>(const uint32_t* labels, int64_t width, uint64_t* bits) {
  find(labels, width, bits);
}
template <>
void find_changes<kTarget>(const uint64_t* labels, int64_t width, uint64_t* bits) {
  find(labels, width, bits);
}

}  // namespace pyifcn
