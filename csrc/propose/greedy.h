// The search for one image's proposals, on binarised maps.
#pragma once

#include <cstdint>
#include <vector>

namespace pyifcn {

// How a window of size x size cells is cut from K x K binary maps.
class WindowShape {
public:
  WindowShape(int64_t size, int64_t grid, std::vector<int32_t> cells);

  int64_t size() const { return size_; }

  // Words that must be readable before the first of a level's maps and after the last.
  int64_t words_before() const { return size_ / 128 + 1; }
  int64_t words_after() const { return size_ / 64 + 2; }

private:
  friend class BinaryMaps;

  // Word k of a window's row: the cells that it meets, and which of its bits are theirs.
  struct RowWord {
    int64_t first_cell;
    std::vector<uint64_t> bits;
  };

  int64_t size_, grid_;
  std::vector<int32_t> cells_;
  std::vector<RowWord> row_words_;
};

// In cells of the window, half-open; empty if x1 >= x2.
struct CellBox {
  int64_t x1, y1, x2, y2;
};

// One image's K x K maps of one level, one bit a logit.
class BinaryMaps {
public:
  // The maps begin at bit `first` of `words`.
  BinaryMaps(const uint64_t* words, int64_t first, int64_t height, int64_t width)
      : words_(words), first_(first), height_(height), width_(width) {}

  int64_t height() const { return height_; }
  int64_t width() const { return width_; }

  // The tight box of the mask that is assembled in the window centred at (y, x).
  CellBox tight_box(const WindowShape& shape, int64_t y, int64_t x) const;

private:
  const uint64_t* words_;
  int64_t first_, height_, width_;
};

struct Level {
  BinaryMaps maps;
  float stride;
};

// A window and its objectness as a number that falls as the logit rises.
struct Candidate {
  uint64_t rank;
  int64_t window;  // counts over all levels, row-major

  friend bool operator<(const Candidate& a, const Candidate& b) {
    return a.rank != b.rank ? a.rank < b.rank : a.window < b.window;
  }
};

struct Proposal {
  uint64_t rank;
  int64_t level, y, x;
  float box[4];  // x1 y1 x2 y2 in image pixels, not clipped
};

// The best `most` candidates whose boxes no better one suppresses, best first. Reorders `candidates`.
std::vector<Proposal> search(std::vector<Candidate>& candidates, const std::vector<Level>& levels,
                             const WindowShape& shape, double iou_threshold, int64_t most);

}  // namespace pyifcn
