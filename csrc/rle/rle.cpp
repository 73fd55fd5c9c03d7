#include "rle/rle.h"

#include <algorithm>
#include <bit>

namespace pyifcn {
namespace {

// Calls visit(column, row) for each pixel of a mask that differs from the one above, row by row; the first
// column is that of bit 0 of the mask's first word.
template <class Visit>
void visit_edges(const MaskView& mask, Visit visit) {
  const int64_t across = mask.across(), rows = mask.rows();
  for (int64_t row = 0; row <= rows; ++row)
    for (int64_t k = 0; k < across; ++k) {
      const uint64_t above = row > 0 ? mask.words[(row - 1) * across + k] : 0;
      const uint64_t here = row < rows ? mask.words[row * across + k] : 0;
      for (uint64_t edges = above ^ here; edges; edges &= edges - 1)
        visit(64 * k + std::countr_zero(edges), mask.y1 + row);
    }
}

void append_number(std::string& code, int64_t value) {
  for (;;) {
    const int64_t digit = value & 31;
    value >>= 5;
    const bool last = value == (digit & 16 ? -1 : 0);
    code.push_back(char(48 + digit + (last ? 0 : 32)));
    if (last) return;
  }
}

}  // namespace

// Edges come row by row and are wanted by column: they are counted, then placed.
void RleEncoder::find_edges(const MaskView& mask) {
  const int64_t columns = 64 * mask.across(), left = mask.x1 / 64 * 64;
  ends_.assign(size_t(columns + 1), 0);
  visit_edges(mask, [&](int64_t column, int64_t) { ++ends_[size_t(column + 1)]; });
  for (int64_t column = 0; column < columns; ++column) ends_[size_t(column + 1)] += ends_[size_t(column)];
  rows_.resize(size_t(ends_.back()));
  visit_edges(mask,
              [&](int64_t column, int64_t row) { rows_[size_t(ends_[size_t(column)]++)] = int32_t(row); });
  edges_.clear();
  int64_t n = 0;
  for (int64_t column = 0; column < columns; ++column)
    for (; n < ends_[size_t(column)]; ++n) {
      const int64_t edge = (left + column) * height_ + rows_[size_t(n)];
      if (!edges_.empty() && edges_.back() == edge)
        edges_.pop_back();  // a run that goes on from the foot of a column to the top of the next
      else
        edges_.push_back(edge);
    }
}

std::string RleEncoder::encode(const MaskView& mask) {
  find_edges(mask);
  const int64_t pixels = height_ * width_;
  if (edges_.empty() || edges_.back() != pixels) edges_.push_back(pixels);
  std::string code;
  code.reserve(2 * edges_.size());
  int64_t start = 0;
  for (size_t i = 0; i < edges_.size(); ++i) {
    const int64_t run = edges_[i] - start;
    start = edges_[i];
    edges_[i] = run;  // read again two runs on
    append_number(code, i > 2 ? run - edges_[i - 2] : run);
  }
  return code;
}

std::vector<int64_t> parse_runs(std::string_view code) {
  std::vector<int64_t> runs;
  for (size_t at = 0; at < code.size();) {
    int64_t value = 0;
    int shift = 0;
    for (bool more = true; more; ++at, shift += 5) {
      const int64_t digit = at < code.size() ? int64_t(uint8_t(code[at])) - 48 : -1;
      require(digit >= 0 && digit < 64, "counts is not a run-length string");
      require(shift < 40, "counts holds a number over 40 bits");
      value |= (digit & 31) << shift;
      more = digit & 32;
      if (!more && digit & 16) value -= int64_t(32) << shift;
    }
    if (runs.size() > 2) value += runs[runs.size() - 2];
    require(value >= 0, "a negative run");
    require(value < int64_t(1) << 40, "counts holds a number over 40 bits");
    runs.push_back(value);
  }
  return runs;
}

PackedMask decode_runs(const std::vector<int64_t>& runs, int64_t height, int64_t width) {
  const int64_t pixels = height * width;
  int64_t sum = 0;
  for (const int64_t run : runs) {
    require(run >= 0, "a negative run");
    require(run <= pixels - sum, "counts sum to ", sum + run, " or more, not ", height, " * ", width);
    sum += run;
  }
  require(sum == pixels, "counts sum to ", sum, ", not ", height, " * ", width);

  const auto visit_foreground = [&](auto visit) {
    int64_t begin = 0;
    for (size_t i = 1; i < runs.size(); i += 2) {
      begin += runs[i - 1];
      if (runs[i] > 0) visit(begin, begin + runs[i]);
      begin += runs[i];
    }
  };
  int64_t x1 = width, y1 = height, x2 = 0, y2 = 0;
  visit_foreground([&](int64_t begin, int64_t end) {
    const int64_t first = begin / height, last = (end - 1) / height;
    x1 = std::min(x1, first);
    x2 = std::max(x2, last + 1);
    y1 = std::min(y1, first == last ? begin - first * height : 0);
    y2 = std::max(y2, first == last ? end - first * height : height);
  });
  PackedMask mask;
  if (x1 >= x2) return mask;
  const int64_t across = words_across(x1, x2), left = x1 / 64 * 64;
  mask.box[0] = int32_t(x1), mask.box[1] = int32_t(y1), mask.box[2] = int32_t(x2), mask.box[3] = int32_t(y2);
  mask.words.assign(size_t((y2 - y1) * across), 0);

  // First the bits that differ from the one above, then a running sum, modulo 2, down the columns.
  const auto flip = [&](int64_t x, int64_t y) {
    if (y < y2) mask.words[size_t((y - y1) * across + (x - left) / 64)] ^= uint64_t(1) << (x - left) % 64;
  };
  visit_foreground([&](int64_t begin, int64_t end) {
    for (int64_t x = begin / height; begin < end; ++x) {
      const int64_t top = x * height, bottom = std::min(end - top, height);
      flip(x, begin - top);
      flip(x, bottom);
      begin = top + bottom;
    }
  });
  for (size_t i = size_t(across); i < mask.words.size(); ++i) mask.words[i] ^= mask.words[i - size_t(across)];
  return mask;
}

}  // namespace pyifcn
