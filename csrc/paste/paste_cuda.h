// Pasting of soft masks on CUDA: each pixel is computed where it lies, with the CPU's arithmetic.
#pragma once

#include <cstdint>

#include "core/element.h"
#include "core/stream.h"
#include "core/view.h"
#include "paste/axis.h"

namespace pyifcn {

template <class S>
struct PasteCudaJob {
  View<const S, 3> masks;  // (N, h, w)
  const void* boxes;       // (N, 4): doubles where `wide`, else floats
  bool wide;
  PasteConvention convention;
  int64_t height, width;  // of the image, in pixels
  Computed<S> above;      // a pixel is set where its value is above
};

// The two passes of masks/build_cuda.h.
template <class S>
void paste_boxes_cuda(const PasteCudaJob<S>& job, const View<int32_t, 2>& boxes,
                      const View<int64_t, 1>& offsets, const Stream& stream);
template <class S>
void paste_words_cuda(const PasteCudaJob<S>& job, const View<const int32_t, 2>& boxes,
                      const View<const int64_t, 1>& offsets, const View<uint64_t, 1>& words,
                      const Stream& stream);

// Writes all of `out` (N, height, width): 1 where a pixel is set, else 0.
template <class S>
void paste_bytes_cuda(const PasteCudaJob<S>& job, const View<uint8_t, 3>& out, const Stream& stream);

// The same with the values, times 255 and cut to whole numbers of 0..255.
template <class S>
void paste_soft_cuda(const PasteCudaJob<S>& job, const View<uint8_t, 3>& out, const Stream& stream);

// The same with the values as they are, NaN and infinities too. E is float or double.
template <class E>
void paste_values_cuda(const PasteCudaJob<E>& job, const View<E, 3>& out, const Stream& stream);

}  // namespace pyifcn
