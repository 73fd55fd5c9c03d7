// Mask voting on CUDA. Two steps, between which the CPU learns how much there is to merge.
#pragma once

#include "mask_voting/ballots_cuda.h"
#include "mask_voting/convention.h"

namespace pyifcn {

struct VotingInput {
  View<const float, 3> masks;          // (N, M, M)
  View<const float, 2> boxes, scores;  // (N, 4), (N, C), of which neither is 0
  VotingOptions options;
};

// The first step: which detections are merged, and how large what follows will be.
struct ElectJob {
  VotingInput in;
  float suppressing;             // the IoU above which NMS drops a box
  View<uint32_t, 2> keys;        // (C - 1, N): workspace
  View<uint32_t, 3> kept;        // (2, C - 1, P), P the most that a class can keep: workspace
  View<Election, 1> elections;   // (C - 1) P
  View<int32_t, 2> mask_boxes;   // (N, 4): written where a mask has to be rendered
  View<int64_t, 1> mask_starts;  // (N,): where its words start, for the others -1
  BallotSizes* sizes;            // zeros
};

void elect_cuda(const ElectJob& job, const Stream& stream);

// The second step. `found`, `countable` and the largest mask are of the sizes that the first one found. There
// is room for at least `countable` results.
struct MergeJob {
  VotingInput in;
  int64_t found, largest_mask;
  TallyJob tally;  // `found` elections; the masks' boxes, starts and words; no words where values vote
  View<Voter, 1> voters;
  View<uint64_t, 1> mask_words;
  View<int32_t, 1> places;  // which election a result is of, -1 behind the last
  int64_t* count;           // how many results there are
  View<float, 2> boxes;     // as many rows as there are places
  View<float, 3> masks;     // (countable, M, M); nothing where the results are a Masks
  View<float, 1> scores;
  View<int64_t, 1> labels;
};

void merge_cuda(const MergeJob& job, const Stream& stream);

// The parts of it, in this order.
void cast_ballots_cuda(const MergeJob& job, const Stream& stream);
void render_cuda(const MergeJob& job, const Stream& stream);
void add_values_cuda(const MergeJob& job, const Stream& stream);
void conclude_cuda(const MergeJob& job, const Stream& stream);
void resample_cuda(const MergeJob& job, const Stream& stream);

}  // namespace pyifcn
