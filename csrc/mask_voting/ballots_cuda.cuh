// What a block of threads does that settles who votes: adding scores up in the CPU's order, and the rest in
// any order.
#pragma once

#include "core/cuda.cuh"
#include "mask_voting/ballots_cuda.h"
#include "mask_voting/whole_weights.h"

namespace pyifcn {
namespace {

constexpr int kBallotThreads = 256;

// How many blocks share each of `count` pieces of work, none of which has use for more than `useful`.
inline int64_t blocks_for_each(int64_t count, int64_t useful) {
  constexpr int64_t kEnough = 4096;
  const int64_t wanted = ceil_div<int64_t>(kEnough, count > 0 ? count : 1);
  const int64_t blocks = useful < wanted ? useful : wanted;
  return blocks < 1 ? 1 : blocks;
}

// A sum of doubles depends on its order: one thread adds what all have fetched. All threads call it.
// share_at(i) is 0 for who does not vote.
template <class ShareAt>
__device__ double sum_in_order(int64_t count, ShareAt share_at) {
  __shared__ double shares[kBallotThreads], result;
  const int me = int(threadIdx.x);
  double sum = 0;
  for (int64_t begin = 0; begin < count; begin += kBallotThreads) {
    __syncthreads();
    shares[me] = begin + me < count ? share_at(begin + me) : 0;
    __syncthreads();
    const int size = int(::min(count - begin, int64_t(kBallotThreads)));
    for (int i = 0; me == 0 && i < size; ++i) sum += shares[i];
  }
  if (me == 0) result = sum;
  __syncthreads();
  return result;
}

// Whole numbers that a block adds up, and a region that it widens. In shared memory; a barrier after clear()
// and one before anyone reads.
struct BlockCount {
  unsigned long long weights, voters;
  CudaRegion region;

  __device__ void clear() {
    weights = voters = 0;
    region = {INT32_MAX, INT32_MAX, 0, 0};
  }
  __device__ void add(uint32_t weight, const CudaRegion& mask) {
    atomicAdd(&weights, static_cast<unsigned long long>(weight));
    atomicAdd(&voters, 1ull);
    if (!mask.empty()) widen(mask);
  }
  __device__ void widen(const CudaRegion& other) {
    atomicMin(&region.x1, other.x1), atomicMin(&region.y1, other.y1);
    atomicMax(&region.x2, other.x2), atomicMax(&region.y2, other.y2);
  }
};

__device__ inline int64_t take_room(int64_t& sum, int64_t size) {
  return int64_t(
      atomicAdd(reinterpret_cast<unsigned long long*>(&sum), static_cast<unsigned long long>(size)));
}

__device__ inline void note_largest(int64_t& largest, int64_t size) {
  atomicMax(reinterpret_cast<unsigned long long*>(&largest), static_cast<unsigned long long>(size));
}

// One thread of the block. Finds room for the region's words.
__device__ inline void settle(Election& election, const BlockCount& votes, double threshold,
                              BallotSizes& sizes) {
  election.region = votes.region.empty() ? CudaRegion{0, 0, 0, 0} : votes.region;
  election.tight = {INT32_MAX, INT32_MAX, 0, 0};
  election.count = int64_t(votes.voters);
  election.threshold = weight_threshold(threshold, double(votes.weights));
  election.words = take_room(sizes.region_words, election.region.words());
  note_largest(sizes.largest_region, election.region.words());
}

}  // namespace
}  // namespace pyifcn
