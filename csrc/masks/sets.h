// Union, intersection and difference of masks, word by word.
#pragma once

#include <cstdint>

#include "core/target.h"

namespace pyifcn {

enum class SetOp { copy, unite, intersect, subtract };

// to = to op from, for rectangles of words whose rows are `to_across` and `from_across` words apart. They do
// not overlap.
template <Target T>
void combine_rows(SetOp op, uint64_t* to, int64_t to_across, const uint64_t* from, int64_t from_across,
                  int64_t rows, int64_t across);

}  // namespace pyifcn
