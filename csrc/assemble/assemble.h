// Assembling instance masks from K x K instance-sensitive score maps (Dai et al. 2016, section 3).
//
// Pixel (i, j) of the window centred at (y, x) is maps[cell(i) K + cell(j)] at (y - size/2 + i, x - size/2 +
// j), and pad outside the map. Forward moves elements without reading them, so that E is an unsigned integer
// of their size.
#pragma once

#include <cstdint>

#include "core/target.h"
#include "core/view.h"

namespace pyifcn {

template <class E>
struct AssembleJob {
  View<const E, 4> maps;           // (B, K K, H, W)
  View<const int64_t, 2> windows;  // (N, 3): image, y, x
  View<E, 3> out;                  // (N, size, size)
  const int32_t* cells;            // (size,) cell of each row and of each column
  int64_t grid;                    // K
  E pad;
};

// Windows [begin, end).
template <Target T, class E>
void assemble(const AssembleJob<E>& job, int64_t begin, int64_t end);

template <class E>
struct AssembleDenseJob {
  View<const E, 3> maps;  // (K K, H + size - 1, W + size - 1): one image, padded on all sides
  View<E, 4> out;         // (H, W, size, size)
  const int32_t* cells;
  int64_t grid;
};

// Every window of rows [begin, end).
template <Target T, class E>
void assemble_dense(const AssembleDenseJob<E>& job, int64_t begin, int64_t end);

template <class E>  // float or double
struct AssembleBackwardJob {
  View<const E, 3> grad_out;       // (N, size, size)
  View<const int64_t, 2> windows;  // (N, 3), or data == nullptr: every window, row-major
  View<E, 4> grad_maps;            // (B, K K, H, W), zeros
  const int32_t* cells;
  int64_t grid;
};

// Adds up maps [begin, end) of the B K K there are. Each element is summed in the order of the windows, so
// the answer is the same on every target and with any number of threads.
template <Target T, class E>
void assemble_backward(const AssembleBackwardJob<E>& job, int64_t begin, int64_t end);

}  // namespace pyifcn
