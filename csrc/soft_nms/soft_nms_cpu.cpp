// The best score of each block of sixteen boxes is at hand, so that the best of all is found among one
// sixteenth of the numbers; blocks hold boxes that are alike, so that few blocks' bounds meet the kept box,
// and only their scores are looked at. What limits it is the walk over all blocks' best scores and bounds.
#include "soft_nms/soft_nms.h"

#include "core/exp.h"
#include "nms/blocks.h"

namespace pyifcn {
namespace {

constexpr int kBlock = BoxBlock<float>::kSize;

// The lanes of a block that have the score.
template <class E>
PYIFCN_INLINE uint32_t holders(const ScoredBlock<E>& block, Vec<E> score) {
  using V = Vec<E>;
  uint32_t bits = 0;
  for (int lane = 0; lane < kBlock; lane += V::lanes)
    bits |= (V::load(block.scores + lane) == score).bits() << lane;
  return bits;
}

// The block with the best score, by index among equals.
template <class E>
PYIFCN_INLINE int64_t block_of_best(const SoftNmsJob<E>& job) {
  using V = Vec<E>;
  V most = V::all(-E(__builtin_inff()));
  for (int64_t b = 0; b < job.block_count; b += V::lanes) most = max(V::load(job.best + b), most);
  const V best = V::all(most.largest());
  int64_t found = -1;
  for (int64_t b = 0; b < job.block_count; b += V::lanes)
    for (uint32_t bits = (V::load(job.best + b) == best).bits(); bits; bits &= bits - 1) {
      const int64_t block = b + __builtin_ctz(bits);
      if (found < 0 || job.best_index[block] < job.best_index[found]) found = block;
    }
  return found;
}

// Finds the best of a block again.
template <class E>
PYIFCN_INLINE void rank(const SoftNmsJob<E>& job, int64_t b) {
  using V = Vec<E>;
  const ScoredBlock<E>& block = job.blocks[b];
  V most = V::all(-E(__builtin_inff()));
  for (int lane = 0; lane < kBlock; lane += V::lanes) most = max(V::load(block.scores + lane), most);
  if (const uint32_t bits = holders(block, V::all(most.largest()))) {
    const int lane = __builtin_ctz(bits);
    job.best[b] = block.scores[lane];
    job.best_index[b] = block.index[lane];
    return;
  }
  job.best[b] = block.kNone;
  job.bounds[b / kBlock].x1[b % kBlock] = E(__builtin_inff());  // nothing meets these bounds
}

// How much of its score a box retains, by its IoU with the kept one.
template <bool kGaussian, class E>
PYIFCN_INLINE Vec<E> weight(const SoftNmsJob<E>& job, Vec<E> overlap) {
  using V = Vec<E>;
  const V one = V::all(1);
  if (!kGaussian) return select(overlap >= V::all(job.threshold), one - overlap, one);
  const auto meets = overlap > V::all(0);
  if (!meets.any()) return one;
  return select(meets, exp(V::all(0) - overlap * overlap / V::all(job.sigma)), one);
}

// Lowers the scores of a block; returns how many boxes leave.
template <bool kGaussian, class E>
PYIFCN_INLINE int64_t decay(const SoftNmsJob<E>& job, const Boxes<Vec<E>>& kept, ScoredBlock<E>& block) {
  using V = Vec<E>;
  int64_t gone = 0;
  for (int lane = 0; lane < kBlock; lane += V::lanes) {
    const V before = V::load(block.scores + lane);
    const V after = before * weight<kGaussian>(job, iou(kept, load<E>(block, lane), V::all(0)));
    const auto stays = after >= V::all(job.min_score);
    select(stays, after, V::all(block.kNone)).store(block.scores + lane);
    gone += __builtin_popcount(((before == before) - stays).bits());
  }
  return gone;
}

// The blocks, of sixteen, whose bounds overlap the box.
template <class E>
PYIFCN_INLINE uint32_t met(const Boxes<Vec<E>>& box, const BoxBlock<E>& bounds) {
  using V = Vec<E>;
  uint32_t bits = 0;
  for (int lane = 0; lane < kBlock; lane += V::lanes) {
    const auto wide = max(V::load(bounds.x1 + lane), box.x1) < min(V::load(bounds.x2 + lane), box.x2);
    const auto high = max(V::load(bounds.y1 + lane), box.y1) < min(V::load(bounds.y2 + lane), box.y2);
    bits |= (wide & high).bits() << lane;
  }
  return bits;
}

// Takes the best box out and lowers the scores of the others; returns how many boxes leave, itself included.
template <bool kGaussian, class E>
PYIFCN_INLINE int64_t keep_best(const SoftNmsJob<E>& job) {
  const int64_t best = block_of_best(job);
  ScoredBlock<E>& own = job.blocks[best];
  const int lane = __builtin_ctz(holders(own, Vec<E>::all(job.best[best])));
  job.kept[own.index[lane]] = own.scores[lane];
  own.scores[lane] = own.kNone;
  const Boxes<Vec<E>> kept = repeat(own, lane);
  int64_t gone = 1;
  for (int64_t first = 0; first < job.block_count; first += kBlock)
    for (uint32_t bits = met(kept, job.bounds[first / kBlock]); bits; bits &= bits - 1) {
      const int64_t b = first + __builtin_ctz(bits);  // its own block is always among them
      gone += decay<kGaussian>(job, kept, job.blocks[b]);
      rank(job, b);
    }
  return gone;
}

template <class E>
PYIFCN_INLINE int64_t run(const SoftNmsJob<E>& job, int64_t left, int64_t few) {
  while (left > few) left -= job.gaussian ? keep_best<true>(job) : keep_best<false>(job);
  return left;
}

}  // namespace

template <>
int64_t soft_nms<kTarget, float>(const SoftNmsJob<float>& job, int64_t left, int64_t few) {
  return run(job, left, few);
}
template <>
int64_t soft_nms<kTarget, double>(const SoftNmsJob<double>& job, int64_t left, int64_t few) {
  return run(job, left, few);
}

}  // namespace pyifcn
