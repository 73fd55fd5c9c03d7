// The order of scores on CUDA.
#pragma once

#include <cstdint>

#include "core/stream.h"
#include "core/view.h"

namespace pyifcn {

// So few scores of an image are ordered in one launch.
inline constexpr int kFewScores = 2048;

template <class E>
struct ScoresJob {
  View<const E, 2> scores;  // (B, N)
  const bool* gone;         // (B, N): those that come last; or null
};

// Each image's indices by falling score, equal ones in their order; NaN comes first and -0 equals 0.
template <class E>
void order_few_cuda(const ScoresJob<E>& job, int64_t* order, const Stream& stream);

// Integers of E's size whose stable sort gives that order.
template <class E>
void score_keys_cuda(const ScoresJob<E>& job, void* keys, const Stream& stream);

}  // namespace pyifcn
