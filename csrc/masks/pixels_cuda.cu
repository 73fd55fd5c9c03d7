// Bytes to bits: a thread reads the 64 bytes of its word, eight at a time where they are aligned, which the
// first-level cache turns into whole lines. Bits to bytes: a thread writes sixteen bytes of the result, its
// neighbours those beside them, background too, so that the result is written once and in order. Memory is
// what limits both.
#include "core/cuda.cuh"
#include "masks/build_cuda.cuh"
#include "masks/pixels_cuda.h"

namespace pyifcn {
namespace {

constexpr int kThreads = 256;

// Bit i is whether byte i of eight is not 0.
__device__ uint64_t pack8(uint64_t bytes) {
  constexpr uint64_t kLow = 0x7f7f7f7f7f7f7f7f;
  const uint64_t tops = (((bytes & kLow) + kLow) | bytes) & ~kLow;
  return ((tops >> 7) * 0x0102040810204080) >> 56;
}

// Byte i of eight is bit i.
__device__ uint64_t unpack8(uint64_t bits) {
  constexpr uint64_t kOnes = 0x0101010101010101, kBitOfByte = 0x8040201008040201, kLow = 0x7f7f7f7f7f7f7f7f;
  const uint64_t set = ((bits & 255) * kOnes) & kBitOfByte;
  return ((set + kLow) >> 7) & kOnes;
}

struct DenseSource {
  DenseMasks dense;

  __device__ CudaExtent extent(int64_t) const {
    return {0, 0, int32_t(dense.shape[2]), int32_t(dense.shape[1]), false};
  }
  __device__ uint64_t word(int64_t i, int64_t y, int64_t k) const {
    const int64_t width = dense.shape[2], left = 64 * k;
    const uint8_t* bytes = dense.data + (i * dense.shape[1] + y) * width + left;
    const int count = int(min(width - left, int64_t(64)));
    uint64_t word = 0;
    if (count == 64 && reinterpret_cast<uintptr_t>(bytes) % 8 == 0) {
      const uint64_t* eights = reinterpret_cast<const uint64_t*>(bytes);
      for (int j = 0; j < 8; ++j) word |= pack8(eights[j]) << 8 * j;
    } else {
      for (int j = 0; j < count; ++j) word |= uint64_t(bytes[j] != 0) << j;
    }
    return word;
  }
};

constexpr int kBytesEach = 16;

__global__ void __launch_bounds__(kThreads)
    to_dense_kernel(const CudaMasks masks, const View<uint8_t, 3> dense) {
  const int64_t height = dense.shape[1], width = dense.shape[2], total = dense.shape[0] * height * width;
  const int64_t first = (int64_t(blockIdx.x) * kThreads + threadIdx.x) * kBytesEach;
  if (first >= total) return;
  const int size = int(min(total - first, int64_t(kBytesEach)));
  int64_t i = first / (height * width), y = first / width % height, x = first % width;
  uint64_t bits = 0;
  for (int j = 0; j < size;) {
    const CudaMask mask = masks[i];
    const int run = int(min(width - x, int64_t(size - j)));  // in this row
    if (mask.y1 <= y && y < mask.y2 && x < mask.x2 && mask.x1 < x + run) {
      const uint64_t low = mask.word(y, x / 64) >> x % 64;
      const uint64_t high = x % 64 ? mask.word(y, x / 64 + 1) << (64 - x % 64) : 0;
      bits |= ((low | high) & ((uint64_t(1) << run) - 1)) << j;
    }
    j += run;
    x = 0;
    if (++y == height) y = 0, ++i;
  }
  uint8_t* to = dense.data + first;
  if (size == kBytesEach && reinterpret_cast<uintptr_t>(to) % 8 == 0) {
    reinterpret_cast<uint64_t*>(to)[0] = unpack8(bits);
    reinterpret_cast<uint64_t*>(to)[1] = unpack8(bits >> 8);
  } else {
    for (int j = 0; j < size; ++j) to[j] = uint8_t(bits >> j & 1);
  }
}

__global__ void __launch_bounds__(kThreads) area_kernel(const CudaMasks masks, const View<int64_t, 1> area) {
  __shared__ unsigned long long sum;
  if (threadIdx.x == 0) sum = 0;
  __syncthreads();
  const int64_t begin = masks.offsets.data[blockIdx.x], end = masks.offsets.data[blockIdx.x + 1];
  unsigned long long mine = 0;
  for (int64_t k = begin + threadIdx.x; k < end; k += kThreads) mine += __popcll(masks.words.data[k]);
  if (mine > 0) atomicAdd(&sum, mine);
  __syncthreads();
  if (threadIdx.x == 0) area.data[blockIdx.x] = int64_t(sum);
}

int64_t words_of_image(const DenseMasks& dense) { return dense.shape[1] * grid_words(0, dense.shape[2]); }

}  // namespace

void box_dense_cuda(const DenseMasks& dense, const View<int32_t, 2>& boxes, const View<int64_t, 1>& offsets,
                    const Stream& stream) {
  const OnDevice guard(stream.device);
  box_masks(DenseSource{dense}, words_of_image(dense), boxes, offsets, stream);
}

void fill_dense_cuda(const DenseMasks& dense, const View<const int32_t, 2>& boxes,
                     const View<const int64_t, 1>& offsets, const View<uint64_t, 1>& words,
                     const Stream& stream) {
  const OnDevice guard(stream.device);
  fill_masks(DenseSource{dense}, words_of_image(dense), boxes, offsets, words, stream);
}

void masks_to_dense_cuda(const CudaMasks& masks, const View<uint8_t, 3>& dense, const Stream& stream) {
  const OnDevice guard(stream.device);
  launch(to_dense_kernel, {ceil_div<int64_t>(count(dense), kThreads * kBytesEach), kThreads}, stream, masks,
         dense);
}

void masks_area_cuda(const CudaMasks& masks, const View<int64_t, 1>& area, const Stream& stream) {
  const OnDevice guard(stream.device);
  launch(area_kernel, {masks.count(), kThreads}, stream, masks, area);
}

}  // namespace pyifcn
