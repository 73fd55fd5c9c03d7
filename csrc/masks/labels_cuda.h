// Masks from label images and back on CUDA.
//
// Labels are compared by keys, int64 that rise as the labels do. Every label has a corner: a pixel that
// differs from the one to its left and the one above it. There are few, so that they are what is sorted.
#pragma once

#include <cstdint>

#include "core/stream.h"
#include "masks/masks_cuda.h"

namespace pyifcn {

// Integers (H, W) of 1, 2, 4 or 8 bytes; 0 is background.
struct LabelImage {
  const void* data;
  int64_t height, width, bytes;
  bool is_signed;
};

// Adds the number of corners to `found` (1,), and writes the keys of as many as there is room for, in any
// order.
void find_corners_cuda(const LabelImage& image, const View<int64_t, 1>& keys, const View<int64_t, 1>& found,
                       const Stream& stream);

// Writes boxes (N, 4) and offsets (N + 1,) of the labels of `keys` (N,), which rise and hold all labels; a
// label has the first of equal keys, and the others are without pixels.
void box_labels_cuda(const LabelImage& image, const View<const int64_t, 1>& keys,
                     const View<int32_t, 2>& boxes, const View<int64_t, 1>& offsets, const Stream& stream);

// Writes `words`, which are zeros.
void fill_labels_cuda(const LabelImage& image, const View<const int64_t, 1>& keys,
                      const View<const int32_t, 2>& boxes, const View<const int64_t, 1>& offsets,
                      const View<uint64_t, 1>& words, const Stream& stream);

// Paints masks with `values` (N,) on `image` (H, W), each pixel with its first mask's, and 0 where there is
// none. `image` is N everywhere before.
void masks_to_labels_cuda(const CudaMasks& masks, const View<const int32_t, 1>& values,
                          const View<int32_t, 2>& image, const Stream& stream);

}  // namespace pyifcn
