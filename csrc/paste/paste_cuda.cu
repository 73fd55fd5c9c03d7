// A thread computes pixels that lie side by side in a row: the 64 of a word, or the bytes of one store. It
// blends two rows of cells at the two ends of a span and stays with these while pixels lie between the same
// cells, so that masks are read from the first-level cache and a pixel is some twenty operations. What limits
// it is these, and for dense results, most of which are background, writing.
#include "core/blend.h"
#include "core/cuda.cuh"
#include "masks/build_cuda.cuh"
#include "paste/byte_of.h"
#include "paste/paste_cuda.h"

namespace pyifcn {
namespace {

template <class E>
__device__ PasteAxis<E> axis_of(PasteConvention convention, const void* boxes, bool wide, int64_t low,
                                int64_t size, int64_t pixels) {
  const double* doubles = static_cast<const double*>(boxes);
  const float* floats = static_cast<const float*>(boxes);
  const PasteSides sides{wide ? doubles[low] : double(floats[low]),
                         wide ? doubles[low + 2] : double(floats[low + 2]), wide};
  return {convention, sides, size, pixels};
}

// One of the masks on the image; where `kAsTheyAre` is set, NaN and infinities with it.
template <class S, bool kAsTheyAre = false>
class Pasted {
public:
  using E = Computed<S>;
  const PasteAxis<E> rows, columns;

  __device__ Pasted(const PasteCudaJob<S>& job, int64_t i)
      : rows(axis_of<E>(job.convention, job.boxes, job.wide, 4 * i + 1, job.masks.shape[1], job.height)),
        columns(axis_of<E>(job.convention, job.boxes, job.wide, 4 * i, job.masks.shape[2], job.width)),
        cells_(job.masks.data + i * job.masks.shape[1] * job.masks.shape[2]),
        height_(int32_t(job.masks.shape[1])),
        width_(int32_t(job.masks.shape[2])) {}

  // Calls pixel(x, value) for those of pixels [begin, end) of row y that read the mask.
  template <class Pixel>
  __device__ void values(int32_t y, int32_t begin, int32_t end, Pixel pixel) const {
    if (y < rows.begin || y >= rows.end) return;
    begin = max(begin, columns.begin), end = min(end, columns.end);
    const PasteTap<E> row = rows.tap(y);
    int32_t span = -1;
    E left = 0, slope = 0;
    for (int32_t x = begin; x < end; ++x) {
      const PasteTap<E> column = columns.tap(x);
      if (column.cell != span) {
        span = column.cell;
        left = blend(cell(row.cell, span), cell(row.cell + 1, span), row.weight);
        slope = blend(cell(row.cell, span + 1), cell(row.cell + 1, span + 1), row.weight) - left;
      }
      pixel(x, left + column.weight * slope);
    }
  }

private:
  // The ring of zeros, and whatever lies beyond it, included.
  __device__ E cell(int32_t row, int32_t column) const {
    if (row < 1 || row > height_ || column < 1 || column > width_) return 0;
    const E value = computed(cells_[int64_t(row - 1) * width_ + column - 1]);
    return kAsTheyAre ? value : finite(value);
  }

  const S* const cells_;
  const int32_t height_, width_;
};

template <class S>
struct PasteSource {
  PasteCudaJob<S> job;

  __device__ CudaExtent extent(int64_t i) const {
    const Pasted<S> mask(job, i);
    return {mask.columns.begin, mask.rows.begin, mask.columns.end, mask.rows.end, false};
  }
  __device__ uint64_t word(int64_t i, int64_t y, int64_t k) const {
    const Pasted<S> mask(job, i);
    const int32_t left = int32_t(64 * k), right = int32_t(min(64 * k + 64, job.width));
    uint64_t word = 0;
    mask.values(int32_t(y), left, right,
                [&](int32_t x, Computed<S> value) { word |= uint64_t(value > job.above) << (x - left); });
    return word;
  }
};

// What a pixel of value `value` is in a dense result.
template <class E>
struct IsSet {
  using Pixel = uint8_t;
  static constexpr bool kAsTheyAre = false;
  E above;
  __device__ uint8_t operator()(E value) const { return value > above; }
};

template <class E>
struct TimesWhite {
  using Pixel = uint8_t;
  static constexpr bool kAsTheyAre = false;
  __device__ uint8_t operator()(E value) const { return byte_of(value); }
};

template <class E>
struct Itself {
  using Pixel = E;
  static constexpr bool kAsTheyAre = true;
  __device__ E operator()(E value) const { return value; }
};

// What a thread writes at once.
struct alignas(16) Sixteen {
  uint64_t low, high;
};

template <class Pixel>
constexpr int kPixelsEach = int(sizeof(Sixteen) / sizeof(Pixel));

// Blocks share an image as they share a mask in masks/build_cuda.cuh. Its pixels are cut where addresses are
// multiples of sixteen, `before` pixels before its first.
template <class S, class Draw>
__global__ void __launch_bounds__(kBuildThreads)
    paste_dense_kernel(const PasteCudaJob<S> job, const View<typename Draw::Pixel, 3> out, int64_t blocks,
                       const Draw draw) {
  using Pixel = typename Draw::Pixel;
  constexpr int kEach = kPixelsEach<Pixel>;
  const Share share = share_of(blocks);
  const Pasted<S, Draw::kAsTheyAre> mask(job, share.mask);
  const int64_t width = job.width, size = job.height * width;
  Pixel* image = out.data + share.mask * size;
  const int64_t before = int64_t(reinterpret_cast<uintptr_t>(image) % sizeof(Sixteen) / sizeof(Pixel));
  for (int64_t part = share.first; part * kEach < before + size; part += share.step) {
    const int64_t first = max(part * kEach - before, int64_t(0));
    const int count = int(min((part + 1) * kEach - before, size) - first);
    alignas(Sixteen) Pixel pixels[kEach] = {};
    int64_t y = first / width, x = first - y * width;
    for (int done = 0; done < count; ++y, x = 0) {
      const int run = int(min(width - x, int64_t(count - done)));
      mask.values(int32_t(y), int32_t(x), int32_t(x + run),
                  [&](int32_t at, Computed<S> value) { pixels[done + at - int32_t(x)] = draw(value); });
      done += run;
    }
    if (count == kEach) {
      Sixteen sixteen;
      __builtin_memcpy(&sixteen, pixels, sizeof(sixteen));
      *reinterpret_cast<Sixteen*>(image + first) = sixteen;
    } else {
      for (int j = 0; j < count; ++j) image[first + j] = pixels[j];
    }
  }
}

template <class S, class Draw>
void paste_dense(const PasteCudaJob<S>& job, const View<typename Draw::Pixel, 3>& out, const Draw& draw,
                 const Stream& stream) {
  const OnDevice guard(stream.device);
  constexpr int kEach = kPixelsEach<typename Draw::Pixel>;
  const int64_t masks = out.shape[0], parts = ceil_div<int64_t>(job.height * job.width, kEach) + 1;
  const int64_t blocks = blocks_per_mask(masks, parts);
  launch(paste_dense_kernel<S, Draw>, {masks * blocks, kBuildThreads}, stream, job, out, blocks, draw);
}

template <class S>
int64_t words_of_image(const PasteCudaJob<S>& job) {
  return job.height * grid_words(0, job.width);
}

}  // namespace

template <class S>
void paste_boxes_cuda(const PasteCudaJob<S>& job, const View<int32_t, 2>& boxes,
                      const View<int64_t, 1>& offsets, const Stream& stream) {
  const OnDevice guard(stream.device);
  box_masks(PasteSource<S>{job}, words_of_image(job), boxes, offsets, stream);
}

template <class S>
void paste_words_cuda(const PasteCudaJob<S>& job, const View<const int32_t, 2>& boxes,
                      const View<const int64_t, 1>& offsets, const View<uint64_t, 1>& words,
                      const Stream& stream) {
  const OnDevice guard(stream.device);
  fill_masks(PasteSource<S>{job}, words_of_image(job), boxes, offsets, words, stream);
}

template <class S>
void paste_bytes_cuda(const PasteCudaJob<S>& job, const View<uint8_t, 3>& out, const Stream& stream) {
  paste_dense(job, out, IsSet<Computed<S>>{job.above}, stream);
}

template <class S>
void paste_soft_cuda(const PasteCudaJob<S>& job, const View<uint8_t, 3>& out, const Stream& stream) {
  paste_dense(job, out, TimesWhite<Computed<S>>(), stream);
}

template <class E>
void paste_values_cuda(const PasteCudaJob<E>& job, const View<E, 3>& out, const Stream& stream) {
  paste_dense(job, out, Itself<E>(), stream);
}

template void paste_values_cuda(const PasteCudaJob<float>&, const View<float, 3>&, const Stream&);
template void paste_values_cuda(const PasteCudaJob<double>&, const View<double, 3>&, const Stream&);

#define PYIFCN_PASTE_CUDA(S)                                                                               \
  template void paste_boxes_cuda(const PasteCudaJob<S>&, const View<int32_t, 2>&, const View<int64_t, 1>&, \
                                 const Stream&);                                                           \
  template void paste_words_cuda(const PasteCudaJob<S>&, const View<const int32_t, 2>&,                    \
                                 const View<const int64_t, 1>&, const View<uint64_t, 1>&, const Stream&);  \
  template void paste_bytes_cuda(const PasteCudaJob<S>&, const View<uint8_t, 3>&, const Stream&);          \
  template void paste_soft_cuda(const PasteCudaJob<S>&, const View<uint8_t, 3>&, const Stream&);
PYIFCN_PASTE_CUDA(Float16)
PYIFCN_PASTE_CUDA(Bfloat16)
PYIFCN_PASTE_CUDA(float)
PYIFCN_PASTE_CUDA(double)

}  // namespace pyifcn
