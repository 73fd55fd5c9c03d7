// Pasting of soft masks into boxes of an image: bilinear interpolation, compared with a threshold.
//
// Along a row of pixels the interpolated value is a line between each two neighbouring cells of the mask, in
// floating point too: a + w (b - a) is monotonic in w. So the pixels between the same two cells, a span, are
// all set, all clear, or change once; a row costs what its spans cost, however many pixels they have.
#pragma once

#include <cstdint>

#include "core/target.h"

namespace pyifcn {

// Cells are counted with the ring of zeros that lies around the mask: cell 0 is a zero, 1 the mask's first.
template <class E>
struct PasteJob {
  const E* mask;          // (height, width)
  int64_t height, width;  // in cells, without the ring
  E above;                // a pixel is set where its value is above; at least minus the smallest number

  // Pixel row top + i lies between cells row_cells[i] and row_cells[i] + 1, whose weight is row_weights[i].
  int64_t top, rows;
  const int32_t* row_cells;
  const E* row_weights;

  // Span s, pixel columns [starts[s], starts[s + 1]), lies between cells span_cells[s] and span_cells[s] + 1,
  // whose weight rises or falls from first_weights[s] to last_weights[s]; weights[x - starts[0]] is that of
  // column x. kPasteSlack more of each can be read.
  int64_t spans;
  const int32_t *starts, *span_cells;
  const E *first_weights, *last_weights, *weights;

  E* scratch;  // paste_scratch(width, spans)
};

constexpr int64_t kPasteSlack = 16;  // the lanes of the longest vector

// Elements for a row of cells, and for two rows and their blend, each of the two ends of all spans.
constexpr int64_t paste_scratch(int64_t width, int64_t spans) {
  return width + 3 + 6 * (spans + kPasteSlack);
}

// The tight half-open box of pixels that are set; empty: all 0.
struct PastedBox {
  int32_t x1, y1, x2, y2;
};

template <Target T, class E>
PastedBox paste_extent(const PasteJob<E>& job);

// Sets bits: words (y2 - y1, across) of zeros are those of the image's 64-pixel grid that cover the extent.
template <Target T, class E>
void paste_bits(const PasteJob<E>& job, const PastedBox& extent, uint64_t* words);

// Writes ones into an image of bytes that are zeros, `pitch` bytes a row.
template <Target T, class E>
void paste_bytes(const PasteJob<E>& job, uint8_t* image, int64_t pitch);

// Writes the values, times 255 and cut to whole numbers of 0..255.
template <Target T, class E>
void paste_soft(const PasteJob<E>& job, uint8_t* image, int64_t pitch);

// Writes the values as they are, NaN and infinities too, `pitch` elements a row.
template <Target T, class E>
void paste_values(const PasteJob<E>& job, E* image, int64_t pitch);

}  // namespace pyifcn
