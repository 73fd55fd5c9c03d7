// Merging groups of masks by vote on CUDA.
#pragma once

#include "mask_voting/ballots_cuda.h"

namespace pyifcn {

struct GroupsJob {
  CudaMasks masks;
  View<const double, 1> scores;    // (N,)
  View<const int64_t, 1> members;  // (N,): the masks, group by group, those of a group in rising order
  View<const int64_t, 1> starts;   // (N + 1,): where the members of each group start; N behind the last group
  double threshold;
  View<Election, 1> elections;  // (N,): one for each group
  View<Voter, 1> voters;        // (N,)
  BallotSizes* sizes;           // zeros
};

void groups_cuda(const GroupsJob& job, const Stream& stream);

}  // namespace pyifcn
