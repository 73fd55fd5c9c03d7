// Votes of binary masks, pixel by pixel, in whole numbers.
#pragma once

#include <cstdint>
#include <vector>

#include "mask_voting/mask_voting.h"
#include "masks/packed.h"

namespace pyifcn {

// Half-open, in pixels of the image.
struct Region {
  int64_t x1, y1, x2, y2;
  bool empty() const { return x1 >= x2 || y1 >= y2; }
};

Region around(const Region& a, const Region& b);

// Where the runs of a mask begin and end: row y of `region` has the columns [starts[y], starts[y + 1]), in
// rising order and even in number.
struct RunEnds {
  Region region{};
  std::vector<uint32_t> starts;
  std::vector<int32_t> columns;

  RunEnds() = default;
  // Bits in rows of `across` words, the first bit being column `left`; none is set outside of `region`.
  RunEnds(const Region& region, const uint64_t* words, int64_t across, int64_t left);
};

struct Vote {
  const RunEnds* mask;
  uint32_t weight;
};

// Weights as whole numbers whose ratios are those of `shares`, and whose sum is about 2^30. The ratios are
// exact where that is fine enough, and equal shares have equal weights. Nothing where the sum of the shares
// is not a positive finite number; a share that is not positive is 0.
std::vector<uint32_t> weights_of(const std::vector<double>& shares);

// Adds up votes in the region around their masks; lent memory that is used again by the next vote.
class Tally {
public:
  // Each pixel's weight of votes against `threshold` of all weights together. Afterwards box() and share().
  void count(const std::vector<Vote>& votes, double threshold);
  // The same, at once as a mask of the image.
  PackedMask merge(const std::vector<Vote>& votes, double threshold);

  // The tight box of the pixels that reach the threshold; empty where none does.
  const Region& box() const { return box_; }
  // The part of all weights that a pixel of the image has.
  float share(int64_t y, int64_t x) const;

private:
  void open(const std::vector<Vote>& votes, double threshold);
  // Sums the rows from `top` on.
  void sum(const std::vector<Vote>& votes, int64_t top, uint32_t* steps);

  Region region_{}, box_{};
  int64_t width_;       // of the region and one column more, which has no votes
  uint32_t threshold_;  // in weights
  double total_;
  std::vector<uint32_t> sums_;  // strips of (width, kStrip), `threshold_` less than they are
  std::vector<uint16_t> reached_;
  decltype(&sum_strip<Target::scalar>) kernel_;
};

}  // namespace pyifcn
