// Kernels with a planted fault each, and sound ones: `planted <name>` runs one and prints its answer.
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <vector>

#include "core/cuda.cuh"

namespace pyifcn {
namespace {

constexpr int kThreads = 64, kBlocks = 3;

__device__ int me() { return int(blockIdx.x) * kThreads + int(threadIdx.x); }

// The sum of each block, and how many came before each thread that holds an odd number.
__global__ void sound(int* out) {
  __shared__ int values[kThreads], votes[kThreads / kWarp];
  const int thread = int(threadIdx.x);
  values[thread] = me();
  __syncthreads();
  for (int half = kThreads / 2; half > 0; half /= 2) {
    if (thread < half) values[thread] += values[thread + half];
    __syncthreads();
  }
  const Rank rank = rank_among(thread % 2, votes);
  out[me()] = values[0] + rank.before + rank.total;
}

__global__ void sound_atomics(int* out) {
  __shared__ int total;
  if (threadIdx.x == 0) total = 0;
  __syncthreads();
  atomicAdd(&total, 1);
  atomicMax(out, me());
  __syncthreads();
  if (threadIdx.x > 0) out[me()] = total;
}

// Each block adds to what the block with the ticket before it hands on.
__device__ int64_t begin_after_others(Word* state, int64_t others) {
  __shared__ int64_t ticket;
  if (threadIdx.x == 0) {
    ticket = take_ticket(state);
    while (handed_on(state + 1) < Word(ticket + others)) wait_for_blocks(1);
  }
  __syncthreads();
  return ticket;
}

__global__ void sound_tickets(int* out) {
  __shared__ int largest;
  Word* const state = reinterpret_cast<Word*>(out + 2 * kThreads);
  const int64_t ticket = begin_after_others(state, 0);
  if (threadIdx.x == 0) largest = ticket ? out[(ticket - 1) * kWarp] : 0;
  __syncthreads();
  if (threadIdx.x < kWarp) out[ticket * kWarp + threadIdx.x] = ::max(largest, 10 + int(ticket));
  __syncthreads();
  if (threadIdx.x == 0) hand_on(state + 1, Word(ticket + 1));
}

__global__ void waits_for_a_block_that_has_not_begun(int* out) {
  begin_after_others(reinterpret_cast<Word*>(out), 1);
}

__global__ void writes_beyond_the_end(int* out) { out[me() + 1] = 1; }

[[gnu::noinline]] __device__ int element(const int* values, int i) { return values[i]; }

__global__ void reads_beyond_shared_memory(int* out) {
  __shared__ int values[kThreads];
  values[threadIdx.x] = me();
  __syncthreads();
  out[me()] = element(values, int(threadIdx.x) + 1);
}

__global__ void overflows(int* out) { out[me()] = INT32_MAX - 10 + me(); }

__global__ void meets_at_half_a_barrier(int* out) {
  if (threadIdx.x % 2) __syncthreads();
  out[me()] = 1;
}

__global__ void misses_a_barrier(int* out) {
  __shared__ int values[kThreads];
  values[threadIdx.x] = me();
  out[me()] = values[(threadIdx.x + 1) % kThreads];
}

__global__ void misses_a_barrier_before_the_next_round(int* out) {
  __shared__ int value;
  out[me()] = 0;
  for (int round = 0; round < 2; ++round) {
    if (threadIdx.x == 7) value = round;
    __syncthreads();
    out[me()] += value;
  }
}

__global__ void misses_a_barrier_of_a_warp(int* out) {
  __shared__ int values[kThreads];
  const int neighbour = int(threadIdx.x) ^ 1;
  values[threadIdx.x] = me();
  out[me()] = values[neighbour];
}

__global__ void races_of_a_block(int* out) {
  __shared__ int last;
  last = me();
  __syncthreads();
  out[me()] = last;
}

// Adds up right in every order of whole turns.
__global__ void adds_without_atomics(int* out) {
  __shared__ int total;
  if (threadIdx.x == 0) total = 0;
  __syncthreads();
  total += 1;
  __syncthreads();
  out[me()] = total;
}

__global__ void races_of_blocks(int* out) { out[0] = me(); }

// What another block left there would be the right answer.
__global__ void reads_what_nobody_wrote(int* out) {
  __shared__ int value;
  if (blockIdx.x == 0) value = 1;
  __syncthreads();
  out[me()] = value;
}

struct Kernel {
  const char* name;
  void (*run)(int*);
};

#define KERNEL(name) {#name, name}
constexpr Kernel kKernels[] = {
    KERNEL(sound),
    KERNEL(sound_atomics),
    KERNEL(sound_tickets),
    KERNEL(waits_for_a_block_that_has_not_begun),
    KERNEL(writes_beyond_the_end),
    KERNEL(reads_beyond_shared_memory),
    KERNEL(overflows),
    KERNEL(meets_at_half_a_barrier),
    KERNEL(misses_a_barrier),
    KERNEL(misses_a_barrier_before_the_next_round),
    KERNEL(misses_a_barrier_of_a_warp),
    KERNEL(races_of_a_block),
    KERNEL(adds_without_atomics),
    KERNEL(races_of_blocks),
    KERNEL(reads_what_nobody_wrote),
};

}  // namespace
}  // namespace pyifcn

int main(int, char** arguments) {
  using namespace pyifcn;
  std::vector<int> out(kThreads * kBlocks);
  for (const Kernel& kernel : kKernels)
    if (!std::strcmp(kernel.name, arguments[1]))
      launch(kernel.run, {kBlocks, kThreads}, {0, nullptr}, out.data());
  for (int value : out) std::printf("%d ", value);
}
