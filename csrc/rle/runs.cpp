#include "rle/runs.h"

#include <algorithm>
#include <cstring>

#include "core/check.h"

namespace pyifcn {
namespace {

// Writes runs as long as they fit into the image.
class RunsWriter {
public:
  // There will be at most `most` runs: as many as there are characters or numbers to read.
  RunsWriter(ImageSize size, size_t most, Runs& runs) : size_(size), left_(size.pixels()), runs_(runs) {
    runs.resize(most);
  }

  void add(int64_t run) {
    if (run < 0 || run > left_) [[unlikely]]
      refuse(run);
    left_ -= run;
    runs_[count_++] = uint32_t(run);
  }

  int64_t two_before() const { return count_ > 2 ? runs_[count_ - 2] : 0; }

  void end() {
    require(left_ == 0, "counts sum to ", size_.pixels() - left_, ", not ", size_.height, " * ", size_.width);
    runs_.resize(count_);
  }

private:
  [[noreturn]] void refuse(int64_t run) const {
    require(run >= 0, "a negative run");
    throw std::invalid_argument(sentence("counts sum to ",
                                         size_.pixels() - left_ + std::min(run, kMostPixels),
                                         " or more, not ", size_.height, " * ", size_.width));
  }

  const ImageSize size_;
  int64_t left_;  // pixels
  Runs& runs_;
  size_t count_ = 0;
};

// Reads a number, whose first character is at `at`, and leaves `at` behind it.
int64_t read_number(std::string_view code, size_t& at) {
  int64_t value = 0;
  for (int shift = 0;; shift += 5) {
    const uint32_t digit = at < code.size() ? uint32_t(uint8_t(code[at++])) - 48 : 64;
    require(digit < 64, "counts is not a run-length string");
    require(shift < 40, "counts holds a number over 40 bits");
    value |= int64_t(digit & 31) << shift;
    if (!(digit & 32)) return digit & 16 ? value - (int64_t(32) << shift) : value;
  }
}

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

void parse_runs(std::string_view code, ImageSize size, Runs& runs) {
  RunsWriter writer(size, code.size(), runs);
  for (size_t at = 0; at < code.size();) writer.add(read_number(code, at) + writer.two_before());
  writer.end();
}

void check_runs(std::span<const int64_t> numbers, ImageSize size, Runs& runs) {
  RunsWriter writer(size, numbers.size(), runs);
  for (const int64_t run : numbers) writer.add(run);
  writer.end();
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
  int64_t top = 0;  // the pixel at the top of the column that was reached
  visit_foreground(runs, [&](int64_t begin, int64_t stop) {
    if (first < 0) first = begin / height;
    end = stop;
    if (begin >= top + height) top = begin < top + 2 * height ? top + height : begin / height * height;
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
