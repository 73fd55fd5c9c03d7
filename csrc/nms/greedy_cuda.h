// Greedy suppression on CUDA, of several images side by side, by whatever rule.
#pragma once

#include <cstdint>

#include "core/view.h"

namespace pyifcn {

struct GreedyCudaJob {
  View<const int64_t, 2> order;  // (B, N): by falling score; those that are gone come last
  const bool* gone;              // (B, N), by index: those that are not there; null: all are
  View<int64_t, 2> state;        // (B, 3), zeros: [:, 2] becomes how many are kept, the others are workspace
  View<int64_t, 2> keep;         // (B, most): the first that are kept, by falling score
  int64_t* groups;  // (B, N), or null: the first of the kept ones that suppresses each, itself if kept
};

}  // namespace pyifcn
