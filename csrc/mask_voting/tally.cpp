#include "mask_voting/tally.h"

#include <algorithm>
#include <bit>

#include "core/dispatch.h"
#include "mask_voting/whole_weights.h"
#include "masks/bits.h"

namespace pyifcn {

Region around(const Region& a, const Region& b) {
  if (a.empty()) return b;
  if (b.empty()) return a;
  return {std::min(a.x1, b.x1), std::min(a.y1, b.y1), std::max(a.x2, b.x2), std::max(a.y2, b.y2)};
}

RunEnds::RunEnds(const Region& inside, const uint64_t* words, int64_t across, int64_t left) : region(inside) {
  const int64_t rows = region.y2 - region.y1;
  starts.reserve(size_t(rows) + 1);
  columns.reserve(size_t(2 * rows));
  for (int64_t y = 0; y < rows; ++y) {
    starts.push_back(uint32_t(columns.size()));
    uint64_t before = 0;
    for (int64_t k = 0; k < across; ++k) {
      const uint64_t word = words[y * across + k];
      for (uint64_t edges = word ^ (word << 1 | before); edges; edges &= edges - 1)
        columns.push_back(int32_t(left + 64 * k + std::countr_zero(edges)));
      before = word >> 63;
    }
    if (before) columns.push_back(int32_t(left + 64 * across));
  }
  starts.push_back(uint32_t(columns.size()));
}

std::vector<uint32_t> weights_of(const std::vector<double>& shares) {
  double sum = 0;
  for (double share : shares) sum += std::max(share, 0.0);
  if (!is_countable(sum)) return {};
  const int scale = weight_scale(sum);
  std::vector<uint32_t> weights(shares.size());
  for (size_t i = 0; i < shares.size(); ++i) weights[i] = weight_of(shares[i], scale);
  return weights;
}

void Tally::open(const std::vector<Vote>& votes, double threshold) {
  region_ = box_ = {};
  uint64_t total = 0;
  for (const Vote& vote : votes) {
    region_ = around(region_, vote.mask->region);
    total += vote.weight;
  }
  width_ = region_.x2 - region_.x1 + 1;
  total_ = double(total);
  threshold_ = weight_threshold(threshold, total_);
  reached_.resize(size_t(width_));
  kernel_ = dispatch([]<Target T>() { return &sum_strip<T>; });
}

void Tally::sum(const std::vector<Vote>& votes, int64_t top, uint32_t* steps) {
  std::fill_n(steps, width_ * kStrip, 0u);
  for (const Vote& vote : votes) {
    const RunEnds& mask = *vote.mask;
    const int64_t end = std::min(top + kStrip, mask.region.y2);
    for (int64_t y = std::max(top, mask.region.y1); y < end; ++y) {
      const uint32_t* starts = mask.starts.data() + (y - mask.region.y1);
      uint32_t* row = steps + (y - top) - region_.x1 * kStrip;
      for (uint32_t k = starts[0]; k < starts[1]; k += 2) {
        row[mask.columns[k] * kStrip] += vote.weight;
        row[mask.columns[k + 1] * kStrip] -= vote.weight;
      }
    }
  }
  kernel_(steps, width_, threshold_, reached_.data());
}

void Tally::count(const std::vector<Vote>& votes, double threshold) {
  open(votes, threshold);
  const int64_t strips = (region_.y2 - region_.y1 + kStrip - 1) / kStrip, size = width_ * kStrip;
  if (const auto room = size_t(checked_count("the region of a vote", {strips, size})); sums_.size() < room)
    sums_.resize(room);
  for (int64_t strip = 0; strip < strips; ++strip) {
    const int64_t top = region_.y1 + strip * kStrip;
    sum(votes, top, sums_.data() + strip * size);
    unsigned rows = 0;
    for (int64_t x = 0; x < width_; ++x) rows |= reached_[size_t(x)];
    if (rows == 0) continue;
    int64_t left = 0, right = width_;
    while (reached_[size_t(left)] == 0) ++left;
    while (reached_[size_t(right - 1)] == 0) --right;
    box_ = around(box_, {region_.x1 + left, top + std::countr_zero(rows), region_.x1 + right,
                         top + std::bit_width(rows)});
  }
}

float Tally::share(int64_t y, int64_t x) const {
  if (y < region_.y1 || y >= region_.y2 || x < region_.x1 || x >= region_.x2) return 0;
  const int64_t row = y - region_.y1, strip = row / kStrip;
  const uint32_t sum = sums_[size_t((strip * width_ + x - region_.x1) * kStrip + row % kStrip)];
  return float(double(sum + threshold_) / total_);
}

PackedMask Tally::merge(const std::vector<Vote>& votes, double threshold) {
  open(votes, threshold);
  if (region_.empty()) return {};
  const int64_t left = region_.x1 / 64, across = words_across(region_.x1, region_.x2);
  std::vector<uint64_t> words(size_t((region_.y2 - region_.y1) * across), 0);
  sums_.resize(std::max(sums_.size(), size_t(width_ * kStrip)));
  for (int64_t top = region_.y1; top < region_.y2; top += kStrip) {
    sum(votes, top, sums_.data());
    int64_t begins[kStrip];
    unsigned before = 0;
    for (int64_t x = 0; x < width_; ++x) {  // all runs have ended by the last column
      const unsigned reached = reached_[size_t(x)];
      for (unsigned edges = reached ^ before; edges; edges &= edges - 1) {
        const int row = std::countr_zero(edges);
        const int64_t column = region_.x1 + x - 64 * left;
        if (reached >> row & 1)
          begins[row] = column;
        else
          set_bits(words.data() + (top - region_.y1 + row) * across, begins[row], column);
      }
      before = reached;
    }
  }
  return tighten(words.data(), region_.y2 - region_.y1, across, region_.y1, left);
}

}  // namespace pyifcn
