// Masks made in device memory in two passes, the first for their tight boxes, the second for their words, as
// masks/build.h does it on the CPU. Between the two, `place_masks` finds where each mask's words start; the
// number of words is what Python reads, to lend the memory for them.
#pragma once

#include <cstdint>

#include "core/stream.h"
#include "core/view.h"

namespace pyifcn {

// Masks that would have more words are refused: sums of sizes stop there.
inline constexpr int64_t kMostMaskWords = int64_t(1) << 59;

// The arrays of masks, of which the first pass writes boxes and offsets, and the second words.
struct MasksInMaking {
  View<int32_t, 2> boxes;    // (N, 4)
  View<int64_t, 1> offsets;  // (N + 1,)
  View<uint64_t, 1> words;
  bool are_placed;  // the second pass
};

// Turns boxes without pixels (N, 4) into zeros, and writes offsets (N + 1,).
void place_masks_cuda(const View<int32_t, 2>& boxes, const View<int64_t, 1>& offsets, const Stream& stream);

}  // namespace pyifcn
