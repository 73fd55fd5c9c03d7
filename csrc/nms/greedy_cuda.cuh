// Things by falling score are cut into tiles of 256, one for each block of threads and all in one launch. A
// block compares its things with each other, a row of bits for each, and then with those that are kept of the
// tiles before, as these become known; what is kept of its own follows from the bits, and is handed on. So
// each thing is compared with the kept ones before it alone, until one of them takes it. Memory is linear in
// N. What limits it is arithmetic where much is kept, N^2 / 2 comparisons at most; else the N / 256 ways from
// tile to tile through the second-level cache, one after the other.
#pragma once

#include "core/cuda.cuh"
#include "nms/candidates_cuda.cuh"
#include "nms/greedy_cuda.h"

namespace pyifcn {
namespace {

constexpr int kTile = 256, kTileWords = kTile / kWarp;

// A bit for each thing of a tile.
struct TileBits {
  unsigned words[kTileWords];
};

// How many tiles of an image are done, and what they keep.
struct Progress {
  int64_t tiles, kept;

  __device__ static Progress from(Word word) { return {int64_t(word >> 32), int64_t(word & 0xffffffffu)}; }
  __device__ Word word() const { return Word(tiles) << 32 | Word(kept); }
};

// Which of the first `count` things of a tile suppress this one.
template <class Rule>
__device__ TileBits suppressors(const Rule& rule, const typename Rule::Thing* things, int count,
                                const typename Rule::Thing& mine) {
  TileBits all;
#pragma unroll
  for (int word = 0; word < kTileWords; ++word) {
    all.words[word] = 0;
    for (int first = 0; first < ::min(kWarp, count - kWarp * word); first += kAtOnce) {
      const typename Rule::Thing* here = things + kWarp * word + first;
      for (unsigned bits = candidates(rule, here, count - kWarp * word - first, mine); bits; bits &= bits - 1)
        if (const int i = __ffs(int(bits)) - 1; rule.suppresses(here[i], mine))
          all.words[word] |= 1u << (first + i);
    }
  }
  return all;
}

// Which things of a tile stand: those that are not gone, where none that stands suppresses them. Each turn
// decides at least the first that is undecided, and most tiles in a few turns. All threads call it.
__device__ inline const TileBits& standing(const TileBits& suppressors, bool gone) {
  __shared__ TileBits stand[2], lie[2];
  const int lane = int(threadIdx.x) % kWarp, warp = int(threadIdx.x) / kWarp;
  bool stands = false;
  for (int turn = 0;; turn ^= 1) {
    const unsigned stand_votes = __ballot_sync(kAllLanes, stands), lie_votes = __ballot_sync(kAllLanes, gone);
    if (lane == 0) stand[turn].words[warp] = stand_votes, lie[turn].words[warp] = lie_votes;
    __syncthreads();
    unsigned suppressed = 0, open = 0, undecided = 0;
#pragma unroll
    for (int word = 0; word < kTileWords; ++word) {
      suppressed |= suppressors.words[word] & stand[turn].words[word];
      open |= suppressors.words[word] & ~lie[turn].words[word];
      undecided |= ~(stand[turn].words[word] | lie[turn].words[word]);
    }
    if (!undecided) return stand[turn];
    if (!stands && suppressed) gone = true;
    if (!gone && !open) stands = true;
  }
}

// The lowest bit that two sets have in common; they have one.
__device__ inline int lowest_common(const TileBits& a, const TileBits& b) {
  int lowest = 0;
#pragma unroll
  for (int word = kTileWords - 1; word >= 0; --word)
    if (const unsigned bits = a.words[word] & b.words[word]) lowest = kWarp * word + __ffs(int(bits)) - 1;
  return lowest;
}

template <class Rule>
__global__ void __launch_bounds__(kTile) greedy_kernel(const GreedyCudaJob job, const Rule rule) {
  __shared__ typename Rule::Thing things[kTile];
  __shared__ int64_t ticket;
  __shared__ Word word;
  const int64_t count = job.order.shape[1], tiles = ceil_div<int64_t>(count, kTile), most = job.keep.shape[1];
  const int64_t image = blockIdx.x / tiles, first_row = image * count;
  Word* const state = reinterpret_cast<Word*>(job.state.data + image * job.state.shape[1]);
  const int me = int(threadIdx.x);
  if (me == 0) ticket = take_ticket(state);
  __syncthreads();
  const int64_t tile = ticket, *order = job.order.data + first_row + tile * kTile;
  const int size = count - tile * kTile < kTile ? int(count - tile * kTile) : kTile;
  if (job.gone && job.gone[first_row + order[0]]) return;  // and so are all tiles that follow
  const int64_t index = order[me < size ? me : 0];
  const typename Rule::Thing mine = rule.at(first_row + index);
  things[me] = mine;
  __syncthreads();
  const TileBits before_me = suppressors(rule, things, ::min(me, size), mine);
  bool gone = me >= size || (job.gone && job.gone[first_row + index]);

  int64_t* const keep = job.keep.data + image * most;
  int64_t compared = 0, owner = index;
  Progress before;
  for (;;) {
    if (me == 0)
      while (before = Progress::from(word = handed_on(state + 1)),
             before.tiles < tile && before.kept == compared && before.kept < most)
        wait_for_blocks(tile - before.tiles);
    __syncthreads();  // the comparisons have ended too
    before = Progress::from(word);
    if (before.kept >= most) return;
    const int known = before.kept - compared < kTile ? int(before.kept - compared) : kTile;
    if (known == 0) break;
    // Written by other blocks since this one began: not what a cache may hold.
    const int64_t other = static_cast<volatile int64_t*>(keep)[me < known ? compared + me : compared];
    things[me] = rule.at(first_row + other);
    __syncthreads();
    const int suppressor = gone ? -1 : first_suppressor(rule, things, known, mine);
    if (suppressor >= 0) {
      gone = true;
      owner = static_cast<volatile int64_t*>(keep)[compared + suppressor];
    }
    compared += known;
  }

  const TileBits& stand = standing(before_me, gone);
  int rank = 0, total = 0;
  for (int i = 0; i < kTileWords; ++i) {
    const int here = me - kWarp * i;
    rank += here > 0 ? __popc(stand.words[i] & lowest_bits(here)) : 0;
    total += __popc(stand.words[i]);
  }
  const bool stands = stand.words[me / kWarp] >> (me % kWarp) & 1;
  if (stands && before.kept + rank < most) keep[before.kept + rank] = index;
  if (job.groups && me < size) {
    if (!gone && !stands) owner = order[lowest_common(before_me, stand)];
    job.groups[first_row + index] = owner;
  }
  const int64_t kept = ::min(before.kept + total, most);
  __syncthreads();
  if (me != 0) return;
  job.state.data[image * job.state.shape[1] + 2] = kept;
  hand_on(state + 1, Progress{tile + 1, kept}.word());
}

// Call it with the stream's device current.
template <class Rule>
void greedy_cuda(const GreedyCudaJob& job, const Rule& rule, const Stream& stream) {
  const int64_t tiles = ceil_div<int64_t>(job.order.shape[1], kTile);
  launch(greedy_kernel<Rule>, {job.order.shape[0] * tiles, kTile}, stream, job, rule);
}

}  // namespace
}  // namespace pyifcn
