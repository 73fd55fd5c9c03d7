#include "masks/contours.h"

#include <algorithm>
#include <bit>

namespace pyifcn {

// Corners are where an odd number of the four pixels around a grid point are set, or two that are opposite:
// there two corners lie on one another. In each row of grid points they pair up to level edges, in each
// column to upright ones.
void Tracer::find_corners_of_row(const uint64_t* above, const uint64_t* below, int64_t across, int64_t left,
                                 int64_t y) {
  int64_t level = -1;  // the corner where a level edge begins
  uint64_t above_before = 0, below_before = 0;
  for (int64_t k = 0; k <= across; ++k) {
    const uint64_t ne = k < across ? above[k] : 0, se = k < across ? below[k] : 0;
    const uint64_t nw = ne << 1 | above_before, sw = se << 1 | below_before;
    above_before = ne >> 63, below_before = se >> 63;
    const uint64_t crossings = (ne ^ se) & (nw ^ sw) & (ne ^ nw);
    for (uint64_t bits = (ne ^ se ^ nw ^ sw) | crossings; bits; bits &= bits - 1) {
      const int bit = std::countr_zero(bits);
      const int64_t column = 64 * k + bit;
      const auto is_set = [bit](uint64_t word) { return bool(word >> bit & 1); };
      const bool crosses = is_set(crossings);
      const int64_t first = add(left + column, y), second = crosses ? add(left + column, y) : first;
      if (level >= 0) is_set(sw) ? link(level, first) : link(first, level);
      level = level < 0 || crosses ? second : -1;
      int64_t& upright = open_[size_t(column)];
      if (is_set(nw) != is_set(ne)) is_set(nw) ? link(upright, first) : link(second, upright);
      if (is_set(sw) != is_set(se)) upright = is_set(se) ? second : first;
    }
  }
}

void Tracer::find_corners(const MaskView& mask) {
  const int64_t across = mask.across(), left = mask.x1 / 64 * 64;
  const std::vector<uint64_t> nothing(size_t(across), 0);
  corners_.clear();
  row_starts_.clear();
  open_.resize(size_t(64 * across + 1));
  for (int64_t row = 0; row <= mask.rows(); ++row) {
    row_starts_.push_back(int64_t(corners_.size()));
    const uint64_t* above = row > 0 ? mask.words + (row - 1) * across : nothing.data();
    const uint64_t* below = row < mask.rows() ? mask.words + row * across : nothing.data();
    find_corners_of_row(above, below, across, left, mask.y1 + row);
  }
  row_starts_.push_back(int64_t(corners_.size()));
}

// A ring's first corner is its upper left one. An outer ring leaves it to the right, a hole's downwards.
void Tracer::find_rings(const MaskView& mask) {
  is_seen_.assign(corners_.size(), 0);
  outer_.clear();
  holes_.clear();
  for (size_t i = 0; i < corners_.size(); ++i) {
    if (is_seen_[i]) continue;
    const auto first = int64_t(i);
    int64_t last = first;
    for (int64_t at = first; !is_seen_[size_t(at)]; at = corners_[size_t(at)].next) {
      is_seen_[size_t(at)] = 1;
      last = at;
    }
    if (corners_[size_t(corners_[i].next)].y == corners_[i].y)
      outer_.push_back(first);
    else
      holes_.push_back({edge_above(mask, corners_[i]), first, last});
  }
}

// The edge, run through to the right, that is met first on the way up from a hole's first corner.
int64_t Tracer::edge_above(const MaskView& mask, const Corner& corner) const {
  const int64_t across = mask.across();
  const uint64_t* word = mask.words + corner.x / 64 - mask.x1 / 64;
  int64_t row = corner.y - 1 - mask.y1;
  while (row > 0 && word[(row - 1) * across] >> corner.x % 64 & 1) --row;
  const auto begin = corners_.begin() + row_starts_[size_t(row)];
  const auto end = corners_.begin() + row_starts_[size_t(row + 1)];
  const auto behind =
      std::upper_bound(begin, end, corner.x, [](int32_t x, const Corner& other) { return x < other.x; });
  return behind - corners_.begin() - 1;
}

void Tracer::join_holes() {
  std::sort(holes_.begin(), holes_.end(), [&](const Hole& a, const Hole& b) {
    if (a.edge != b.edge) return a.edge < b.edge;
    return corners_[size_t(a.first)].x < corners_[size_t(b.first)].x;
  });
  int64_t edge = -1, from = -1;
  for (const Hole& hole : holes_) {
    if (hole.edge != edge) edge = from = hole.edge;
    const Corner head = corners_[size_t(from)], foot = corners_[size_t(hole.first)];
    const int64_t up = add(foot.x, head.y, head.next);
    link(from, add(foot.x, head.y, hole.first));
    link(hole.last, add(foot.x, foot.y, up));
    from = up;
  }
}

void Tracer::append_ring(int64_t first, Rings& rings) const {
  std::vector<int32_t>& to = rings.numbers;
  const size_t begin = to.size();
  int64_t at = first;
  do {
    const Corner& corner = corners_[size_t(at)];
    at = corner.next;
    const size_t count = to.size() - begin;
    if (count >= 2 && to[to.size() - 2] == corner.x && to.back() == corner.y) continue;
    if (count >= 4 && to[to.size() - 4] == to[to.size() - 2] && to[to.size() - 2] == corner.x &&
        (to[to.size() - 3] < to.back()) == (to.back() < corner.y)) {
      to.back() = corner.y;  // straight on, where a bridge goes on along an edge
      continue;
    }
    to.push_back(corner.x);
    to.push_back(corner.y);
  } while (at != first);
  rings.ends.push_back(to.size());
}

Rings Tracer::trace(const MaskView& mask) {
  Rings rings;
  if (mask.rows() == 0) return rings;
  find_corners(mask);
  find_rings(mask);
  join_holes();
  rings.numbers.reserve(2 * corners_.size());
  for (const int64_t first : outer_) append_ring(first, rings);
  return rings;
}

}  // namespace pyifcn
