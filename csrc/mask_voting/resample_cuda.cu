// What was merged becomes the result: one block drops what is to be dropped and writes boxes, scores and
// labels, then a thread for each element of the merged masks counts the votes of the four pixels about it
// once more. That is cheaper than to keep the sums of all pixels, of which few are ever read.
#include <algorithm>

#include "mask_voting/ballots_cuda.cuh"
#include "mask_voting/values_cuda.cuh"

namespace pyifcn {
namespace {

constexpr int kThreads = 256, kWarps = kThreads / kWarp;

// The box of a result; where no pixel has reached the threshold the image's middle.
__device__ CudaRegion box_of(const Election& election, const VotingOptions& options) {
  if (!election.tight.empty()) return election.tight;
  const int32_t x = int32_t(options.width / 2), y = int32_t(options.height / 2);
  return {x, y, x + 1, y + 1};
}

__device__ bool is_dropped(const Election& election, const VotingOptions& options) {
  if (election.count == 0) return true;
  if (options.convention.full) return election.tight.empty();
  const CudaRegion box = box_of(election, options);
  return options.convention.drops_thin && (box.x2 - box.x1 == 1 || box.y2 - box.y1 == 1);
}

__global__ void __launch_bounds__(kThreads) conclude_kernel(const MergeJob job) {
  __shared__ int ballots[2][kWarps];
  const VotingOptions& options = job.in.options;
  const int32_t last = int32_t(options.convention.last);
  int64_t done = 0;
  for (int64_t begin = 0, turn = 0; begin < job.found; begin += kThreads, ++turn) {
    const int64_t e = begin + threadIdx.x;
    const bool kept = e < job.found && !is_dropped(job.tally.elections.data[e], options);
    const Rank rank = rank_among(kept, ballots[turn % 2]);
    if (kept) {
      const Election& election = job.tally.elections.data[e];
      const int64_t row = done + rank.before;
      const CudaRegion box = box_of(election, options);
      float* corners = job.boxes.data + 4 * row;
      corners[0] = float(box.x1), corners[1] = float(box.y1);
      corners[2] = float(box.x2 - last), corners[3] = float(box.y2 - last);
      const int64_t score = int64_t(election.box) * job.in.scores.shape[1] + election.label;
      job.scores.data[row] = job.in.scores.data[score] + 0.0f;  // -0 becomes 0
      job.labels.data[row] = election.label;
      job.places.data[row] = int32_t(e);
    }
    done += rank.total;
  }
  if (threadIdx.x == 0) *job.count = done;
  for (int64_t row = done + threadIdx.x; row < job.places.shape[0]; row += kThreads)
    job.places.data[row] = -1;
}

// Two columns and two rows.
struct Pixels {
  int32_t x[2], y[2];
};

struct Shares {
  float at[2][2];  // row, column
};

// The part of all votes that pixels have.
__device__ Shares count_bits(const MergeJob& job, const Election& election, const Pixels& pixels) {
  uint32_t sums[2][2] = {};
  for (int64_t v = 0; v < election.count; ++v) {
    const Voter voter = job.voters.data[election.first + v];
    const CudaMask mask = job.tally.masks[voter.mask];
    for (int r = 0; r < 2; ++r)
      for (int c = 0; c < 2; ++c) {
        const uint64_t word = mask.word(pixels.y[r], pixels.x[c] / 64);
        sums[r][c] += word >> (pixels.x[c] % 64) & 1 ? voter.weight : 0;
      }
  }
  Shares shares;
  for (int r = 0; r < 2; ++r)
    for (int c = 0; c < 2; ++c) shares.at[r][c] = float(double(sums[r][c]) / election.total);
  return shares;
}

__device__ Shares add_values(const MergeJob& job, const Election& election, const Pixels& pixels) {
  Shares sums{};
  for (int64_t v = 0; v < election.count; ++v) {
    const ValueVoter voter(job.in, job.voters.data[election.first + v]);
    for (int r = 0; r < 2; ++r)
      for (int c = 0; c < 2; ++c) {
        if (!voter.has_row(pixels.y[r]) || !voter.has_column(pixels.x[c])) continue;
        const Tap row = voter.y_tap(pixels.y[r]), column = voter.x_tap(pixels.x[c]);
        sums.at[r][c] += voter.share * voter.mixture(column, row).at(row);
      }
  }
  return sums;
}

template <class E>
__global__ void __launch_bounds__(kThreads) resample_kernel(const MergeJob job, int64_t blocks) {
  const int64_t side = job.masks.shape[1], result = blockIdx.x / blocks;
  const int64_t element = blockIdx.x % blocks * kThreads + threadIdx.x;
  const int32_t place = job.places.data[result];
  if (place < 0 || element >= side * side) return;
  const Election& election = job.tally.elections.data[place];
  const VotingOptions& options = job.in.options;
  const CudaRegion box = box_of(election, options);
  const Tap x = ResampleTaps<E>(options.convention, {box.x1, box.x2}, side, options.width)(element % side);
  const Tap y = ResampleTaps<E>(options.convention, {box.y1, box.y2}, side, options.height)(element / side);
  const Pixels pixels{{x.low, x.high}, {y.low, y.high}};
  const Shares shares =
      options.convention.binary ? count_bits(job, election, pixels) : add_values(job, election, pixels);
  const auto row = [&](int r) { return x.low_weight * shares.at[r][0] + x.high_weight * shares.at[r][1]; };
  const bool nearest =
      in_float32(options.convention) && (x.low == options.width - 1 || y.low == options.height - 1);
  job.masks.data[result * side * side + element] =
      nearest ? shares.at[0][0] : y.low_weight * row(0) + y.high_weight * row(1);
}

}  // namespace

void conclude_cuda(const MergeJob& job, const Stream& stream) {
  launch(conclude_kernel, {1, kThreads}, stream, job);
}

void resample_cuda(const MergeJob& job, const Stream& stream) {
  const int64_t blocks = ceil_div<int64_t>(job.masks.shape[1] * job.masks.shape[2], kThreads);
  const Extent extent{job.masks.shape[0] * blocks, kThreads};
  if (in_float32(job.in.options.convention))
    launch(resample_kernel<float>, extent, stream, job, blocks);
  else
    launch(resample_kernel<double>, extent, stream, job, blocks);
}

void merge_cuda(const MergeJob& job, const Stream& stream) {
  const OnDevice guard(stream.device);
  const Convention& convention = job.in.options.convention;
  cast_ballots_cuda(job, stream);
  if (convention.binary) {
    render_cuda(job, stream);
    tally_cuda(job.tally, stream);
  } else {
    add_values_cuda(job, stream);
  }
  conclude_cuda(job, stream);
  if (!convention.full) resample_cuda(job, stream);
}

}  // namespace pyifcn
