// Filled polygons, as run-length codes: pixel for pixel what pycocotools draws. It walks the outline on a
// grid five times as fine, rounds each of its points, and takes the points at which the walk passes the
// middle of a column of pixels: an edge of the mask lies there, between the pixels whose middles are above
// and below.
//
// Here each side of the polygon is asked for those points alone, so the work follows the columns of the image
// that it spans, however far it reaches outside.
#pragma once

#include <span>

#include "rle/runs.h"

namespace pyifcn {

inline constexpr double kFarthest = 1 << 28;  // pixels from the origin; products with 5 fit in an int

// Throws unless all coordinates are finite and no further than that.
void check_coordinates(std::span<const double> coordinates);

// Throws unless there are the x and y of 3 points or more.
void check_corners(std::span<const double> coordinates);

class PolygonDrawer {
public:
  explicit PolygonDrawer(ImageSize size) : size_(size), edges_(size) {}

  // x0 y0 x1 y1 ... of checked coordinates; a last one without a partner is left out.
  void operator()(std::span<const double> coordinates, Runs& runs);

private:
  struct Corner {
    int64_t x, y;  // in fifths of a pixel
  };

  void add_side(Corner from, Corner to);
  void add_flat_side(Corner from, Corner to);
  void add_steep_side(Corner from, Corner to);
  void add_edge(int64_t column, int64_t y);

  const ImageSize size_;
  std::vector<Corner> corners_;
  Edges edges_;
};

}  // namespace pyifcn
