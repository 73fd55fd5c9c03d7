// What masks share, on CUDA.
#pragma once

#include <cstdint>

#include "core/stream.h"
#include "masks/masks_cuda.h"
#include "masks/ratio.h"

namespace pyifcn {

struct MasksIouJob {
  CudaMasks mine, yours;
  View<const int64_t, 1> my_areas, your_areas;
  Kind kind;
  bool same;              // both are the same masks
  View<uint64_t, 2> out;  // (N, M), zeros: first counts, at last the bits of doubles
};

void masks_iou_cuda(const MasksIouJob& job, const Stream& stream);

// Greedy suppression is done tile by tile.
inline constexpr int kMaskTile = 256, kMaskTileParts = kMaskTile / 32;

struct MaskNmsJob {
  CudaMasks masks;
  View<const int64_t, 1> areas;
  View<const int64_t, 1> order;  // (N,): the masks by falling score
  View<const int64_t, 1> idxs;   // (N,), or data == nullptr: different ones leave each other alone
  double threshold;              // at least 0
  View<int32_t, 2> overlaps;     // (N, kMaskTileParts): workspace
  View<int64_t, 1> counts;       // (tiles + 1,): how many are kept before each tile, and in all; [0] is 0
  View<int64_t, 1> keep;         // (N,): the masks that are kept come first, by falling score
  View<int64_t, 1> groups;       // (N,), all -1: the kept mask that suppresses each, itself if it is kept
};

void mask_nms_cuda(const MaskNmsJob& job, const Stream& stream);

}  // namespace pyifcn
