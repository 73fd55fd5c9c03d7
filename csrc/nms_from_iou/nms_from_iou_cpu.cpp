// The row of a kept one is read 64 elements at a time, and only where somebody is still alive. What limits it
// is the memory that the rows lie in.
#include "nms_from_iou/nms_from_iou.h"

#include "core/simd.h"
#include "masks/pack.h"

namespace pyifcn {
namespace {

// Bit i is whether element i of 64 is above the threshold.
template <class E>
PYIFCN_INLINE uint64_t above(const E* elements, E threshold) {
  using V = Vec<E>;
  uint64_t bits = 0;
  for (int i = 0; i < 64; i += V::lanes)
    bits |= uint64_t((V::load(elements + i) > V::all(threshold)).bits()) << i;
  return bits;
}

template <int16_t kInfinity>
PYIFCN_INLINE uint64_t above(const uint16_t* elements, int16_t threshold) {
  uint8_t bytes[64];
  for (int i = 0; i < 64; ++i) {
    const int16_t key = rising(elements[i]);
    bytes[i] = uint8_t(uint8_t(key > threshold) & uint8_t(key <= kInfinity));
  }
  return pack64(bytes);
}

PYIFCN_INLINE uint64_t above(const DropJob<float>& job, const float* e) { return above(e, job.threshold); }
PYIFCN_INLINE uint64_t above(const DropJob<double>& job, const double* e) { return above(e, job.threshold); }
template <class E>
PYIFCN_INLINE uint64_t above(const DropJob<E>& job, const uint16_t* e) {
  return above<E::kInfinity>(e, job.threshold);
}

template <class E>
PYIFCN_INLINE void drop(const DropJob<E>& job) {
  using Stored = typename MatrixElement<E>::Stored;
  for (int64_t first = 0; first < job.count; first += 64) {
    uint64_t& alive = job.alive[first / 64];
    if (alive == 0) continue;
    Stored padded[64];
    const Stored* elements = job.row + first;
    if (job.count - first < 64) {
      for (int64_t i = 0; i < 64; ++i) padded[i] = first + i < job.count ? elements[i] : Stored(0);
      elements = padded;
    }
    uint64_t dropped = above(job, elements) & alive;
    alive &= ~dropped;
    for (; dropped; dropped &= dropped - 1) job.groups[first + __builtin_ctzll(dropped)] = job.owner;
  }
}

}  // namespace

template <>
void drop_above<kTarget, float>(const DropJob<float>& job) {
  drop(job);
}
template <>
void drop_above<kTarget, double>(const DropJob<double>& job) {
  drop(job);
}
template <>
void drop_above<kTarget, Float16Bits>(const DropJob<Float16Bits>& job) {
  drop(job);
}
template <>
void drop_above<kTarget, Bfloat16Bits>(const DropJob<Bfloat16Bits>& job) {
  drop(job);
}

}  // namespace pyifcn
