// Soft non-maximum suppression of boxes: what the kernel gets.
#pragma once

#include <cstdint>
#include <limits>

#include "nms/nms.h"

namespace pyifcn {

// A box is there while its score is not NaN. The boxes of a block rise by index.
template <class E>
struct ScoredBlock : BoxBlock<E> {
  static constexpr E kNone = std::numeric_limits<E>::quiet_NaN();
  E scores[BoxBlock<E>::kSize];
  uint32_t index[BoxBlock<E>::kSize];
};

template <class E>
struct SoftNmsJob {
  bool gaussian;  // else linear
  E threshold;    // linear: the least E not below the threshold
  E sigma, min_score;
  int64_t block_count;
  ScoredBlock<E>* blocks;
  BoxBlock<E>* bounds;   // entry i of bounds[b] bounds blocks[16 b + i]: areas are not used
  E* best;               // of each block, NaN where nothing is left; to a multiple of 16
  uint32_t* best_index;  // the lowest index that has it
  E* kept;               // out, by index: the score with which a box was kept
};

// Keeps the best box that is there, by index among equals, takes it out and lowers the scores of those that
// overlap it; again, until not more than `few` of the `left` boxes are there. Returns how many are.
template <Target T, class E>
int64_t soft_nms(const SoftNmsJob<E>& job, int64_t left, int64_t few);

}  // namespace pyifcn
