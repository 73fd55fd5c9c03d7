// NMS without sorting: a block for each class looks for the best box that is left and drops what overlaps it,
// both in one pass over the class's scores, as long as boxes are left or wanted. Then one block finds the
// score of the last detection of all classes that goes on, digit by digit, and lists them in order. Then a
// block for each detection counts who votes. What limits all of it is the wait from pass to pass: there is
// little to compute.
#include <algorithm>

#include "core/cuda.cuh"
#include "core/simd_scalar.h"
#include "mask_voting/ballots_cuda.cuh"
#include "mask_voting/mask_voting_cuda.h"
#include "mask_voting/overlap.h"

namespace pyifcn {
namespace {

constexpr int kThreads = kBallotThreads, kWarps = kThreads / kWarp;
constexpr int64_t kNotVoting = -2, kClaimed = -1;  // in mask_starts

template <class E>
using Box = VotingBox<Scalar<E>>;

template <class E>
__device__ Box<E> box_at(const VotingInput& in, int64_t i) {
  using S = Scalar<E>;
  const float* box = in.boxes.data + 4 * i;
  const S nan{E(NAN)}, last{E(in.options.convention.last)};
  bool near = true;
  for (int k = 0; k < 4; ++k) near = near && fabsf(box[k]) <= kFarthest;
  if (!near) return {nan, nan, nan, nan, nan};
  const S x1{E(box[0])}, y1{E(box[1])}, x2{E(box[2])}, y2{E(box[3])};
  return {x1, y1, x2, y2, area_of(x1, y1, x2, y2, last)};
}

template <class E>
__device__ Scalar<E> common_of(const VotingInput& in, const Box<E>& a, const Box<E>& b) {
  return intersection(a, b, Scalar<E>{E(in.options.convention.last)}, Scalar<E>{0});
}

__device__ float score_at(const VotingInput& in, int64_t i, int32_t label) {
  return in.scores.data[i * in.scores.shape[1] + label];
}

// More for a better score; 0 for what is no detection.
__device__ uint32_t key_of(const VotingInput& in, float score) {
  if (!(score >= in.options.convention.least_score)) return 0;
  const float plain = score + 0.0f;  // -0 becomes 0
  uint32_t bits;
  __builtin_memcpy(&bits, &plain, 4);
  return bits + 1;
}

// The better key is more, of equal ones the lower index.
__device__ uint64_t candidate(uint32_t key, int64_t i) { return uint64_t(key) << 32 | ~uint32_t(i); }

// The largest of all threads' values. `slots` holds one for each warp, and is free again after the next call
// with others.
__device__ uint64_t largest_of_block(uint64_t value, uint64_t* slots) {
  const int lane = int(threadIdx.x) % kWarp;
  for (int step = kWarp / 2; step > 0; step /= 2)
    value = ::max(value, __shfl_sync(kAllLanes, value, lane ^ step));
  if (lane == 0) slots[threadIdx.x / kWarp] = value;
  __syncthreads();
  for (int warp = 0; warp < kWarps; ++warp) value = ::max(value, slots[warp]);
  return value;
}

// The threshold is not negative: boxes that have nothing in common need no division.
__device__ bool suppresses(const ElectJob& job, const Box<float>& kept, const Box<float>& other) {
  const Scalar<float> common = common_of(job.in, kept, other);
  return common.v > 0 && iou(kept, other, common).v > job.suppressing;
}

__global__ void __launch_bounds__(kThreads) suppress_kernel(const ElectJob job) {
  __shared__ uint64_t slots[2][kWarps];
  const int64_t boxes = job.in.boxes.shape[0], me = threadIdx.x, most = job.kept.shape[2];
  uint32_t* keys = job.keys.data + blockIdx.x * boxes;
  uint32_t* kept_keys = job.kept.data + blockIdx.x * most;
  uint32_t* kept_boxes = kept_keys + job.kept.shape[1] * most;
  if (blockIdx.x == 0)
    for (int64_t i = me; i < boxes; i += kThreads) job.mask_starts.data[i] = kNotVoting;
  uint64_t best = 0;
  for (int64_t i = me; i < boxes; i += kThreads) {
    keys[i] = key_of(job.in, score_at(job.in, i, int32_t(blockIdx.x) + 1));
    if (keys[i] > 0) best = ::max(best, candidate(keys[i], i));
  }
  int64_t rank = 0;
  for (; rank < most; ++rank) {
    const uint64_t winner = largest_of_block(best, slots[rank % 2]);
    if (winner == 0) break;
    const int64_t chosen = uint32_t(~winner);
    if (me == 0) kept_keys[rank] = uint32_t(winner >> 32), kept_boxes[rank] = uint32_t(chosen);
    const Box<float> box = box_at<float>(job.in, chosen);
    best = 0;
    for (int64_t i = me; i < boxes; i += kThreads) {
      if (keys[i] == 0) continue;
      if (i == chosen || suppresses(job, box, box_at<float>(job.in, i)))
        keys[i] = 0;
      else
        best = ::max(best, candidate(keys[i], i));
    }
  }
  for (rank += me; rank < most; rank += kThreads) kept_keys[rank] = 0;
}

// The least key that goes on, and how many of those that have just that.
struct Least {
  uint32_t key;
  int64_t room;
};

constexpr int kChooseThreads = 1024;
constexpr int kDigits = 256, kDigitsInGroup = 16;

// Finds the `most`-th largest of some keys, eight bits after the other. All threads call it.
__device__ Least least_of_best(const uint32_t* keys, int64_t count, int64_t most) {
  __shared__ int64_t above;
  __shared__ int counts[kDigits], groups[kDigits / kDigitsInGroup], digit;
  const int me = int(threadIdx.x), my_group = me / kDigitsInGroup;
  Least least{0, most};
  for (int shift = 24; shift >= 0; shift -= 8) {
    if (me < kDigits) counts[me] = 0;
    if (me == 0) digit = -1;
    __syncthreads();
    for (int64_t i = me; i < count; i += kChooseThreads)
      if (keys[i] > 0 && (uint64_t(keys[i] ^ least.key) >> (shift + 8)) == 0)
        atomicAdd(&counts[keys[i] >> shift & (kDigits - 1)], 1);
    __syncthreads();
    if (me < kDigits / kDigitsInGroup) {
      groups[me] = 0;
      for (int i = 0; i < kDigitsInGroup; ++i) groups[me] += counts[me * kDigitsInGroup + i];
    }
    __syncthreads();
    if (me < kDigits) {
      int64_t larger = 0;
      for (int group = my_group + 1; group < kDigits / kDigitsInGroup; ++group) larger += groups[group];
      for (int other = me + 1; other < (my_group + 1) * kDigitsInGroup; ++other) larger += counts[other];
      if (larger < least.room && least.room <= larger + counts[me]) digit = me, above = larger;
    }
    __syncthreads();
    if (digit < 0) return {1, most};  // there are fewer
    least.key |= uint32_t(digit) << shift;
    least.room -= above;
    __syncthreads();
  }
  return least;
}

// One block. Of equal scores the first ones go on where the result is limited to `most`, else all.
__global__ void __launch_bounds__(kChooseThreads) choose_kernel(const ElectJob job) {
  __shared__ int ballots[2][kChooseThreads / kWarp];
  const int64_t most = job.kept.shape[2], slots = job.kept.shape[1] * most, me = threadIdx.x;
  const uint32_t *keys = job.kept.data, *boxes = keys + slots;
  const Least least = least_of_best(keys, slots, job.in.options.most);
  int64_t equals = 0, found = 0;
  for (int64_t begin = 0; begin < slots; begin += kChooseThreads) {
    const int64_t slot = begin + me;
    const uint32_t key = slot < slots ? keys[slot] : 0;
    const Rank equal = rank_among(key == least.key, ballots[0]);
    const bool has_room = !job.in.options.convention.full || equals + equal.before < least.room;
    const bool goes_on = key > least.key || (key == least.key && has_room);
    const Rank rank = rank_among(goes_on, ballots[1]);
    if (goes_on) {
      Election& election = job.elections.data[found + rank.before];
      election.label = int32_t(slot / most) + 1;
      election.box = int32_t(boxes[slot]);
    }
    equals += equal.total;
    found += rank.total;
  }
  if (me == 0) job.sizes->found = found;
}

// Who votes on one detection's mask.
struct Electors {
  const VotingInput& in;
  const Election& election;
  Box<double> box;

  __device__ Electors(const VotingInput& in_, const Election& election_)
      : in(in_), election(election_), box(box_at<double>(in_, election_.box)) {}

  // The score of a box in the detection's class, 0 where it does not vote.
  __device__ double score(int64_t j) const {
    const float score = score_at(in, j, election.label);
    if (!(score > 0)) return 0;
    const Box<double> other = box_at<double>(in, j);
    const double overlap = iou(box, other, common_of(in, box, other)).v;
    return overlap >= in.options.merge_threshold ? double(score) : 0;
  }
};

__device__ CudaRegion region_of(const VotingInput& in, int64_t i) {
  const BoxAxes axes(in.options, in.boxes.data + 4 * i);
  if (axes.empty()) return {0, 0, 0, 0};
  return {int32_t(axes.x.pixels.first), int32_t(axes.y.pixels.first), int32_t(axes.x.pixels.end),
          int32_t(axes.y.pixels.end)};
}

// Once for each mask that has to be rendered.
__device__ void make_room_for_mask(const ElectJob& job, int64_t j, const CudaRegion& region) {
  int64_t* start = job.mask_starts.data + j;
  // Whoever comes first.
  if (atomicMax(reinterpret_cast<long long*>(start), static_cast<long long>(kClaimed)) != kNotVoting) return;
  int32_t* box = job.mask_boxes.data + 4 * j;
  box[0] = region.x1, box[1] = region.y1, box[2] = region.x2, box[3] = region.y2;
  note_largest(job.sizes->largest_mask, region.words());
  *start = take_room(job.sizes->mask_words, region.words());
}

// Sums up who votes on each detection. The blocks take turns.
__global__ void __launch_bounds__(kThreads) count_voters_kernel(const ElectJob job) {
  __shared__ BlockCount votes;
  const int64_t boxes = job.in.boxes.shape[0], me = threadIdx.x;
  const bool binary = job.in.options.convention.binary;
  for (int64_t e = blockIdx.x; e < job.sizes->found; e += gridDim.x) {
    Election& election = job.elections.data[e];
    const Electors electors(job.in, election);
    const double sum = sum_in_order(boxes, [&](int64_t j) { return electors.score(j); });
    const bool countable = is_countable(sum);
    const int scale = countable ? weight_scale(sum) : 0;
    if (me == 0) votes.clear();
    __syncthreads();
    for (int64_t j = me; j < boxes && countable; j += kThreads) {
      const double score = electors.score(j);
      if (!(score > 0)) continue;
      const CudaRegion region = region_of(job.in, j);
      votes.add(weight_of(score, scale), region);
      if (binary) make_room_for_mask(job, j, region);
    }
    __syncthreads();
    if (me == 0) {
      election.scale = scale;
      election.total = binary ? double(votes.weights) : sum;
      settle(election, votes, job.in.options.binary_threshold, *job.sizes);
      election.first = take_room(job.sizes->voters, election.count);
      if (countable) take_room(job.sizes->countable, 1);
    }
    __syncthreads();
  }
}

__global__ void __launch_bounds__(kThreads) cast_ballots_kernel(const MergeJob job) {
  __shared__ int ballots[2][kWarps];
  const Election& election = job.tally.elections.data[blockIdx.x];
  if (election.count == 0) return;
  const Electors electors(job.in, election);
  Voter* voters = job.voters.data + election.first;
  const int64_t boxes = job.in.boxes.shape[0];
  for (int64_t begin = 0, turn = 0; begin < boxes; begin += kThreads, ++turn) {
    const int64_t j = begin + threadIdx.x;
    const double score = j < boxes ? electors.score(j) : 0;
    const Rank rank = rank_among(score > 0, ballots[turn % 2]);
    if (score > 0)
      voters[rank.before] = {int32_t(j), weight_of(score, election.scale),
                             float(score) / float(election.total)};
    voters += rank.total;
  }
}

}  // namespace

void elect_cuda(const ElectJob& job, const Stream& stream) {
  const OnDevice guard(stream.device);
  launch(suppress_kernel, {job.kept.shape[1], kThreads}, stream, job);
  launch(choose_kernel, {1, kChooseThreads}, stream, job);
  constexpr int64_t kEnough = 1024;
  launch(count_voters_kernel, {std::min(job.elections.shape[0], kEnough), kThreads}, stream, job);
}

void cast_ballots_cuda(const MergeJob& job, const Stream& stream) {
  launch(cast_ballots_kernel, {job.found, kThreads}, stream, job);
}

}  // namespace pyifcn
