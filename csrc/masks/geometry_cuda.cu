// Moved and mirrored words are cut out of two neighbouring words, and memory is what limits it. For a resized
// word a thread walks over its pixels' sources, without a division but for the first.
#include "core/cuda.cuh"
#include "masks/build_cuda.cuh"
#include "masks/geometry_cuda.h"

namespace pyifcn {
namespace {

__device__ int64_t clamp(int64_t value, int64_t low, int64_t high) { return min(max(value, low), high); }

// 64 bits of row y from column x on, which may be negative.
__device__ uint64_t cut(const CudaMask& mask, int64_t y, int64_t x) {
  const int64_t k = x >> 6;
  const int bit = int(x & 63);
  const uint64_t low = mask.word(y, k) >> bit;
  return bit == 0 ? low : low | mask.word(y, k + 1) << (64 - bit);
}

struct Shifted {
  CudaMasks masks;
  int64_t dx, dy;
  CudaImage image;

  __device__ CudaExtent extent(int64_t i) const {
    const CudaMask mask = masks[i];
    const int64_t x1 = mask.x1 + dx, y1 = mask.y1 + dy, x2 = mask.x2 + dx, y2 = mask.y2 + dy;
    const bool whole = 0 <= x1 && x2 <= image.width && 0 <= y1 && y2 <= image.height;
    return {int32_t(clamp(x1, 0, image.width)), int32_t(clamp(y1, 0, image.height)),
            int32_t(clamp(x2, 0, image.width)), int32_t(clamp(y2, 0, image.height)), whole};
  }
  __device__ uint64_t word(int64_t i, int64_t y, int64_t k) const {
    const uint64_t word = cut(masks[i], y - dy, 64 * k - dx);
    const int64_t beyond = 64 * (k + 1) - image.width;  // bits that lie outside the image
    return beyond <= 0 ? word : word & ~uint64_t(0) >> beyond;
  }
};

struct Mirrored {
  CudaMasks masks;
  int64_t width;

  __device__ CudaExtent extent(int64_t i) const {
    const CudaMask mask = masks[i];
    return {int32_t(width - mask.x2), mask.y1, int32_t(width - mask.x1), mask.y2, true};
  }
  __device__ uint64_t word(int64_t i, int64_t y, int64_t k) const {
    return __brevll(cut(masks[i], y, width - 64 * (k + 1)));
  }
};

struct UpsideDown {
  CudaMasks masks;
  int64_t height;

  __device__ CudaExtent extent(int64_t i) const {
    const CudaMask mask = masks[i];
    return {mask.x1, int32_t(height - mask.y2), mask.x2, int32_t(height - mask.y1), true};
  }
  __device__ uint64_t word(int64_t i, int64_t y, int64_t k) const { return masks[i].word(height - 1 - y, k); }
};

// Where pixels of a resized side come from.
struct Side {
  int64_t in, out;

  // The first pixel that comes from pixel `from` or one behind it.
  __device__ int64_t first(int64_t from) const {
    return from == 0 ? 0 : (2 * out * from + in - 1) / (2 * in);
  }
  __device__ int64_t source(int64_t d) const { return (2 * d + 1) * in / (2 * out); }
};

struct Resized {
  CudaMasks masks;
  Side y, x;
  int64_t step, rest;  // x.in / x.out

  __device__ CudaExtent extent(int64_t i) const {
    const CudaMask mask = masks[i];
    return {int32_t(x.first(mask.x1)), int32_t(y.first(mask.y1)), int32_t(x.first(mask.x2)),
            int32_t(y.first(mask.y2)), x.out >= x.in && y.out >= y.in};
  }
  __device__ uint64_t word(int64_t i, int64_t row, int64_t k) const {
    const CudaMask mask = masks[i];
    const int64_t from_row = y.source(row), count = min(x.out - 64 * k, int64_t(64));
    int64_t at = x.source(64 * k), part = (128 * k + 1) * x.in % (2 * x.out);  // in 2 x.out
    int64_t place = at >> 6;
    uint64_t source = mask.word(from_row, place), word = 0;
    for (int64_t d = 0; d < count; ++d) {
      if (at >> 6 != place) {
        place = at >> 6;
        source = mask.word(from_row, place);
      }
      word |= (source >> (at & 63) & 1) << d;
      at += step;
      part += 2 * rest;
      if (part >= 2 * x.out) part -= 2 * x.out, ++at;
    }
    return word;
  }
};

int64_t words_of(const CudaImage& image) { return image.height * grid_words(0, image.width); }

// Words that no moved or mirrored mask exceeds: a row may come to lie across one word more.
int64_t most_words(const CudaMasks& masks, const CudaImage& image) {
  const int64_t words = 2 * masks.words.shape[0], whole = words_of(image);
  return words < whole ? words : whole;
}

}  // namespace

void shift_masks_cuda(const CudaMasks& masks, int64_t dx, int64_t dy, const CudaImage& image,
                      const MasksInMaking& made, const Stream& stream) {
  const OnDevice guard(stream.device);
  make_masks(Shifted{masks, dx, dy, image}, most_words(masks, image), made, stream);
}

void flip_masks_cuda(const CudaMasks& masks, bool horizontal, const CudaImage& image,
                     const MasksInMaking& made, const Stream& stream) {
  const OnDevice guard(stream.device);
  if (horizontal)
    make_masks(Mirrored{masks, image.width}, most_words(masks, image), made, stream);
  else
    make_masks(UpsideDown{masks, image.height}, most_words(masks, image), made, stream);
}

void resize_masks_cuda(const CudaMasks& masks, const CudaImage& from, const CudaImage& to,
                       const MasksInMaking& made, const Stream& stream) {
  const OnDevice guard(stream.device);
  const int64_t out = to.width > 0 ? to.width : 1;  // no pixel is asked for in an image without any
  const Resized resized{
      masks, {from.height, to.height}, {from.width, to.width}, from.width / out, from.width % out};
  make_masks(resized, words_of(to), made, stream);
}

}  // namespace pyifcn
