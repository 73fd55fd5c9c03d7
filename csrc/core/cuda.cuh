// Launching kernels. The kernels keep to grids and blocks of up to three dimensions, static shared memory,
// __syncthreads, full-warp ballots, shuffles and reductions, and blocks that wait as take_ticket says, so
// that tests/cuda_emulation can run them on the host.
#pragma once

#ifdef PYIFCN_CUDA_EMULATION
#include "cuda_emulation.h"
#else
#include <cuda_runtime.h>
#endif

#include <cstdint>
#include <stdexcept>
#include <string>

#include "core/stream.h"

namespace pyifcn {

inline constexpr int kWarp = 32;
inline constexpr unsigned kAllLanes = 0xffffffffu;

template <class T>
__host__ __device__ constexpr T ceil_div(T count, T size) {
  return (count + size - 1) / size;
}

// Lanes below this one in a ballot.
__device__ inline unsigned lanes_below(unsigned votes, int lane) { return votes & ((1u << lane) - 1); }

// The largest of a warp's values.
__device__ inline unsigned largest_in_warp(unsigned value) {
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ < 800
  for (int step = kWarp / 2; step > 0; step /= 2)
    value = ::max(value, __shfl_sync(kAllLanes, value, int(threadIdx.x) % kWarp ^ step));
  return value;
#else
  return __reduce_max_sync(kAllLanes, value);
#endif
}

// A thread's place among those of its block for which something holds, in the order of the threads.
struct Rank {
  int before, total;
};

// All threads of the block call it. `votes` lies in shared memory, one for each warp, and is free again after
// the next barrier.
__device__ inline Rank rank_among(bool holds, int* votes) {
  const int lane = int(threadIdx.x) % kWarp, warp = int(threadIdx.x) / kWarp;
  const unsigned mine = __ballot_sync(kAllLanes, holds);
  if (lane == 0) votes[warp] = __popc(mine);
  __syncthreads();
  Rank rank{__popc(lanes_below(mine, lane)), 0};
  for (int i = 0; i < int(blockDim.x) / kWarp; ++i) {
    if (i < warp) rank.before += votes[i];
    rank.total += votes[i];
  }
  return rank;
}

// Blocks that wait for each other take tickets: a block may wait for lower tickets alone. Those who hold them
// run already, in whatever order the GPU begins blocks, so that nobody waits for ever.
using Word = unsigned long long;  // what CUDA's atomics take
__device__ inline int64_t take_ticket(Word* next) { return int64_t(atomicAdd(next, Word(1))); }

// Whoever reads the value sees all that the block wrote before. One thread calls it, after a barrier.
__device__ inline void hand_on(Word* word, Word value) {
  __threadfence();
  *static_cast<volatile Word*>(word) = value;
}
// One thread calls it, before a barrier.
__device__ inline Word handed_on(const Word* word) {
  const Word value = *static_cast<const volatile Word*>(word);
  __threadfence();
  return value;
}
// Between two looks, the longer the more blocks have to come first: few then ask for the word at a time.
__device__ inline void wait_for_blocks(int64_t blocks) {
  __nanosleep(blocks < 32 ? 32 * unsigned(blocks) : 1024);
}

inline void check_cuda(cudaError_t status, const char* file, int line) {
  if (status == cudaSuccess) return;
  throw std::runtime_error(std::string(file) + ":" + std::to_string(line) +
                           ": CUDA: " + cudaGetErrorString(status));
}

// Makes a stream's device the current one for a while.
class OnDevice {
public:
  explicit OnDevice(int device, const char* file = __builtin_FILE(), int line = __builtin_LINE()) {
    check_cuda(cudaGetDevice(&before_), file, line);
    elsewhere_ = device != before_;
    if (elsewhere_) check_cuda(cudaSetDevice(device), file, line);
  }
  ~OnDevice() {
    if (elsewhere_) cudaSetDevice(before_);
  }
  OnDevice(const OnDevice&) = delete;
  OnDevice& operator=(const OnDevice&) = delete;

private:
  int before_ = 0;
  bool elsewhere_ = false;
};

// A grid's extent, and the place in the source that asked for it.
struct Extent {
  int64_t blocks;
  int threads;
  int64_t rows;  // blockIdx.y
  const char* file;
  int line;

  Extent(int64_t blocks_, int threads_, int64_t rows_ = 1, const char* file_ = __builtin_FILE(),
         int line_ = __builtin_LINE())
      : blocks(blocks_), threads(threads_), rows(rows_), file(file_), line(line_) {}
};

// Starts a kernel; an empty grid is no work. Call it with the stream's device current.
template <class... Params, class... Args>
void launch(void (*kernel)(Params...), const Extent& extent, [[maybe_unused]] const Stream& stream,
            const Args&... args) {
  if (extent.blocks == 0 || extent.rows == 0) return;
  if (extent.blocks > INT32_MAX || extent.rows > 65535)
    throw std::invalid_argument("the arrays are too large: a grid of " + std::to_string(extent.rows) + " x " +
                                std::to_string(extent.blocks) +
                                " blocks, expected at most 65535 x 2147483647");
#ifdef PYIFCN_CUDA_EMULATION
  cuda_emulation::run(kernel, dim3(unsigned(extent.blocks), unsigned(extent.rows)), unsigned(extent.threads),
                      Params(args)...);
#else
  kernel<<<dim3(unsigned(extent.blocks), unsigned(extent.rows)), unsigned(extent.threads), 0,
           stream.handle>>>(args...);
  check_cuda(cudaGetLastError(), extent.file, extent.line);
#endif
}

}  // namespace pyifcn
