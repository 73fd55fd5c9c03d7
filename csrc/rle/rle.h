// COCO's run-length codes: runs of background and foreground in turn, down the columns, left to right. As a
// string each run is written in digits of 5 bits from '0' on, lowest first; bit 5 means that another digit
// follows, and bit 4 of the last is the sign. From the fourth run on it is the difference to the run two
// before.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "masks/packed.h"

namespace pyifcn {

class RleEncoder {
public:
  RleEncoder(int64_t height, int64_t width) : height_(height), width_(width) {}

  std::string encode(const MaskView& mask);

private:
  void find_edges(const MaskView& mask);

  const int64_t height_, width_;
  std::vector<int64_t> ends_;   // by column: where its edges end in rows_
  std::vector<int32_t> rows_;   // of each edge
  std::vector<int64_t> edges_;  // pixels, counted down the columns, that differ from the one before
};

// The runs of a string. Throws what becomes a ValueError.
std::vector<int64_t> parse_runs(std::string_view code);

// The mask of runs, which must sum to the image's pixels; nothing is allocated before that is known.
PackedMask decode_runs(const std::vector<int64_t>& runs, int64_t height, int64_t width);

}  // namespace pyifcn
