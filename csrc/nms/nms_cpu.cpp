// Boxes lie in blocks of sixteen, in an order that keeps alike boxes together, under a tree of bounds with
// sixteen branches. A box that is kept goes down the tree with the very arithmetic that decides a pair: the
// bounds of a block, taken as one box with the block's least area, overlap it at least as much as any box
// inside, since each operation is monotone even after rounding. So no tolerance is needed and no pair is
// lost. What dies leaves the tree. Few levels are tested for each kept box; what limits it is the latency of
// going down, some hundred cycles.
#include "nms/blocks.h"

namespace pyifcn {
namespace {

// The lanes whose IoU with `kept` is above the threshold.
template <class E>
PYIFCN_INLINE uint32_t suppressed(const Boxes<Vec<E>>& kept, const BoxBlock<E>& block, Vec<E> threshold) {
  using V = Vec<E>;
  uint32_t bits = 0;
  for (int lane = 0; lane < block.kSize; lane += V::lanes)
    bits |= (iou(kept, load(block, lane), V::all(0)) > threshold).bits() << lane;
  return bits;
}

// Of a block of bounds, the lanes below which there can be a box whose IoU is above the threshold. Without a
// division: inter / united > t >= 0 only if inter > t united, and then inter >= t united as rounded. `least`
// is the least that the union can be, and `positive` the least positive number.
template <class E>
PYIFCN_INLINE uint32_t reached(const Boxes<Vec<E>>& kept, Vec<E> least, const BoundsBlock<E>& block,
                               Vec<E> threshold, Vec<E> positive) {
  using V = Vec<E>;
  uint32_t bits = 0;
  for (int lane = 0; lane < block.kSize; lane += V::lanes) {
    const Boxes<V> bounds = load<E>(block, lane);
    const V inter = min(intersection(kept, bounds, V::all(0)), V::load(block.most_area + lane));
    const V united = max(kept.area + bounds.area - inter, least);
    bits |= (inter >= max(threshold * united, positive)).bits() << lane;
  }
  return bits;
}

// Writes first + i for each bit i of sixteen and returns how many; may write sixteen. A branch for each bit
// would be mispredicted at almost every block.
PYIFCN_INLINE int64_t write_set_bits(uint32_t bits, uint32_t first, uint32_t* out) {
#if defined(PYIFCN_KERNEL_IS_avx512)
  const __m512i all = _mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
  const __m512i set = _mm512_maskz_compress_epi32(__mmask16(bits), all);
  _mm512_storeu_si512(out, _mm512_add_epi32(set, _mm512_set1_epi32(int(first))));
  return _mm_popcnt_u32(bits);
#elif defined(PYIFCN_KERNEL_IS_scalar)
  int64_t count = 0;
  for (uint32_t bit = 0; bit < 16; ++bit) {
    out[count] = first + bit;
    count += bits >> bit & 1;
  }
  return count;
#else
  const __m256i low = _mm256_add_epi32(avx2::compress_order(bits & 255), _mm256_set1_epi32(int(first)));
  const __m256i high = _mm256_add_epi32(avx2::compress_order(bits >> 8), _mm256_set1_epi32(int(first) + 8));
  avx2::store256(out, low);
  avx2::store256(out + _mm_popcnt_u32(bits & 255), high);
  return _mm_popcnt_u32(bits);
#endif
}

template <class E>
PYIFCN_INLINE void remove(const NmsJob<E>& job, uint32_t block, uint32_t lanes) {
  for (int level = 0;; ++level) {
    uint16_t& alive = job.alive[level][block];
    alive = uint16_t(alive & ~lanes);
    if (alive != 0 || level + 1 == job.levels) return;
    lanes = 1u << block % 16;
    block /= 16;
  }
}

template <class E>
PYIFCN_INLINE void write_owners(const NmsJob<E>& job, int64_t block, uint32_t lanes, int64_t owner) {
  for (; lanes; lanes &= lanes - 1) job.owners[16 * block + __builtin_ctz(lanes)] = uint32_t(owner);
}

PYIFCN_INLINE float least_positive(float) { return __FLT_DENORM_MIN__; }
PYIFCN_INLINE double least_positive(double) { return __DBL_DENORM_MIN__; }

// No intersection is more than either area, so that a union is at least each of them but for the rounding of
// a sum and a difference: three half units of the last place.
PYIFCN_INLINE float least_union(float area) { return area * (1 - 4 * __FLT_EPSILON__); }
PYIFCN_INLINE double least_union(double area) { return area * (1 - 4 * __DBL_EPSILON__); }

template <bool kOwners, class E>
PYIFCN_INLINE void suppress_from(const NmsJob<E>& job, int64_t box, uint32_t slot) {
  using V = Vec<E>;
  const BoxBlock<E>& own = job.leaves[slot / 16];
  const Boxes<V> kept = repeat(own, int(slot % 16));
  const V least = V::all(least_union(own.area[slot % 16])), positive = V::all(least_positive(E(0)));
  const V threshold = V::all(job.threshold);
  uint32_t *from = job.frontiers[0], *to = job.frontiers[1];
  int64_t count = job.top_blocks;
  for (int64_t n = 0; n < count; ++n) from[n] = uint32_t(n);
  for (int level = job.levels - 1; level > 0; --level) {
    int64_t next = 0;
    for (int64_t n = 0; n < count; ++n) {
      const uint32_t block = from[n];
      const uint32_t bits = reached(kept, least, job.bounds[level][block], threshold, positive);
      next += write_set_bits(bits & job.alive[level][block], block * 16, to + next);
    }
    uint32_t* const swap = from;
    from = to;
    to = swap;
    count = next;
  }
  for (int64_t n = 0; n < count; ++n) {
    const uint32_t bits = suppressed(kept, job.leaves[from[n]], threshold) & job.alive[0][from[n]];
    if (!bits) continue;
    remove(job, from[n], bits);
    if (kOwners) write_owners(job, from[n], bits, box);
  }
}

template <bool kOwners, class E>
PYIFCN_INLINE bool take(const NmsJob<E>& job, int64_t box, uint32_t slot) {
  const bool keep = job.alive[0][slot / 16] >> slot % 16 & 1;
  job.keep[box] = keep;
  if (!keep) return false;
  remove(job, slot / 16, 1u << slot % 16);
  if (kOwners) job.owners[slot] = uint32_t(box);
  return true;
}

template <bool kOwners, class E>
PYIFCN_INLINE void run_in_tree(const NmsJob<E>& job) {
  for (int64_t i = 0; i < job.count; ++i) {
    const uint32_t slot = job.slots[i];
    if (slot == job.kNoSlot)
      job.keep[i] = 1;
    else if (take<kOwners>(job, i, slot) || job.gone_suppress)
      suppress_from<kOwners>(job, i, slot);
  }
}

template <bool kOwners, class E>
PYIFCN_INLINE void run_in_list(const NmsJob<E>& job) {
  using V = Vec<E>;
  bool zero_taken = false;
  for (int64_t i = 0; i < job.count; ++i) {
    if (!take<kOwners>(job, i, uint32_t(i)) && !job.gone_suppress) continue;
    const E area = job.leaves[i / 16].area[i % 16];
    if (area != area) continue;             // each IoU is NaN
    if (area == 0 && zero_taken) continue;  // one without area suppresses what any other does
    zero_taken = zero_taken || area == 0;
    const Boxes<V> kept = repeat(job.leaves[i / 16], int(i % 16));
    for (int64_t leaf = i / 16; leaf < job.leaf_count; ++leaf)
      if (const uint32_t lanes = job.alive[0][leaf]) {
        const uint32_t bits = suppressed(kept, job.leaves[leaf], V::all(job.threshold));
        job.alive[0][leaf] = uint16_t(lanes & ~bits);
        if (kOwners) write_owners(job, leaf, lanes & bits, i);
      }
  }
}

}  // namespace

template <>
void nms_in_tree<kTarget, float>(const NmsJob<float>& job) {
  job.owners ? run_in_tree<true>(job) : run_in_tree<false>(job);
}
template <>
void nms_in_tree<kTarget, double>(const NmsJob<double>& job) {
  job.owners ? run_in_tree<true>(job) : run_in_tree<false>(job);
}
template <>
void nms_in_list<kTarget, float>(const NmsJob<float>& job) {
  job.owners ? run_in_list<true>(job) : run_in_list<false>(job);
}
template <>
void nms_in_list<kTarget, double>(const NmsJob<double>& job) {
  job.owners ? run_in_list<true>(job) : run_in_list<false>(job);
}

}  // namespace pyifcn
