// The outlines of masks along the edges of pixels, as COCO's polygons.
#pragma once

#include <vector>

#include "masks/packed.h"

namespace pyifcn {

// Rings of corners: x, y, x, y, ... Ring i ends before number ends[i].
struct Rings {
  std::vector<int32_t> numbers;
  std::vector<size_t> ends;
};

// Follows the outlines of one mask after another. The inside lies to the right: outer rings run clockwise, as
// seen on the screen. Pixels that share a corner alone do not touch.
class Tracer {
public:
  // One ring for each part of the mask, from its first corner on. Its holes are joined to it by a bridge of
  // no width, straight up from each hole's first corner, so that an even number of edges is left of each
  // pixel outside. No corner lies on the straight way from the one before to the one behind it.
  Rings trace(const MaskView& mask);

private:
  struct Corner {
    int32_t x, y;
    int64_t next;
  };
  struct Hole {
    int64_t edge;         // the corner that begins the edge above
    int64_t first, last;  // corners, in the order in which they are run through
  };

  void find_corners(const MaskView& mask);
  void find_corners_of_row(const uint64_t* above, const uint64_t* below, int64_t across, int64_t left,
                           int64_t y);
  void find_rings(const MaskView& mask);
  int64_t edge_above(const MaskView& mask, const Corner& corner) const;
  void join_holes();
  void append_ring(int64_t first, Rings& rings) const;

  int64_t add(int64_t x, int64_t y, int64_t next = -1) {
    corners_.push_back({int32_t(x), int32_t(y), next});
    return int64_t(corners_.size()) - 1;
  }
  void link(int64_t from, int64_t to) { corners_[size_t(from)].next = to; }

  std::vector<Corner> corners_;      // row by row, left to right
  std::vector<int64_t> row_starts_;  // the first corner of each row
  std::vector<int64_t> open_;        // by column: the corner where an upright edge begins
  std::vector<uint8_t> is_seen_;
  std::vector<int64_t> outer_;  // the first corner of each outer ring
  std::vector<Hole> holes_;
};

}  // namespace pyifcn
