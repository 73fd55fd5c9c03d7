// Forward: a thread owns a pixel of a detection; a warp reads consecutive pixels of each prototype and writes
// consecutive pixels of the result. What limits it is reading the prototypes, from the second-level cache.
//
// Backward to the prototypes: a thread owns a pixel of a few prototypes and sums over the detections in their
// order. A block first picks those whose boxes meet its tile, so that the others cost one test for each tile.
// Backward to the coefficients: a thread owns one of a coefficient's kSums sums. No atomics, the CPU's bits.
#include <limits>

#include "assemble_prototypes/assemble_prototypes_cuda.h"
#include "assemble_prototypes/crop.h"
#include "core/cuda.cuh"
#include "core/sigmoid.h"

namespace pyifcn {
namespace {

template <class E>
constexpr E kNan = std::numeric_limits<E>::quiet_NaN();

constexpr int kThreads = 256;
constexpr int kTileWidth = 32, kTileHeight = 8, kTile = kTileWidth * kTileHeight;
constexpr int kPrototypes = 8;    // of a thread
constexpr int kCoefficients = 4;  // of a block

template <class Job>
__device__ int64_t image_of(const Job& job, int64_t n) {
  return job.images ? job.images[n] : 0;
}

template <class Job>
__device__ bool has_image(const Job& job, int64_t n) {
  const int64_t image = image_of(job, n);
  return image >= 0 && image < job.prototypes.shape[0];
}

template <class Job>
__device__ Crop crop_at(const Job& job, int64_t n) {
  const int64_t height = job.prototypes.shape[2], width = job.prototypes.shape[3];
  if (job.boxes) return crop_of(job.boxes + 4 * n, height, width);
  return {0, 0, int32_t(width), int32_t(height)};
}

__device__ bool holds(const Crop& crop, int64_t y, int64_t x) {
  return y >= crop.y1 && y < crop.y2 && x >= crop.x1 && x < crop.x2;
}

template <class S>
__global__ void __launch_bounds__(kThreads)
    forward_kernel(const PrototypesCudaJob<S> job, int64_t blocks_of_detection) {
  using E = Computed<S>;
  const int64_t n = blockIdx.x / blocks_of_detection, width = job.prototypes.shape[3],
                plane = job.prototypes.shape[2] * width, channels = job.prototypes.shape[1];
  const int64_t pixel = blockIdx.x % blocks_of_detection * kThreads + threadIdx.x;
  if (pixel >= plane) return;
  E value = 0;
  if (!has_image(job, n)) {
    value = kNan<E>;
  } else if (holds(crop_at(job, n), pixel / width, pixel % width)) {
    const S* prototype = job.prototypes.data + image_of(job, n) * channels * plane + pixel;
    const S* coefficients = job.coefficients.data + n * channels;
    for (int64_t k = 0; k < channels; ++k, prototype += plane)
      value += computed(coefficients[k]) * computed(*prototype);
    if (job.sigmoid) value = sigmoid(Scalar<E>{value}).v;
  }
  job.out[n * plane + pixel] = stored<S>(value);
}

// The gradient of the sum at element `at` of the result.
template <class S>
__device__ Computed<S> gradient_of_sum(const PrototypesBackwardCudaJob<S>& job, int64_t at) {
  using E = Computed<S>;
  const Scalar<E> grad{computed(job.grad_out[at])};
  return job.out ? sigmoid_gradient(grad, Scalar<E>{computed(job.out[at])}).v : grad.v;
}

struct Near {
  int64_t n;
  Crop crop;
};

template <class S>
__global__ void __launch_bounds__(kTile)
    prototypes_backward_kernel(const PrototypesBackwardCudaJob<S> job, int32_t across, int32_t down) {
  using E = Computed<S>;
  __shared__ Near near[kTile];
  __shared__ int votes[kTile / kWarp];
  const int64_t channels = job.prototypes.shape[1], height = job.prototypes.shape[2],
                width = job.prototypes.shape[3], count = job.coefficients.shape[0];
  const int32_t tile_x = int32_t(blockIdx.x % across) * kTileWidth,
                tile_y = int32_t(blockIdx.x / across % down) * kTileHeight;
  const int64_t chunks = ceil_div<int64_t>(channels, kPrototypes),
                chunk = blockIdx.x / (int64_t(across) * down);
  const int64_t image = chunk / chunks, first = chunk % chunks * kPrototypes;
  const int thread = int(threadIdx.x), here = int(::min(channels - first, int64_t(kPrototypes)));
  const int32_t y = tile_y + thread / kTileWidth, x = tile_x + thread % kTileWidth;

  E sums[kPrototypes] = {};
  for (int64_t begin = 0; begin < count; begin += kTile) {
    const int64_t n = begin + thread;
    Crop crop{};
    if (n < count && image_of(job, n) == image) crop = crop_at(job, n);
    const bool meets = crop.x1 < tile_x + kTileWidth && crop.x2 > tile_x && crop.y1 < tile_y + kTileHeight &&
                       crop.y2 > tile_y;
    const Rank rank = rank_among(meets, votes);
    if (meets) near[rank.before] = {n, crop};
    __syncthreads();
    for (int i = 0; i < rank.total; ++i) {
      if (!holds(near[i].crop, y, x)) continue;
      const E grad = gradient_of_sum(job, (near[i].n * height + y) * width + x);
      const S* coefficients = job.coefficients.data + near[i].n * channels + first;
#pragma unroll
      for (int k = 0; k < kPrototypes; ++k)
        if (k < here) sums[k] += computed(coefficients[k]) * grad;
    }
    __syncthreads();
  }
  if (y >= height || x >= width) return;
  S* out = job.grad_prototypes + (image * channels + first) * height * width + y * width + x;
#pragma unroll
  for (int k = 0; k < kPrototypes; ++k)
    if (k < here) out[k * height * width] = stored<S>(sums[k]);
}

template <class S>
__global__ void __launch_bounds__(kSums* kCoefficients)
    coefficients_backward_kernel(const PrototypesBackwardCudaJob<S> job, int64_t chunks) {
  using E = Computed<S>;
  __shared__ E sums[kCoefficients][kSums];
  const int64_t channels = job.prototypes.shape[1], height = job.prototypes.shape[2],
                width = job.prototypes.shape[3];
  const int64_t n = blockIdx.x / chunks;
  const int own = int(threadIdx.x) / kSums, place = int(threadIdx.x) % kSums;
  const int64_t k = blockIdx.x % chunks * kCoefficients + own;
  E sum = 0;
  if (k < channels && has_image(job, n)) {
    const Crop crop = crop_at(job, n);
    const S* prototype = job.prototypes.data + (image_of(job, n) * channels + k) * height * width;
    for (int64_t y = crop.y1 + place / kColumnSums; y < crop.y2; y += kRowSums)
      for (int64_t x = crop.x1 + place % kColumnSums; x < crop.x2; x += kColumnSums)
        sum += gradient_of_sum(job, (n * height + y) * width + x) * computed(prototype[y * width + x]);
  }
  sums[own][place] = sum;
  for (int half = kSums / 2; half > 0; half /= 2) {
    __syncthreads();
    if (place < half) sums[own][place] += sums[own][place + half];
  }
  if (place == 0 && k < channels) job.grad_coefficients[n * channels + k] = stored<S>(sums[own][0]);
}

}  // namespace

template <class S>
void assemble_prototypes_cuda(const PrototypesCudaJob<S>& job, const Stream& stream) {
  const OnDevice guard(stream.device);
  const int64_t blocks = ceil_div<int64_t>(job.prototypes.shape[2] * job.prototypes.shape[3], kThreads);
  launch(forward_kernel<S>, {job.coefficients.shape[0] * blocks, kThreads}, stream, job, blocks);
}

template <class S>
void assemble_prototypes_backward_cuda(const PrototypesBackwardCudaJob<S>& job, const Stream& stream) {
  const OnDevice guard(stream.device);
  const auto& shape = job.prototypes.shape;
  const int32_t across = int32_t(ceil_div<int64_t>(shape[3], kTileWidth)),
                down = int32_t(ceil_div<int64_t>(shape[2], kTileHeight));
  const int64_t blocks = shape[0] * ceil_div<int64_t>(shape[1], kPrototypes) * across * down;
  launch(prototypes_backward_kernel<S>, {blocks, kTile}, stream, job, across, down);
  const int64_t chunks = ceil_div<int64_t>(shape[1], kCoefficients);
  launch(coefficients_backward_kernel<S>, {job.coefficients.shape[0] * chunks, kSums * kCoefficients}, stream,
         job, chunks);
}

#define PYIFCN_ASSEMBLE_PROTOTYPES(S)                                                 \
  template void assemble_prototypes_cuda(const PrototypesCudaJob<S>&, const Stream&); \
  template void assemble_prototypes_backward_cuda(const PrototypesBackwardCudaJob<S>&, const Stream&);
PYIFCN_ASSEMBLE_PROTOTYPES(Float16)
PYIFCN_ASSEMBLE_PROTOTYPES(Bfloat16)
PYIFCN_ASSEMBLE_PROTOTYPES(float)
PYIFCN_ASSEMBLE_PROTOTYPES(double)

}  // namespace pyifcn
