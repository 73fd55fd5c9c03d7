// Forward: a thread owns an element of the output, mixes its up to sixteen neighbours and writes; a warp's
// reads lie `lambda` apart, and most come from the caches. Backward: first a thread owns an element of the
// rows between, then one of the input's gradient, and each finds by itself which few elements read it, and
// sums in the CPU's order: no atomics, the same bits. Memory is what limits all.
#include "core/cuda.cuh"
#include "swap_align2nat/swap_align2nat_cuda.h"

namespace pyifcn {
namespace {

constexpr int kThreads = 256;

template <class E, class At>
__device__ E mix(const Neighbours<E>& pair, At at) {
  const E low = pair.low_weight * at(pair.low);
  return pair.high_weight == 0 ? low : low + pair.high_weight * at(pair.low + 1);
}

// Splits off the last axis of an index.
__device__ int64_t take(int64_t& index, int64_t size) {
  const int64_t last = index % size;
  index /= size;
  return last;
}

template <class S>
__global__ void __launch_bounds__(kThreads) forward_kernel(const SwapCudaJob<S> job, int64_t elements) {
  using E = Computed<S>;
  const SwapShape& shape = job.shape;
  const int64_t element = int64_t(blockIdx.x) * kThreads + threadIdx.x;
  if (element >= elements) return;
  int64_t image = element;
  const int64_t x = take(image, shape.out_width()), y = take(image, shape.out_height()),
                u = take(image, shape.out_side()), v = take(image, shape.out_side());
  const Neighbours<E> of_v = shape.unit<E>(v), of_u = shape.unit<E>(u), of_y = shape.pixel<E>(y, v),
                      of_x = shape.pixel<E>(x, u);
  const E value = mix(of_u, [&](int64_t in_u) {
    if (in_u < 0 || in_u >= shape.side) return job.pad;
    return mix(of_x, [&](int64_t in_x) {
      if (in_x < 0 || in_x >= shape.width) return job.pad;
      return mix(of_v, [&](int64_t in_v) {
        if (in_v < 0 || in_v >= shape.side) return job.pad;
        const S* map =
            job.in + ((image * shape.side + in_v) * shape.side + in_u) * shape.height * shape.width;
        return mix(of_y, [&](int64_t in_y) {
          return in_y < 0 || in_y >= shape.height ? job.pad : computed(map[in_y * shape.width + in_x]);
        });
      });
    });
  });
  job.out[element] = stored<S>(value);
}

template <class S>
__global__ void __launch_bounds__(kThreads)
    columns_kernel(const SwapBackwardCudaJob<S> job, int64_t elements) {
  using E = Computed<S>;
  const SwapShape& shape = job.shape;
  const int64_t element = int64_t(blockIdx.x) * kThreads + threadIdx.x;
  if (element >= elements) return;
  int64_t image = element;
  const int64_t in_x = take(image, shape.width), in_u = take(image, shape.side),
                y = take(image, shape.out_height()), v = take(image, shape.out_side());
  const int64_t plane = shape.out_height() * shape.out_width();
  const S* grad =
      job.grad_out + (image * shape.out_side() + v) * shape.out_side() * plane + y * shape.out_width();
  // What the pixels of the output give whose low one is at `pixel`.
  const auto read_at = [&](int64_t pixel) {
    E sum = 0;
    shape.each_reader<E>(in_u, pixel, [&](int64_t u, E weight) {
      const int64_t distance = pixel + shape.out_side() / 2 - u;
      if (distance < 0 || distance >= shape.lambda * shape.out_width()) return;
      sum += weight * computed(grad[u * plane + distance / shape.lambda]);
    });
    return sum;
  };
  const Neighbours<E> of_x = shape.pixel<E>(0, 0);
  job.rows[element] = mix(Neighbours<E>{0, of_x.low_weight, of_x.high_weight},
                          [&](int64_t is_high) { return read_at(in_x - is_high); });
}

template <class S>
__global__ void __launch_bounds__(kThreads) rows_kernel(const SwapBackwardCudaJob<S> job, int64_t elements) {
  using E = Computed<S>;
  const SwapShape& shape = job.shape;
  const int64_t element = int64_t(blockIdx.x) * kThreads + threadIdx.x;
  if (element >= elements) return;
  int64_t image = element;
  const int64_t x = take(image, shape.width), y = take(image, shape.height), u = take(image, shape.side),
                v = take(image, shape.side);
  const Neighbours<E> of_y = shape.pixel<E>(0, 0);
  E sum = 0;
  for (int is_high = 0; is_high < 2; ++is_high) {
    const E pixel_weight = is_high ? of_y.high_weight : of_y.low_weight;
    if (pixel_weight == 0) continue;
    const int64_t low = y - is_high;
    shape.each_reader<E>(v, low, [&](int64_t out_v, E unit_weight) {
      const int64_t distance = low + shape.out_side() / 2 - out_v;
      if (distance < 0 || distance >= shape.lambda * shape.out_height()) return;
      const int64_t row = (image * shape.out_side() + out_v) * shape.out_height() + distance / shape.lambda;
      sum += pixel_weight * (unit_weight * job.rows[(row * shape.side + u) * shape.width + x]);
    });
  }
  job.grad_in[element] = stored<S>(sum);
}

int64_t out_count(int64_t images, const SwapShape& shape) {
  return images * shape.out_side() * shape.out_side() * shape.out_height() * shape.out_width();
}

}  // namespace

template <class S>
void swap_align2nat_cuda(const SwapCudaJob<S>& job, const Stream& stream) {
  const OnDevice guard(stream.device);
  const int64_t elements = out_count(job.images, job.shape);
  launch(forward_kernel<S>, {ceil_div<int64_t>(elements, kThreads), kThreads}, stream, job, elements);
}

template <class S>
void swap_align2nat_backward_cuda(const SwapBackwardCudaJob<S>& job, const Stream& stream) {
  const OnDevice guard(stream.device);
  const SwapShape& shape = job.shape;
  const int64_t rows = job.images * shape.out_side() * shape.out_height() * shape.side * shape.width;
  launch(columns_kernel<S>, {ceil_div<int64_t>(rows, kThreads), kThreads}, stream, job, rows);
  const int64_t elements = job.images * shape.side * shape.side * shape.height * shape.width;
  launch(rows_kernel<S>, {ceil_div<int64_t>(elements, kThreads), kThreads}, stream, job, elements);
}

#define PYIFCN_SWAP_ALIGN2NAT(S)                                           \
  template void swap_align2nat_cuda(const SwapCudaJob<S>&, const Stream&); \
  template void swap_align2nat_backward_cuda(const SwapBackwardCudaJob<S>&, const Stream&);
PYIFCN_SWAP_ALIGN2NAT(Float16)
PYIFCN_SWAP_ALIGN2NAT(Bfloat16)
PYIFCN_SWAP_ALIGN2NAT(float)
PYIFCN_SWAP_ALIGN2NAT(double)

}  // namespace pyifcn
