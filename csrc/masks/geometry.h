// Rows of bits moved and mirrored.
#pragma once

#include <cstdint>

#include "core/target.h"

namespace pyifcn {

// Rows of `from_across` words to rows of `to_across` words. Bit i of a row of `to` is bit `shift` + i of that
// row of `from`, and 0 where there is none. All of `to` is written.
template <Target T>
void shift_rows(const uint64_t* from, int64_t from_across, int64_t rows, int64_t shift, uint64_t* to,
                int64_t to_across);

// The same mirrored: bit i of a row of `to` is bit `last` - i of that row of `from`.
template <Target T>
void mirror_rows(const uint64_t* from, int64_t from_across, int64_t rows, int64_t last, uint64_t* to,
                 int64_t to_across);

}  // namespace pyifcn
