// Votes on CUDA: who votes on which mask, with which weight. Made for detections by elect_cuda.cu and for
// groups of masks by vote_cuda.cu; counted by tally_cuda.cu.
#pragma once

#include <cstdint>

#include "core/stream.h"
#include "core/view.h"
#include "masks/masks_cuda.h"

namespace pyifcn {

// Half-open, in pixels of the image. Empty where x1 >= x2.
struct CudaRegion {
  int32_t x1, y1, x2, y2;

  PYIFCN_INLINE bool empty() const { return x1 >= x2; }
  PYIFCN_INLINE int64_t rows() const { return y2 - y1; }
  PYIFCN_INLINE int64_t across() const { return grid_words(x1, x2); }
  PYIFCN_INLINE int64_t words() const { return empty() ? 0 : rows() * across(); }
};

// One mask that is voted on.
struct Election {
  int32_t label, box;    // of a detection
  CudaRegion region;     // around all masks that vote
  CudaRegion tight;      // around the pixels that reach the threshold; widened from x1 = y1 = INT32_MAX on
  uint32_t threshold;    // in weights
  int32_t scale;         // of the weights
  double total;          // of the weights; where masks vote with their values, of the scores
  int64_t first, count;  // of its voters; none where the scores cannot be told as weights
  int64_t words;         // where those of its region start
};

struct Voter {
  int32_t mask;
  uint32_t weight;
  float share;  // where masks vote with their values
};

// What Python must know to lend memory for what follows. Sums may wrap; the products of the counts and the
// largest say whether they have.
struct BallotSizes {
  int64_t found;      // elections
  int64_t countable;  // those with voters
  int64_t voters;
  int64_t region_words, largest_region;
  int64_t mask_words, largest_mask;  // of the masks that vote, and have to be rendered
};

struct TallyJob {
  View<Election, 1> elections;  // the first `count` of them
  int64_t count;
  View<const Voter, 1> voters;
  CudaMasks masks;
  int64_t largest;            // words of a region
  View<uint64_t, 1> regions;  // the words of merged masks, from each election's on; or nothing
};

// Counts the votes: tight boxes and, where there is room for them, the words of all regions.
void tally_cuda(const TallyJob& job, const Stream& stream);

// Merged masks as a Masks: mask i is that of election places[i], and those from the first -1 on are empty.
struct MergedMasksJob {
  View<const Election, 1> elections;
  View<const int32_t, 1> places;
  View<const uint64_t, 1> regions;
  int64_t largest;  // words of a region
};

void box_merged_cuda(const MergedMasksJob& job, const View<int32_t, 2>& boxes,
                     const View<int64_t, 1>& offsets, const Stream& stream);
void fill_merged_cuda(const MergedMasksJob& job, const View<const int32_t, 2>& boxes,
                      const View<const int64_t, 1>& offsets, const View<uint64_t, 1>& words,
                      const Stream& stream);

}  // namespace pyifcn
