// CUDA's constructs on the host, so that kernels run under sanitizers on a machine without a GPU.
//
// The blocks of a grid run one after another, each thread as a fibre that runs until it meets a barrier or
// ends. Blocks, and the threads between two barriers, run in a shuffled order: whatever counts on an order
// that CUDA does not promise gives a wrong answer here. A barrier that some threads never reach aborts.
#pragma once

#include <ucontext.h>

#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <functional>
#include <memory>
#include <numeric>
#include <random>
#include <vector>

#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/common_interface_defs.h>
#endif

#define __global__
#define __device__
#define __host__
#define __launch_bounds__(...)
#define __shared__ static  // one block runs at a time, so that all its threads share what is static
#define __syncthreads() cuda_emulation::wait(cuda_emulation::Fibre::at_block_barrier)
#define threadIdx (cuda_emulation::self->thread)
#define blockIdx (cuda_emulation::self->block)
#define blockDim (cuda_emulation::block_shape)
#define gridDim (cuda_emulation::grid_shape)

struct dim3 {
  unsigned x, y, z;
  dim3(unsigned x_ = 1, unsigned y_ = 1, unsigned z_ = 1) : x(x_), y(y_), z(z_) {}
};

enum cudaError_t { cudaSuccess };
inline const char* cudaGetErrorString(cudaError_t) { return "no error"; }
inline cudaError_t cudaGetDevice(int* device) { return *device = 0, cudaSuccess; }
inline cudaError_t cudaSetDevice(int) { return cudaSuccess; }

namespace cuda_emulation {

inline constexpr int kWarpSize = 32;
inline constexpr size_t kStack = 1 << 16;

struct Fibre {
  enum State { ready, at_block_barrier, at_warp_barrier, ended };
  State state = ready;
  dim3 thread, block;
  ucontext_t context;
  std::unique_ptr<char[]> stack{new char[kStack]};
};

inline Fibre* self = nullptr;
inline dim3 block_shape, grid_shape;
inline ucontext_t scheduler;
inline const std::function<void()>* body = nullptr;
inline std::vector<Fibre> fibres;
inline std::vector<uint64_t> lane_values;  // of each thread, for ballots and shuffles
inline std::mt19937 order(1);

// AddressSanitizer must know which stack is in use.
inline void* scheduler_fake_stack = nullptr;
inline const void* scheduler_stack = nullptr;
inline size_t scheduler_stack_size = 0;

#if defined(__SANITIZE_ADDRESS__)
inline void leaving(void** fake_stack, const void* stack, size_t size) {
  __sanitizer_start_switch_fiber(fake_stack, stack, size);
}
inline void arrived(void* fake_stack, const void** stack, size_t* size) {
  __sanitizer_finish_switch_fiber(fake_stack, stack, size);
}
#else
inline void leaving(void**, const void*, size_t) {}
inline void arrived(void*, const void**, size_t*) {}
#endif

inline void to_scheduler(Fibre::State state) {
  Fibre* const me = self;
  void* fake_stack = nullptr;
  me->state = state;
  leaving(state == Fibre::ended ? nullptr : &fake_stack, scheduler_stack, scheduler_stack_size);
  swapcontext(&me->context, &scheduler);
  arrived(fake_stack, &scheduler_stack, &scheduler_stack_size);
}

inline void wait(Fibre::State barrier) { to_scheduler(barrier); }

inline void enter() {
  arrived(nullptr, &scheduler_stack, &scheduler_stack_size);
  (*body)();
  to_scheduler(Fibre::ended);
}

inline void resume(Fibre& fibre) {
  self = &fibre;
  leaving(&scheduler_fake_stack, fibre.stack.get(), kStack);
  swapcontext(&scheduler, &fibre.context);
  arrived(scheduler_fake_stack, nullptr, nullptr);
  self = nullptr;
}

// Opens the barrier for [begin, end) if all of them stand at it.
inline bool open(size_t begin, size_t end, Fibre::State barrier) {
  for (size_t i = begin; i < end; ++i)
    if (fibres[i].state != barrier) return false;
  for (size_t i = begin; i < end; ++i) fibres[i].state = Fibre::ready;
  return true;
}

inline bool open_barriers() {
  bool any = open(0, fibres.size(), Fibre::at_block_barrier);
  for (size_t begin = 0; begin < fibres.size(); begin += kWarpSize)
    any |= open(begin, std::min(begin + kWarpSize, fibres.size()), Fibre::at_warp_barrier);
  return any;
}

inline void run_block(dim3 block) {
  for (size_t i = 0; i < fibres.size(); ++i) {
    Fibre& fibre = fibres[i];
    fibre.state = Fibre::ready;
    fibre.thread = dim3(unsigned(i), 0, 0);
    fibre.block = block;
    getcontext(&fibre.context);
    fibre.context.uc_stack.ss_sp = fibre.stack.get();
    fibre.context.uc_stack.ss_size = kStack;
    fibre.context.uc_link = nullptr;
    makecontext(&fibre.context, enter, 0);
  }
  std::vector<size_t> turns(fibres.size());
  std::iota(turns.begin(), turns.end(), size_t(0));
  do {
    std::shuffle(turns.begin(), turns.end(), order);
    for (size_t i : turns)
      if (fibres[i].state == Fibre::ready) resume(fibres[i]);
  } while (open_barriers());
  for (const Fibre& fibre : fibres) {
    if (fibre.state == Fibre::ended) continue;
    std::fprintf(stderr, "cuda_emulation: thread %u of block %u waits at a barrier that others never reach\n",
                 fibre.thread.x, block.x);
    std::abort();
  }
}

template <class... Params>
void run(void (*kernel)(Params...), dim3 grid, unsigned threads, Params... params) {
  const std::function<void()> call = [&] { kernel(params...); };
  body = &call;
  grid_shape = grid;
  block_shape = dim3(threads);
  fibres.resize(threads);
  lane_values.resize(threads);
  std::vector<unsigned> blocks(size_t(grid.x) * grid.y);
  std::iota(blocks.begin(), blocks.end(), 0u);
  std::shuffle(blocks.begin(), blocks.end(), order);
  for (unsigned block : blocks) run_block(dim3(block % grid.x, block / grid.x, 0));
}

// Each lane of the warp gives a value; `read` then sees all of them.
template <class Read>
auto among_lanes(uint64_t value, Read read) {
  const unsigned thread = self->thread.x;
  lane_values[thread] = value;
  wait(Fibre::at_warp_barrier);
  const auto answer = read(&lane_values[thread / kWarpSize * kWarpSize]);
  wait(Fibre::at_warp_barrier);
  return answer;
}

}  // namespace cuda_emulation

inline unsigned __ballot_sync(unsigned, bool vote) {
  return cuda_emulation::among_lanes(vote, [](const uint64_t* lanes) {
    unsigned votes = 0;
    for (int lane = 0; lane < cuda_emulation::kWarpSize; ++lane) votes |= unsigned(lanes[lane]) << lane;
    return votes;
  });
}

inline unsigned __reduce_or_sync(unsigned, unsigned value) {
  return cuda_emulation::among_lanes(value, [](const uint64_t* lanes) {
    uint64_t all = 0;
    for (int lane = 0; lane < cuda_emulation::kWarpSize; ++lane) all |= lanes[lane];
    return unsigned(all);
  });
}

template <class T>
T __shfl_sync(unsigned, T value, int lane) {
  static_assert(sizeof(T) <= 8);
  uint64_t bits = 0;
  __builtin_memcpy(&bits, &value, sizeof(T));
  bits = cuda_emulation::among_lanes(bits, [lane](const uint64_t* lanes) { return lanes[lane]; });
  __builtin_memcpy(&value, &bits, sizeof(T));
  return value;
}

inline void __syncwarp() { cuda_emulation::wait(cuda_emulation::Fibre::at_warp_barrier); }
inline int __popc(unsigned bits) { return __builtin_popcount(bits); }
inline int __popcll(unsigned long long bits) { return __builtin_popcountll(bits); }
inline int __ffs(int bits) { return __builtin_ffs(bits); }

template <class T>
T atomicAdd(T* address, T value) {
  const T before = *address;
  *address += value;
  return before;
}
template <class T>
T atomicMin(T* address, T value) {
  const T before = *address;
  *address = std::min(before, value);
  return before;
}
template <class T>
T atomicMax(T* address, T value) {
  const T before = *address;
  *address = std::max(before, value);
  return before;
}
template <class T>
T atomicOr(T* address, T value) {
  const T before = *address;
  *address |= value;
  return before;
}

using std::max;
using std::min;
