// CUDA's constructs on the host, so that kernels run under sanitizers on a machine without a GPU.
//
// The blocks of a grid run one after another, each thread until it meets a barrier or ends. Blocks, and the
// threads between two barriers, take their turns in an order that the environment variable
// CUDA_EMULATION_ORDER names: forward, reverse, or the seed of a random one. Whatever counts on an order that
// CUDA does not promise gives another answer in one of them. A barrier that some threads never reach aborts.
// Shared memory starts as bytes of 0xff in each block: as floats NaN, as integers -1.
//
// AddressSanitizer sees what lies beyond arrays, those in shared memory too. ThreadSanitizer sees two threads
// of a block at the same place with no barrier between, whether or not the answer shows it.
#pragma once

#include <ucontext.h>

#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <memory>
#include <numeric>
#include <random>
#include <string>
#include <vector>

#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/common_interface_defs.h>
#elif defined(__SANITIZE_THREAD__)
#include <sanitizer/tsan_interface.h>
#endif

#define __global__
#define __device__
#define __host__
#define __launch_bounds__(...)
// One block runs at a time, so that all its threads share what is static.
#define __shared__ static __attribute__((section("cuda_shared")))
#define __syncthreads() cuda_emulation::wait(cuda_emulation::State::at_block_barrier)
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

enum class State { fresh, ready, at_block_barrier, at_warp_barrier, ended };

// A stack. It runs thread after thread, and belongs to the one that waits at a barrier.
struct Fibre {
  ucontext_t context;
  std::unique_ptr<char[]> stack{new char[kStack]};
  Fibre* next_idle = nullptr;
};

struct Thread {
  State state;
  dim3 thread, block;
  Fibre* fibre;
  void* racer;  // what ThreadSanitizer knows it as
  unsigned block_barriers = 0, warp_barriers = 0;
};

inline Thread* self = nullptr;
inline dim3 block_shape, grid_shape;
inline ucontext_t scheduler;
inline const std::function<void()>* body = nullptr;
inline std::vector<Thread> threads;
inline std::vector<void*> racers;
inline Thread **next_turn, **last_turn;  // in the order in which threads run until they wait
inline std::vector<std::unique_ptr<Fibre>> fibres;
inline Fibre* idle = nullptr;
inline std::vector<uint64_t> lane_values[2];  // of each thread, for ballots and shuffles, in turns

// ThreadSanitizer takes each thread for a fiber of its own, and sees no order among them but that of
// barriers: what one does before a barrier comes before what others do after it.
#if defined(__SANITIZE_THREAD__)
#define CUDA_EMULATION_UNSEEN __attribute__((no_sanitize("thread")))
inline constexpr bool kOwnStacks = true;  // another thread's variables at the same place look like a race
inline void* const scheduler_racer = __tsan_get_current_fiber();
inline void* new_racer() { return __tsan_create_fiber(0); }
#define CUDA_EMULATION_RACER(racer) __tsan_switch_to_fiber(racer, __tsan_switch_to_fiber_no_sync)
inline void release(void* barrier) { __tsan_release(barrier); }
inline void acquire(void* barrier) { __tsan_acquire(barrier); }
#else
#define CUDA_EMULATION_UNSEEN
inline constexpr bool kOwnStacks = false;
inline void* new_racer() { return nullptr; }
#define CUDA_EMULATION_RACER(racer)
inline void release(void*) {}
inline void acquire(void*) {}
#endif

inline char block_begins, block_ends;

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

template <class T>
void arrange(std::vector<T>& turns) {
  static const char* const variable = std::getenv("CUDA_EMULATION_ORDER");
  static const std::string name = variable ? variable : "1";
  static std::mt19937 generator(unsigned(std::atoi(name.c_str())));
  if (name == "forward") return;
  if (name == "reverse")
    std::reverse(turns.begin(), turns.end());
  else
    std::shuffle(turns.begin(), turns.end(), generator);
}

// What no block may count on. The linker knows where the section begins and ends.
extern "C" char __start_cuda_shared[] __attribute__((weak)), __stop_cuda_shared[] __attribute__((weak));
__attribute__((no_sanitize("address"))) inline void fill_shared_memory() {
  for (char* byte = __start_cuda_shared; byte != __stop_cuda_shared; ++byte)
    *static_cast<volatile char*>(byte) = '\xff';
}

CUDA_EMULATION_UNSEEN inline void to_scheduler() {
  Fibre* const mine = self->fibre;
  void* fake_stack = nullptr;
  CUDA_EMULATION_RACER(scheduler_racer);
  leaving(&fake_stack, scheduler_stack, scheduler_stack_size);
  swapcontext(&mine->context, &scheduler);
  arrived(fake_stack, &scheduler_stack, &scheduler_stack_size);
}

// Barriers take turns with two places, so that a thread that comes from one is not ordered after those that
// stand at the next already.
CUDA_EMULATION_UNSEEN inline void wait(State barrier) {
  static char block_places[2], warp_places[2][32];
  const bool is_block = barrier == State::at_block_barrier;
  const int turn = is_block ? self->block_barriers++ % 2 : self->warp_barriers++ % 2;
  char* const place = is_block ? &block_places[turn] : &warp_places[turn][self->thread.x / kWarpSize];
  release(place);
  self->state = barrier;
  to_scheduler();
  acquire(place);
}

// Goes on with the next thread on the same stack, unless another stack's turn has come.
CUDA_EMULATION_UNSEEN inline bool takes_another() {
  if (kOwnStacks || next_turn == last_turn || (*next_turn)->state != State::fresh) return false;
  Fibre* const mine = self->fibre;
  self = *next_turn++;
  self->fibre = mine;
  CUDA_EMULATION_RACER(self->racer);
  return true;
}

CUDA_EMULATION_UNSEEN inline void run_threads() {
  arrived(nullptr, &scheduler_stack, &scheduler_stack_size);
  for (;;) {
    do {
      acquire(&block_begins);
      (*body)();
      release(&block_ends);
      self->state = State::ended;
    } while (takes_another());
    self->fibre->next_idle = idle;
    idle = self->fibre;
    to_scheduler();
  }
}

inline void add_fibre() {
  Fibre* const fibre = fibres.emplace_back(new Fibre).get();
  getcontext(&fibre->context);
  fibre->context.uc_stack.ss_sp = fibre->stack.get();
  fibre->context.uc_stack.ss_size = kStack;
  fibre->context.uc_link = nullptr;
  makecontext(&fibre->context, run_threads, 0);
  idle = fibre;
}

inline Fibre* fibre_for(const Thread& thread) {
  if (kOwnStacks) {
    while (fibres.size() <= thread.thread.x) add_fibre();
    return fibres[thread.thread.x].get();
  }
  if (!idle) add_fibre();
  Fibre* const fibre = idle;
  idle = fibre->next_idle;
  return fibre;
}

CUDA_EMULATION_UNSEEN inline void resume(Thread& thread) {
  if (thread.state == State::fresh) thread.fibre = fibre_for(thread);
  self = &thread;
  CUDA_EMULATION_RACER(thread.racer);
  leaving(&scheduler_fake_stack, thread.fibre->stack.get(), kStack);
  swapcontext(&scheduler, &thread.fibre->context);
  arrived(scheduler_fake_stack, nullptr, nullptr);
  self = nullptr;
}

// Opens the barrier for [begin, end) if all of them stand at it.
inline bool open(size_t begin, size_t end, State barrier) {
  for (size_t i = begin; i < end; ++i)
    if (threads[i].state != barrier) return false;
  for (size_t i = begin; i < end; ++i) threads[i].state = State::ready;
  return true;
}

inline bool open_barriers() {
  bool any = open(0, threads.size(), State::at_block_barrier);
  for (size_t begin = 0; begin < threads.size(); begin += kWarpSize)
    any |= open(begin, std::min(begin + kWarpSize, threads.size()), State::at_warp_barrier);
  return any;
}

inline void run_block(dim3 block) {
  fill_shared_memory();
  for (size_t i = 0; i < threads.size(); ++i)
    threads[i] = {State::fresh, dim3(unsigned(i), 0, 0), block, nullptr, racers[i]};
  release(&block_begins);
  do {
    std::vector<Thread*> turns;
    for (Thread& thread : threads)
      if (thread.state == State::fresh || thread.state == State::ready) turns.push_back(&thread);
    arrange(turns);
    next_turn = turns.data();
    last_turn = next_turn + turns.size();
    while (next_turn != last_turn) resume(**next_turn++);
  } while (open_barriers());
  acquire(&block_ends);
  for (const Thread& thread : threads) {
    if (thread.state == State::ended) continue;
    std::fprintf(stderr, "cuda_emulation: thread %u of block %u waits at a barrier that others never reach\n",
                 thread.thread.x, block.x);
    std::abort();
  }
}

template <class... Params>
void run(void (*kernel)(Params...), dim3 grid, unsigned block_threads, Params... params) {
  const std::function<void()> call = [&] { kernel(params...); };
  body = &call;
  grid_shape = grid;
  block_shape = dim3(block_threads);
  while (racers.size() < block_threads) racers.push_back(new_racer());
  threads.resize(block_threads);
  for (std::vector<uint64_t>& values : lane_values) values.resize(block_threads);
  std::vector<uint64_t> blocks(size_t(grid.x) * grid.y);
  std::iota(blocks.begin(), blocks.end(), uint64_t(0));
  arrange(blocks);
  for (uint64_t block : blocks) run_block(dim3(unsigned(block % grid.x), unsigned(block / grid.x), 0));
}

// Each lane of the warp gives a value; `read` then sees all of them. The values of the turn before may be
// read meanwhile.
template <class Read>
auto among_lanes(uint64_t value, Read read) {
  const unsigned thread = self->thread.x;
  std::vector<uint64_t>& values = lane_values[self->warp_barriers % 2];
  values[thread] = value;
  wait(State::at_warp_barrier);
  return read(&values[thread / kWarpSize * kWarpSize]);
}

// PTX's mma.sync.aligned.m16n8k256.row.col.s32.b1.b1.s32.and.popc, its fragments as PTX lays them out.
inline void mma_m16n8k256_and_popc(int (&sums)[4], const unsigned (&a)[4], const unsigned (&b)[2]) {
  const unsigned lane = self->thread.x % kWarpSize;
  const auto joined = [](unsigned low, unsigned high) { return low | uint64_t(high) << 32; };
  uint64_t rows[2][4], columns[2][4];
  for (int half = 0; half < 2; ++half)
    among_lanes(joined(a[half], a[2 + half]), [&](const uint64_t* lanes) {
      for (int place = 0; place < 4; ++place) rows[half][place] = lanes[lane / 4 * 4 + place];
      return 0;
    });
  among_lanes(joined(b[0], b[1]), [&](const uint64_t* lanes) {
    for (int n = 0; n < 2; ++n)
      for (int place = 0; place < 4; ++place) columns[n][place] = lanes[4 * (2 * (lane % 4) + n) + place];
    return 0;
  });
  for (int n = 0; n < 4; ++n)
    for (int place = 0; place < 4; ++place)
      sums[n] += __builtin_popcountll(rows[n / 2][place] & columns[n % 2][place]);
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

inline unsigned __reduce_max_sync(unsigned, unsigned value) {
  return cuda_emulation::among_lanes(value, [](const uint64_t* lanes) {
    return unsigned(*std::max_element(lanes, lanes + cuda_emulation::kWarpSize));
  });
}

// Blocks run one after another: what another block has not handed on yet, it never will.
inline void __nanosleep(unsigned) {
  std::fprintf(stderr, "cuda_emulation: block %u waits for one that has not begun\n",
               cuda_emulation::self->block.x);
  std::abort();
}
inline void __threadfence() {}

inline void __syncwarp() { cuda_emulation::wait(cuda_emulation::State::at_warp_barrier); }
inline int __popc(unsigned bits) { return __builtin_popcount(bits); }
inline int __popcll(unsigned long long bits) { return __builtin_popcountll(bits); }
inline int __ffs(int bits) { return __builtin_ffs(bits); }
inline int __ffsll(long long bits) { return __builtin_ffsll(bits); }
inline int __clzll(long long bits) {
  return bits == 0 ? 64 : __builtin_clzll(static_cast<unsigned long long>(bits));
}
inline unsigned long long __brevll(unsigned long long bits) {
  unsigned long long reversed = 0;
  for (int i = 0; i < 64; ++i) reversed |= (bits >> i & 1) << (63 - i);
  return reversed;
}

template <class T>
T atomicAdd(T* address, T value) {
  return __atomic_fetch_add(address, value, __ATOMIC_RELAXED);
}
template <class T>
T atomicOr(T* address, T value) {
  return __atomic_fetch_or(address, value, __ATOMIC_RELAXED);
}
template <class T, class Change>
T atomic_change(T* address, Change change) {
  T before = __atomic_load_n(address, __ATOMIC_RELAXED);
  while (!__atomic_compare_exchange_n(address, &before, change(before), true, __ATOMIC_RELAXED,
                                      __ATOMIC_RELAXED)) {
  }
  return before;
}
template <class T>
T atomicMin(T* address, T value) {
  return atomic_change(address, [value](T before) { return std::min(before, value); });
}
template <class T>
T atomicMax(T* address, T value) {
  return atomic_change(address, [value](T before) { return std::max(before, value); });
}

using std::max;
using std::min;
