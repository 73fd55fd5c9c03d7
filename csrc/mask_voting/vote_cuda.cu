// A block for each group gives its masks their weights. What limits it is that one thread adds the scores up,
// in their order.
#include <algorithm>

#include "mask_voting/ballots_cuda.cuh"
#include "mask_voting/vote_cuda.h"

namespace pyifcn {
namespace {

__global__ void __launch_bounds__(kBallotThreads) groups_kernel(const GroupsJob job) {
  __shared__ BlockCount votes;
  const int64_t groups = job.elections.shape[0], me = threadIdx.x;
  for (int64_t group = blockIdx.x; group < groups; group += gridDim.x) {
    const int64_t first = job.starts.data[group], count = job.starts.data[group + 1] - first;
    if (count == 0) return;  // nor do those behind it have members
    const int64_t* members = job.members.data + first;
    const double sum = sum_in_order(count, [&](int64_t k) { return job.scores.data[members[k]]; });
    const bool countable = is_countable(sum);
    const int scale = countable ? weight_scale(sum) : 0;
    if (me == 0) votes.clear();
    __syncthreads();
    for (int64_t k = me; k < count; k += kBallotThreads) {
      const uint32_t weight = countable ? weight_of(job.scores.data[members[k]], scale) : 1;
      const CudaMask mask = job.masks[members[k]];
      votes.add(weight, {mask.x1, mask.y1, mask.x2, mask.y2});
      job.voters.data[first + k] = {int32_t(members[k]), weight, 0};
    }
    __syncthreads();
    if (me == 0) {
      Election& election = job.elections.data[group];
      settle(election, votes, job.threshold, *job.sizes);
      election.first = first;
      take_room(job.sizes->found, 1);
    }
    __syncthreads();
  }
}

}  // namespace

void groups_cuda(const GroupsJob& job, const Stream& stream) {
  const OnDevice guard(stream.device);
  constexpr int64_t kEnough = 4096;
  launch(groups_kernel, {std::min(job.elections.shape[0], kEnough), kBallotThreads}, stream, job);
}

}  // namespace pyifcn
