// Soft non-maximum suppression of boxes on CUDA.
#pragma once

#include <cstdint>

#include "core/stream.h"
#include "core/view.h"
#include "nms/falling.h"
#include "soft_nms/rule.h"

namespace pyifcn {

// Boxes are looked at in cells of 32.
inline constexpr int kSoftCell = 32;

template <class E>
struct SoftNmsCudaJob {
  SoftNmsRuleIn<E> rule;
  View<const E, 2> boxes;         // (N, 4)
  View<const E, 1> scores;        // (N,)
  View<const int64_t, 1> places;  // (N,): boxes, category after category, in each alike ones together
  View<const int64_t, 1> starts;  // where each category starts in `places`; from the last one's end on N
  // Workspace. Category c, which starts at s, has the cells from s / kSoftCell + c on.
  E* placed;            // (N, 4): the boxes by place
  E* left;              // (N,): their scores now, NaN where a box is not there
  E* bounds;            // (cells, 4)
  ScoreKey<E>* best;    // (cells,): of the scores, as keys that rise with them; 0 where nothing is left
  int64_t* best_index;  // (cells,): the lowest index that has it
  E* kept;              // out, (N,), NaN: becomes the score with which a box is kept
};

template <class E>
void soft_nms_cuda(const SoftNmsCudaJob<E>& job, const Stream& stream);

// Integers that are near each other where boxes are alike; those of boxes that overlap none or are not there
// are the largest. `scores` below `min_score` are not there.
template <class E>
void curve_keys_cuda(const View<const E, 2>& boxes, const E* scores, E min_score, int64_t* keys,
                     const Stream& stream);

}  // namespace pyifcn
