// COCO's run-length codes, without Python: runs of background and foreground in turn, down the columns, left
// to right. As a string each run is written in digits of 5 bits from '0' on, lowest first; bit 5 means that
// another digit follows, and bit 4 of the last is the sign. From the fourth run on it is the difference to
// the run two before.
//
// Readers take any input: what is malformed throws std::invalid_argument, which becomes a ValueError.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "core/check.h"

namespace pyifcn {

using Runs = std::vector<uint32_t>;
using RunsSpan = std::span<const uint32_t>;

inline constexpr int64_t kMostPixels = (int64_t(1) << 32) - 1;  // what a run can count

struct ImageSize {
  int64_t height, width;

  int64_t pixels() const { return height * width; }
};

// Throws unless the sides are not negative and the pixels can be counted.
inline void check_size(ImageSize size) {
  const auto [height, width] = size;
  require(height >= 0 && width >= 0 && (height == 0 || width <= kMostPixels / height), "size is ", height,
          " x ", width, ", expected at most 2^32 - 1 pixels");
}

// The runs of a string or of numbers, which must sum to the image's pixels.
void parse_runs(std::string_view code, ImageSize size, Runs& runs);
void check_runs(std::span<const int64_t> numbers, ImageSize size, Runs& runs);

void append_code(RunsSpan runs, std::string& code);

int64_t area_of(RunsSpan runs);

// Half-open; all 0 where there is no foreground.
struct RunsBox {
  int64_t x1, y1, x2, y2;
};
RunsBox box_of(RunsSpan runs, int64_t height);

// Sets the foreground of `pixels`, column by column, to 1. The caller has made sure of the runs' sum.
void fill_runs(RunsSpan runs, uint8_t* pixels);

// The union or the intersection of two masks of an image, in as many runs as pycocotools gives.
void merge_runs(RunsSpan a, RunsSpan b, bool intersect, Runs& merged);

// Calls visit(begin, end) for each run of foreground pixels that is not empty.
template <class Visit>
void visit_foreground(RunsSpan runs, Visit visit) {
  int64_t begin = 0;
  for (size_t i = 1; i < runs.size(); i += 2) {
    begin += runs[i - 1];
    if (runs[i] > 0) visit(begin, begin + runs[i]);
    begin += runs[i];
  }
}

// Where the pixels of a mask change, down its columns, collected in any order and read as runs.
class Edges {
public:
  explicit Edges(ImageSize size) : size_(size) {}

  // Forgets all; the next lie in the columns [left, right).
  void clear(int64_t left, int64_t right);

  // The pixels of column x from row y on, y <= height, change sides. Each column has an even number of these.
  void add(int64_t x, int64_t y) {
    ++ends_[size_t(x - left_ + 1)];
    found_.push_back({int32_t(x - left_), int32_t(y)});
  }

  void to_runs(Runs& runs);

private:
  struct Edge {
    int32_t column, row;
  };

  void sort_by_column();

  const ImageSize size_;
  int64_t left_ = 0;
  std::vector<Edge> found_;
  std::vector<int64_t> ends_;  // by column: how many edges, then where they end in rows_
  std::vector<int32_t> rows_;
  std::vector<int64_t> pixels_;  // that differ from the one before, counted down the columns
};

}  // namespace pyifcn
