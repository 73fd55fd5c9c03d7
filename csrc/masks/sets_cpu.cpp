// Words are read and written once, in order: memory is what limits this, but for narrow masks, where it is
// the start of each row.
#include "masks/sets.h"

namespace pyifcn {
namespace {

template <class Combine>
PYIFCN_INLINE void each_word(uint64_t* to, int64_t to_across, const uint64_t* from, int64_t from_across,
                             int64_t rows, int64_t across, Combine combine) {
  if (to_across == across && from_across == across) {
    across *= rows;
    rows = 1;
  }
  for (int64_t row = 0; row < rows; ++row, to += to_across, from += from_across) {
    uint64_t* __restrict here = to;
    for (int64_t k = 0; k < across; ++k) here[k] = combine(here[k], from[k]);
  }
}

}  // namespace

template <>
void combine_rows<kTarget>(SetOp op, uint64_t* to, int64_t to_across, const uint64_t* from,
                           int64_t from_across, int64_t rows, int64_t across) {
  const auto each = [=](auto combine) { each_word(to, to_across, from, from_across, rows, across, combine); };
  switch (op) {
    case SetOp::copy:
      return each([](uint64_t, uint64_t b) { return b; });
    case SetOp::unite:
      return each([](uint64_t a, uint64_t b) { return a | b; });
    case SetOp::intersect:
      return each([](uint64_t a, uint64_t b) { return a & b; });
    case SetOp::subtract:
      return each([](uint64_t a, uint64_t b) { return a & ~b; });
  }
}

}  // namespace pyifcn
