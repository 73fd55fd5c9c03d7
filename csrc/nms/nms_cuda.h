// Greedy non-maximum suppression on CUDA, of several images side by side.
#pragma once

#include <cstdint>

#include "core/stream.h"
#include "core/view.h"

namespace pyifcn {

// Boxes are suppressed tile by tile.
inline constexpr int kNmsTile = 256, kNmsTileWords = kNmsTile / 64;

// B images of N boxes each.
template <class E>
struct NmsCudaJob {
  View<const E, 3> boxes;         // (B, N, 4)
  View<const int64_t, 2> order;   // (B, N): the boxes by falling score
  View<const int64_t, 2> groups;  // (B, N), or data == nullptr: different groups leave each other alone
  E threshold;                    // the largest E not above the threshold: decides as the double would
  View<bool, 2> gone;             // (B, N): in, boxes that are not there; overwritten
  View<uint64_t, 3> overlaps;     // (B, N, kNmsTileWords): workspace
  View<int64_t, 2> counts;  // (B, tiles + 1): how many are kept before each tile, and in all; [:, 0] is 0
  View<int64_t, 2> keep;    // (B, most): the first boxes that are kept, by falling score
};

// Stops working, though not launching, where `most` are kept; the last count is then at least `most`.
template <class E>
void nms_cuda(const NmsCudaJob<E>& job, const Stream& stream);

}  // namespace pyifcn
