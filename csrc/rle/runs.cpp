#include "rle/runs.h"

#include <algorithm>
#include <cstring>

#include "core/check.h"

namespace pyifcn {
namespace {

// Appends runs as long as they fit into the image: nothing grows beyond what was read.
class RunsChecker {
public:
  RunsChecker(ImageSize size, Runs& runs) : size_(size), runs_(runs) { runs.clear(); }

  void add(int64_t run) {
    require(run >= 0, "a negative run");
    require(run <= size_.pixels() - sum_, "counts sum to ", sum_ + std::min(run, kMostPixels),
            " or more, not ", size_.height, " * ", size_.width);
    sum_ += run;
    runs_.push_back(uint32_t(run));
  }

  void end() const {
    require(sum_ == size_.pixels(), "counts sum to ", sum_, ", not ", size_.height, " * ", size_.width);
  }

private:
  const ImageSize size_;
  Runs& runs_;
  int64_t sum_ = 0;
};

void append_number(int64_t value, std::string& code) {
  for (;;) {
    const int64_t digit = value & 31;
    value >>= 5;
    const bool last = value == (digit & 16 ? -1 : 0);
    code.push_back(char(48 + digit + (last ? 0 : 32)));
    if (last) return;
  }
}

// One of two masks that are walked together.
class Walk {
public:
  explicit Walk(RunsSpan runs) : runs_(runs), left_(runs.empty() ? 0 : runs[0]) {}

  uint32_t left() const { return left_; }  // of the run
  bool inside() const { return inside_; }
  void go(uint32_t count) {
    left_ -= count;
    if (left_ > 0 || next_ >= runs_.size()) return;
    left_ = runs_[next_++];
    inside_ = !inside_;
  }

private:
  const RunsSpan runs_;
  uint32_t left_;
  size_t next_ = 1;
  bool inside_ = false;
};

int64_t sum_of(RunsSpan runs) {
  int64_t sum = 0;
  for (const uint32_t run : runs) sum += run;
  return sum;
}

}  // namespace

void check_size(ImageSize size) {
  const auto [height, width] = size;
  require(height >= 0 && width >= 0 && (height == 0 || width <= kMostPixels / height), "size is ", height,
          " x ", width, ", expected at most 2^32 - 1 pixels");
}

void parse_runs(std::string_view code, ImageSize size, Runs& runs) {
  RunsChecker checker(size, runs);
  for (size_t at = 0; at < code.size();) {
    int64_t value = 0;
    int shift = 0;
    for (bool more = true; more; ++at, shift += 5) {
      const uint32_t digit = at < code.size() ? uint32_t(uint8_t(code[at])) - 48 : 64;
      require(digit < 64, "counts is not a run-length string");
      require(shift < 40, "counts holds a number over 40 bits");
      value |= int64_t(digit & 31) << shift;
      more = digit & 32;
      if (!more && digit & 16) value -= int64_t(32) << shift;
    }
    if (runs.size() > 2) value += runs[runs.size() - 2];
    checker.add(value);
  }
  checker.end();
}

void check_runs(std::span<const int64_t> numbers, ImageSize size, Runs& runs) {
  RunsChecker checker(size, runs);
  for (const int64_t run : numbers) checker.add(run);
  checker.end();
}

void append_code(RunsSpan runs, std::string& code) {
  for (size_t i = 0; i < runs.size(); ++i)
    append_number(i > 2 ? int64_t(runs[i]) - int64_t(runs[i - 2]) : runs[i], code);
}

int64_t area_of(RunsSpan runs) {
  int64_t area = 0;
  for (size_t i = 1; i < runs.size(); i += 2) area += runs[i];
  return area;
}

RunsBox box_of(RunsSpan runs, int64_t height) {
  int64_t first = -1, end = 0, y1 = height, y2 = 0;
  visit_foreground(runs, [&](int64_t begin, int64_t stop) {
    if (first < 0) first = begin / height;
    end = stop;
    const int64_t top = begin / height * height;
    const bool one_column = stop <= top + height;
    y1 = std::min(y1, one_column ? begin - top : 0);
    y2 = std::max(y2, one_column ? stop - top : height);
  });
  if (first < 0) return {0, 0, 0, 0};
  return {first, y1, (end - 1) / height + 1, y2};
}

void fill_runs(RunsSpan runs, uint8_t* pixels) {
  visit_foreground(runs,
                   [&](int64_t begin, int64_t end) { std::memset(pixels + begin, 1, size_t(end - begin)); });
}

void merge_runs(RunsSpan a, RunsSpan b, bool intersect, Runs& merged) {
  merged.clear();
  Walk walk_a(a), walk_b(b);
  bool inside = false;
  uint32_t run = 0;
  int64_t left = sum_of(a);
  require(sum_of(b) == left, "masks of ", left, " and ", sum_of(b), " pixels");
  for (;;) {
    const uint32_t step = std::min(walk_a.left(), walk_b.left());
    run += step, left -= step;
    walk_a.go(step), walk_b.go(step);
    const bool before = inside;
    inside = intersect ? walk_a.inside() && walk_b.inside() : walk_a.inside() || walk_b.inside();
    if (inside != before || left == 0) {
      merged.push_back(run);
      run = 0;
    }
    if (left == 0) return;
  }
}

void Edges::clear(int64_t left, int64_t right) {
  left_ = left;
  ends_.assign(size_t(right - left + 1), 0);
  found_.clear();
}

void Edges::sort_by_column() {
  for (size_t column = 1; column < ends_.size(); ++column) ends_[column] += ends_[column - 1];
  rows_.resize(found_.size());
  for (const auto [column, row] : found_) rows_[size_t(ends_[size_t(column)]++)] = row;
}

void Edges::to_runs(Runs& runs) {
  sort_by_column();
  pixels_.clear();
  int64_t begin = 0;
  for (size_t column = 0; column + 1 < ends_.size(); ++column) {
    const int64_t top = (left_ + int64_t(column)) * size_.height;
    std::sort(rows_.begin() + begin, rows_.begin() + ends_[column]);
    for (; begin < ends_[column]; ++begin) {
      const int64_t pixel = top + rows_[size_t(begin)];
      if (!pixels_.empty() && pixels_.back() == pixel)
        pixels_.pop_back();  // two edges in one place, or a run that goes on at the top of the next column
      else
        pixels_.push_back(pixel);
    }
  }
  const int64_t last = size_.pixels();
  if (pixels_.empty() || pixels_.back() != last) pixels_.push_back(last);
  runs.resize(pixels_.size());
  int64_t start = 0;
  for (size_t i = 0; i < pixels_.size(); ++i) {
    runs[i] = uint32_t(pixels_[i] - start);
    start = pixels_[i];
  }
}

}  // namespace pyifcn
