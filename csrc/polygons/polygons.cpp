#include "polygons/polygons.h"

#include <algorithm>
#include <cmath>

#include "core/check.h"

namespace pyifcn {
namespace {

constexpr int64_t kFine = 5;

// The walk passes the middle of column x between 5 x + 2 and 5 x + 3.
constexpr int64_t last_before(int64_t column) { return kFine * column + 2; }

// Towards zero, as a cast does in C: pycocotools' rounding of what is not negative.
int64_t rounded(double value) { return int64_t(value + .5); }

int64_t floor_fifth(int64_t value) { return (value >= 0 ? value : value - (kFine - 1)) / kFine; }

}  // namespace

void check_coordinates(std::span<const double> coordinates) {
  for (const double value : coordinates)
    require(std::abs(value) <= kFarthest, "has the coordinate ", value, ", expected -2^28..2^28");
}

void check_corners(std::span<const double> coordinates) {
  const size_t count = coordinates.size();
  require(count >= 6 && count % 2 == 0, "has ", count, " coordinates, expected x and y of 3 points or more");
}

void PolygonDrawer::operator()(std::span<const double> coordinates, Runs& runs) {
  corners_.clear();
  int64_t left = size_.width, right = 0;
  for (size_t i = 0; i + 1 < coordinates.size(); i += 2) {
    corners_.push_back({rounded(kFine * coordinates[i]), rounded(kFine * coordinates[i + 1])});
    left = std::min(left, floor_fifth(corners_.back().x));
    right = std::max(right, floor_fifth(corners_.back().x) + 1);
  }
  left = std::max<int64_t>(left, 0);
  edges_.clear(left, std::max(left, std::min(right, size_.width)));
  for (size_t i = 0; i < corners_.size(); ++i)
    add_side(corners_[i], corners_[i + 1 < corners_.size() ? i + 1 : 0]);
  edges_.to_runs(runs);
}

// Whichever way the outline goes, a side is walked along its longer direction, rising.
void PolygonDrawer::add_side(Corner from, Corner to) {
  if (from.x == to.x) return;
  if (std::abs(to.x - from.x) >= std::abs(to.y - from.y))
    from.x < to.x ? add_flat_side(from, to) : add_flat_side(to, from);
  else
    from.y < to.y ? add_steep_side(from, to) : add_steep_side(to, from);
}

void PolygonDrawer::add_flat_side(Corner from, Corner to) {
  const double slope = double(to.y - from.y) / double(to.x - from.x);
  const int64_t end = std::min(size_.width, floor_fifth(to.x - 3) + 1);
  for (int64_t column = std::max<int64_t>(floor_fifth(from.x + 2), 0); column < end; ++column) {
    const int64_t higher = last_before(column) + (slope < 0) - from.x;  // of the two points, as a step
    add_edge(column, rounded(double(from.y) + slope * double(higher)));
  }
}

void PolygonDrawer::add_steep_side(Corner from, Corner to) {
  const int64_t steps = to.y - from.y;
  const double slope = double(to.x - from.x) / double(steps);
  const bool rising = slope > 0;
  const auto has_passed = [&](int64_t step, int64_t middle) {
    const int64_t x = rounded(double(from.x) + slope * double(step));
    return rising ? x > middle : x <= middle;
  };
  const int64_t begin = floor_fifth(std::min(from.x, to.x) + 2);
  const int64_t end = std::min(size_.width, floor_fifth(std::max(from.x, to.x) - 3) + 1);
  for (int64_t column = std::max<int64_t>(begin, 0); column < end; ++column) {
    const int64_t middle = last_before(column);
    // The first step beyond the middle: near where the line crosses it, and then exactly.
    int64_t step = int64_t((double(middle - from.x) + .5) / slope);
    step = std::clamp<int64_t>(step, 1, steps);
    while (step > 1 && has_passed(step - 1, middle)) --step;
    while (step < steps && !has_passed(step, middle)) ++step;
    add_edge(column, from.y + step - 1);
  }
}

// The first pixel of a column whose middle is not above y, in fifths.
void PolygonDrawer::add_edge(int64_t column, int64_t y) {
  edges_.add(column, std::clamp<int64_t>((y + 2) / kFine, 0, size_.height));
}

}  // namespace pyifcn
