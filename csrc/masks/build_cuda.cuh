// The two passes of masks/build_cuda.h over whatever makes masks, a source:
//
//   struct Source {
//     __device__ CudaExtent extent(int64_t i) const;  // a box inside the image that holds mask i's pixels
//     __device__ uint64_t word(int64_t i, int64_t y, int64_t k) const;  // word k of row y of the image
//   };
//
// word is asked for words that meet the extent; its bits outside the extent are zeros. A thread makes one
// word after the other, its neighbours those that lie beside them. Some blocks share a mask, as many as fill
// the GPU however few masks there are.
#pragma once

#include "core/cuda.cuh"
#include "masks/build_cuda.h"
#include "masks/masks_cuda.h"

namespace pyifcn {

// Half-open. Empty: x1 >= x2 or y1 >= y2.
struct CudaExtent {
  int32_t x1, y1, x2, y2;
  bool tight;  // there are pixels on all four sides
};

namespace {

constexpr int kBuildThreads = 128;

// Blocks for each of `count` masks, none of which has more than `most` words.
inline int64_t blocks_per_mask(int64_t count, int64_t most) {
  constexpr int64_t kEnough = 4096, kWordsEach = 4;
  const int64_t useful = ceil_div<int64_t>(most, kBuildThreads * kWordsEach);
  const int64_t wanted = ceil_div<int64_t>(kEnough, count > 0 ? count : 1);
  const int64_t blocks = useful < wanted ? useful : wanted;
  return blocks < 1 ? 1 : blocks;
}

// The words of a mask that fall to this thread, as `cell` from `first` on in steps of `step`.
struct Share {
  int64_t mask, first, step;
};

__device__ inline Share share_of(int64_t blocks) {
  const int64_t block = blockIdx.x;
  return {block / blocks, block % blocks * kBuildThreads + threadIdx.x, blocks * kBuildThreads};
}

__global__ void __launch_bounds__(kBuildThreads) clear_boxes_kernel(const View<int32_t, 2> boxes) {
  const int64_t i = int64_t(blockIdx.x) * kBuildThreads + threadIdx.x;
  if (i >= boxes.shape[0]) return;
  int32_t* box = boxes.data + 4 * i;
  box[0] = box[1] = INT32_MAX;
  box[2] = box[3] = 0;
}

// Widens boxes (N, 4), which are cleared, to the pixels of the masks.
template <class Source>
__global__ void __launch_bounds__(kBuildThreads)
    tight_boxes_kernel(const Source source, const View<int32_t, 2> boxes, int64_t blocks) {
  __shared__ int32_t low[2], high[2];
  if (threadIdx.x == 0) low[0] = low[1] = INT32_MAX, high[0] = high[1] = 0;
  __syncthreads();
  const Share share = share_of(blocks);
  const CudaExtent extent = source.extent(share.mask);
  int32_t x1 = INT32_MAX, y1 = INT32_MAX, x2 = 0, y2 = 0;
  if (extent.x1 < extent.x2 && extent.y1 < extent.y2 && extent.tight) {
    x1 = extent.x1, y1 = extent.y1, x2 = extent.x2, y2 = extent.y2;
  } else if (extent.x1 < extent.x2 && extent.y1 < extent.y2) {
    const int64_t across = grid_words(extent.x1, extent.x2), cells = (extent.y2 - extent.y1) * across;
    for (int64_t cell = share.first; cell < cells; cell += share.step) {
      const int64_t y = extent.y1 + cell / across, k = extent.x1 / 64 + cell % across;
      const uint64_t word = source.word(share.mask, y, k);
      if (word == 0) continue;
      x1 = min(x1, int32_t(64 * k + __ffsll(int64_t(word)) - 1));
      x2 = max(x2, int32_t(64 * k + 64 - __clzll(int64_t(word))));
      y1 = min(y1, int32_t(y));
      y2 = max(y2, int32_t(y + 1));
    }
  }
  if (x2 > 0) {
    atomicMin(&low[0], x1), atomicMin(&low[1], y1);
    atomicMax(&high[0], x2), atomicMax(&high[1], y2);
  }
  __syncthreads();
  if (threadIdx.x == 0 && high[0] > 0) {
    int32_t* box = boxes.data + 4 * share.mask;
    atomicMin(box, low[0]), atomicMin(box + 1, low[1]);
    atomicMax(box + 2, high[0]), atomicMax(box + 3, high[1]);
  }
}

template <class Source>
__global__ void __launch_bounds__(kBuildThreads)
    fill_masks_kernel(const Source source, const View<const int32_t, 2> boxes,
                      const View<const int64_t, 1> offsets, const View<uint64_t, 1> words, int64_t blocks) {
  const Share share = share_of(blocks);
  const int32_t* box = boxes.data + 4 * share.mask;
  const int64_t across = grid_words(box[0], box[2]), cells = (box[3] - box[1]) * across;
  uint64_t* to = words.data + offsets.data[share.mask];
  for (int64_t cell = share.first; cell < cells; cell += share.step)
    to[cell] = source.word(share.mask, box[1] + cell / across, box[0] / 64 + cell % across);
}

// Writes boxes (N, 4), zeros for masks without pixels, and offsets (N + 1,). No mask has an extent of more
// than `most` words.
template <class Source>
void box_masks(const Source& source, int64_t most, const View<int32_t, 2>& boxes,
               const View<int64_t, 1>& offsets, const Stream& stream) {
  const int64_t count = boxes.shape[0], blocks = blocks_per_mask(count, most);
  launch(clear_boxes_kernel, {ceil_div<int64_t>(count, kBuildThreads), kBuildThreads}, stream, boxes);
  launch(tight_boxes_kernel<Source>, {count * blocks, kBuildThreads}, stream, source, boxes, blocks);
  place_masks_cuda(boxes, offsets, stream);
}

// Writes the words of masks whose boxes and offsets `box_masks` has found.
template <class Source>
void fill_masks(const Source& source, int64_t most, const View<const int32_t, 2>& boxes,
                const View<const int64_t, 1>& offsets, const View<uint64_t, 1>& words, const Stream& stream) {
  if (words.shape[0] == 0) return;
  const int64_t count = boxes.shape[0], blocks = blocks_per_mask(count, most);
  launch(fill_masks_kernel<Source>, {count * blocks, kBuildThreads}, stream, source, boxes, offsets, words,
         blocks);
}

// Either pass.
template <class Source>
void make_masks(const Source& source, int64_t most, const MasksInMaking& made, const Stream& stream) {
  if (!made.are_placed) return box_masks(source, most, made.boxes, made.offsets, stream);
  const View<const int32_t, 2> boxes{made.boxes.data, {made.boxes.shape[0], 4}};
  const View<const int64_t, 1> offsets{made.offsets.data, {made.offsets.shape[0]}};
  fill_masks(source, most, boxes, offsets, made.words, stream);
}

}  // namespace
}  // namespace pyifcn
