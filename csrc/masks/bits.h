// Runs in rows of bits.
#pragma once

#include <bit>
#include <cstdint>

namespace pyifcn {

// Calls visit(begin, end) for each run of ones in a row of words, in order.
template <class Visit>
void visit_runs(const uint64_t* words, int64_t across, Visit visit) {
  int64_t begin = -1;
  uint64_t before = 0;
  for (int64_t k = 0; k < across; ++k) {
    for (uint64_t changes = words[k] ^ (words[k] << 1 | before); changes; changes &= changes - 1) {
      const int64_t at = 64 * k + std::countr_zero(changes);
      if (begin >= 0) visit(begin, at);
      begin = begin < 0 ? at : -1;
    }
    before = words[k] >> 63;
  }
  if (begin >= 0) visit(begin, 64 * across);
}

// Sets bits [begin, end) of a row of words; begin < end.
inline void set_bits(uint64_t* words, int64_t begin, int64_t end) {
  const uint64_t from = ~uint64_t(0) << begin % 64, to = ~uint64_t(0) >> (63 - (end - 1) % 64);
  uint64_t *word = words + begin / 64, *last = words + (end - 1) / 64;
  if (word == last) {
    *word |= from & to;
    return;
  }
  *word++ |= from;
  while (word < last) *word++ = ~uint64_t(0);
  *last |= to;
}

}  // namespace pyifcn
