// Boxes lie in blocks of sixteen, in an order that keeps alike boxes together, under a tree of bounds with
// sixteen branches. A box that is kept goes down the tree with the very arithmetic that decides a pair: the
// bounds of a block, taken as one box with the block's least area, overlap it at least as much as any box
// inside, since each operation is monotone even after rounding. So no tolerance is needed and no pair is
// lost. What dies leaves the tree. Few levels are tested for each kept box; what limits it is the latency of
// going down, some hundred cycles.
#include "core/simd.h"
#include "nms/iou.h"
#include "nms/nms.h"

namespace pyifcn {
namespace {

template <class E>
PYIFCN_INLINE Boxes<Vec<E>> load(const BoxBlock<E>& block, int lane) {
  using V = Vec<E>;
  return {V::load(block.x1 + lane), V::load(block.y1 + lane), V::load(block.x2 + lane),
          V::load(block.y2 + lane), V::load(block.area + lane)};
}

template <class E>
PYIFCN_INLINE Boxes<Vec<E>> repeat(const BoxBlock<E>& block, int lane) {
  using V = Vec<E>;
  return {V::all(block.x1[lane]), V::all(block.y1[lane]), V::all(block.x2[lane]), V::all(block.y2[lane]),
          V::all(block.area[lane])};
}

// The lanes whose IoU with `kept` is above the threshold.
template <class E>
PYIFCN_INLINE uint32_t suppressed(const Boxes<Vec<E>>& kept, const BoxBlock<E>& block, E threshold) {
  using V = Vec<E>;
  uint32_t bits = 0;
  for (int lane = 0; lane < block.kSize; lane += V::lanes)
    bits |= (iou(kept, load(block, lane), V::all(0)) > V::all(threshold)).bits() << lane;
  return bits;
}

// The lanes of a block of bounds below which a box with an IoU above the threshold can be. Division-free:
// inter / area > t >= 0 only if inter > t area, so that inter >= t area still when the product is rounded.
template <class E>
PYIFCN_INLINE uint32_t reached(const Boxes<Vec<E>>& kept, const BoundsBlock<E>& block, E threshold, E least) {
  using V = Vec<E>;
  uint32_t bits = 0;
  for (int lane = 0; lane < block.kSize; lane += V::lanes) {
    const Boxes<V> bounds = load<E>(block, lane);
    const V inter = min(intersection(kept, bounds, V::all(0)), V::load(block.most_area + lane));
    const V united = kept.area + bounds.area - inter;
    bits |= (inter >= max(V::all(threshold) * united, V::all(least))).bits() << lane;
  }
  return bits;
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

PYIFCN_INLINE int lowest(uint32_t bits) { return __builtin_ctz(bits); }

// The smallest positive number: an IoU above zero needs an intersection of at least this.
PYIFCN_INLINE float least_positive(float) { return __FLT_DENORM_MIN__; }
PYIFCN_INLINE double least_positive(double) { return __DBL_DENORM_MIN__; }

template <class E>
PYIFCN_INLINE void suppress_from(const NmsJob<E>& job, const Boxes<Vec<E>>& kept) {
  uint32_t *from = job.frontiers[0], *to = job.frontiers[1];
  int64_t count = 1;
  from[0] = 0;
  for (int level = job.levels - 1; level > 0; --level) {
    int64_t next = 0;
    for (int64_t n = 0; n < count; ++n) {
      const uint32_t block = from[n];
      uint32_t bits = reached(kept, job.bounds[level][block], job.threshold, least_positive(E(0))) &
                      job.alive[level][block];
      for (; bits; bits &= bits - 1) to[next++] = block * 16 + uint32_t(lowest(bits));
    }
    uint32_t* const swap = from;
    from = to;
    to = swap;
    count = next;
  }
  for (int64_t n = 0; n < count; ++n) {
    const uint32_t bits = suppressed(kept, job.leaves[from[n]], job.threshold) & job.alive[0][from[n]];
    if (bits) remove(job, from[n], bits);
  }
}

template <class E>
PYIFCN_INLINE bool take(const NmsJob<E>& job, int64_t box, uint32_t slot) {
  const bool keep = job.alive[0][slot / 16] >> slot % 16 & 1;
  job.keep[box] = keep;
  if (keep) remove(job, slot / 16, 1u << slot % 16);
  return keep;
}

template <class E>
PYIFCN_INLINE void run_in_tree(const NmsJob<E>& job) {
  for (int64_t i = 0; i < job.count; ++i) {
    const uint32_t slot = job.slots[i];
    if (slot == job.kNoSlot)
      job.keep[i] = 1;
    else if (take(job, i, slot))
      suppress_from(job, repeat(job.leaves[slot / 16], int(slot % 16)));
  }
}

template <class E>
PYIFCN_INLINE void run_in_list(const NmsJob<E>& job) {
  bool zero_taken = false;
  for (int64_t i = 0; i < job.count; ++i) {
    if (!take(job, i, uint32_t(i))) continue;
    const E area = job.leaves[i / 16].area[i % 16];
    if (area != area) continue;             // each IoU is NaN
    if (area == 0 && zero_taken) continue;  // one without area suppresses what any other does
    zero_taken = zero_taken || area == 0;
    const Boxes<Vec<E>> kept = repeat(job.leaves[i / 16], int(i % 16));
    for (int64_t leaf = i / 16; leaf < job.leaf_count; ++leaf)
      if (const uint32_t lanes = job.alive[0][leaf])
        job.alive[0][leaf] = uint16_t(lanes & ~suppressed(kept, job.leaves[leaf], job.threshold));
  }
}

}  // namespace

template <>
void nms_in_tree<kTarget, float>(const NmsJob<float>& job) {
  run_in_tree(job);
}
template <>
void nms_in_tree<kTarget, double>(const NmsJob<double>& job) {
  run_in_tree(job);
}
template <>
void nms_in_list<kTarget, float>(const NmsJob<float>& job) {
  run_in_list(job);
}
template <>
void nms_in_list<kTarget, double>(const NmsJob<double>& job) {
  run_in_list(job);
}

}  // namespace pyifcn
