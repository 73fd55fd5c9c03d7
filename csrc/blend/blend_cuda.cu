// A thread owns a pixel of a detection and interpolates its attention anew whenever it goes over the bases:
// for the largest, for the sums and for the gradients; consecutive threads own consecutive pixels. What
// limits it is reading and writing the bases. Backward to the attention: a thread owns one of its elements
// and sums over the pixels that read it, in the CPU's order: no atomics, the same bits.
#include "blend/blend_cuda.h"
#include "blend/interpolation.h"
#include "core/cuda.cuh"
#include "core/sigmoid.h"

namespace pyifcn {
namespace {

constexpr int kThreads = 128;

// One pixel of a detection.
template <class S>
struct Pixel {
  using E = Computed<S>;
  using V = Scalar<E>;
  const S *base, *attention;  // the pixel of the first base; the detection's attention
  int64_t plane, low_plane, low_width, channels;
  BlendTap<E> row, column;

  __device__ Pixel(const BlendCudaJob<S>& job, int64_t n, int64_t pixel) {
    const auto &big = job.bases.shape, &small = job.attention.shape;
    channels = big[1];
    plane = big[2] * big[3];
    low_plane = small[2] * small[3];
    low_width = small[3];
    base = job.bases.data + n * channels * plane + pixel;
    attention = job.attention.data + n * channels * low_plane;
    row = tap_of<E>(pixel / big[3], big[2], small[2]);
    column = tap_of<E>(pixel % big[3], big[3], small[3]);
  }

  __device__ V base_at(int64_t k) const { return {computed(base[k * plane])}; }

  __device__ V attention_at(int64_t k) const {
    const S* map = attention + k * low_plane;
    const E low = along(map + row.low * low_width), high = along(map + row.high * low_width);
    return {row.low_weight * low + row.high_weight * high};
  }

private:
  __device__ E along(const S* from) const {
    return column.low_weight * computed(from[column.low]) + column.high_weight * computed(from[column.high]);
  }
};

template <class V>
struct Sums {
  V largest, total, weighted;
};

template <class S>
__device__ Sums<Scalar<Computed<S>>> sum_up(const Pixel<S>& p) {
  using V = Scalar<Computed<S>>;
  Sums<V> sums{V::all(-Computed<S>(INFINITY)), V::all(0), V::all(0)};
  for (int64_t k = 0; k < p.channels; ++k) sums.largest = max(p.attention_at(k), sums.largest);
  for (int64_t k = 0; k < p.channels; ++k) {
    const V e = exp(p.attention_at(k) - sums.largest);
    sums.total = sums.total + e;
    sums.weighted = sums.weighted + e * p.base_at(k);
  }
  return sums;
}

template <class S>
__global__ void __launch_bounds__(kThreads)
    forward_kernel(const BlendCudaJob<S> job, bool with_sigmoid, S* out, int64_t blocks_of_detection) {
  const int64_t n = blockIdx.x / blocks_of_detection, plane = job.bases.shape[2] * job.bases.shape[3];
  const int64_t pixel = blockIdx.x % blocks_of_detection * kThreads + threadIdx.x;
  if (pixel >= plane) return;
  const auto sums = sum_up(Pixel<S>(job, n, pixel));
  const auto value = sums.weighted / sums.total;
  out[n * plane + pixel] = stored<S>((with_sigmoid ? sigmoid(value) : value).v);
}

template <class S>
__global__ void __launch_bounds__(kThreads)
    bases_backward_kernel(const BlendBackwardCudaJob<S> job, int64_t blocks_of_detection) {
  using V = Scalar<Computed<S>>;
  const auto& shape = job.forward.bases.shape;
  const int64_t n = blockIdx.x / blocks_of_detection, plane = shape[2] * shape[3];
  const int64_t pixel = blockIdx.x % blocks_of_detection * kThreads + threadIdx.x;
  if (pixel >= plane) return;
  V grad{computed(job.grad_out[n * plane + pixel])};
  if (job.out) grad = sigmoid_gradient(grad, V{computed(job.out[n * plane + pixel])});
  const Pixel<S> p(job.forward, n, pixel);
  const Sums<V> sums = sum_up(p);
  const V value = sums.weighted / sums.total;
  for (int64_t k = 0; k < p.channels; ++k) {
    const int64_t at = (n * p.channels + k) * plane + pixel;
    const V grad_base = grad * (exp(p.attention_at(k) - sums.largest) / sums.total);
    job.grad_bases[at] = stored<S>(grad_base.v);
    job.grad_stretched[at] = (grad_base * (p.base_at(k) - value)).v;
  }
}

// Some pixels along an axis, among them all that read element i of `size`.
struct Readers {
  int64_t first, last;

  __device__ Readers(int64_t i, int64_t size, int64_t pixels) {
    const double step = double(pixels) / double(size);
    first = i > 0 ? ::max(int64_t((double(i) - 0.5) * step - 2), int64_t(0)) : 0;
    last = i < size - 1 ? ::min(int64_t((double(i) + 1.5) * step + 2), pixels) : pixels;
  }
};

// Calls work(weight) for each time that a pixel reads element i, the low one first.
template <class E, class Work>
__device__ void each_reading(const BlendTap<E>& tap, int64_t i, Work work) {
  if (tap.low == i) work(tap.low_weight);
  if (tap.high == i) work(tap.high_weight);
}

template <class S>
__global__ void __launch_bounds__(kThreads)
    attention_backward_kernel(const BlendBackwardCudaJob<S> job, int64_t elements) {
  using E = Computed<S>;
  const int64_t element = int64_t(blockIdx.x) * kThreads + threadIdx.x;
  if (element >= elements) return;
  const auto &big = job.forward.bases.shape, &small = job.forward.attention.shape;
  const int64_t i = element / small[3] % small[2], j = element % small[3],
                map = element / (small[2] * small[3]);
  const Readers rows(i, small[2], big[2]), columns(j, small[3], big[3]);
  E sum = 0;
  for (int64_t x = columns.first; x < columns.last; ++x) {
    const BlendTap<E> column = tap_of<E>(x, big[3], small[3]);
    if (column.low != j && column.high != j) continue;
    E of_rows = 0;
    for (int64_t y = rows.first; y < rows.last; ++y)
      each_reading(tap_of<E>(y, big[2], small[2]), i, [&](E weight) {
        of_rows += weight * job.grad_stretched[(map * big[2] + y) * big[3] + x];
      });
    each_reading(column, j, [&](E weight) { sum += weight * of_rows; });
  }
  job.grad_attention[element] = stored<S>(sum);
}

}  // namespace

template <class S>
void blend_cuda(const BlendCudaJob<S>& job, bool sigmoid, S* out, const Stream& stream) {
  const OnDevice guard(stream.device);
  const int64_t blocks = ceil_div<int64_t>(job.bases.shape[2] * job.bases.shape[3], kThreads);
  launch(forward_kernel<S>, {job.bases.shape[0] * blocks, kThreads}, stream, job, sigmoid, out, blocks);
}

template <class S>
void blend_backward_cuda(const BlendBackwardCudaJob<S>& job, const Stream& stream) {
  const OnDevice guard(stream.device);
  const auto& shape = job.forward.bases.shape;
  const int64_t blocks = ceil_div<int64_t>(shape[2] * shape[3], kThreads);
  launch(bases_backward_kernel<S>, {shape[0] * blocks, kThreads}, stream, job, blocks);
  const int64_t elements = count(job.forward.attention);
  launch(attention_backward_kernel<S>, {ceil_div<int64_t>(elements, kThreads), kThreads}, stream, job,
         elements);
}

#define PYIFCN_BLEND(S)                                                      \
  template void blend_cuda(const BlendCudaJob<S>&, bool, S*, const Stream&); \
  template void blend_backward_cuda(const BlendBackwardCudaJob<S>&, const Stream&);
PYIFCN_BLEND(Float16)
PYIFCN_BLEND(Bfloat16)
PYIFCN_BLEND(float)
PYIFCN_BLEND(double)

}  // namespace pyifcn
