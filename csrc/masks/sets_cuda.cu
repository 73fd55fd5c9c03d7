// Words of two masks are combined one by one. For the union of all masks each adds its own words, so that the
// work is that of the masks, not of all masks in every word; the pixels that all share lie in every mask.
// Memory is what limits this.
#include "core/cuda.cuh"
#include "masks/build_cuda.cuh"
#include "masks/sets_cuda.h"

namespace pyifcn {
namespace {

struct Pairs {
  CudaMasks a, b;

  __device__ CudaMask left(int64_t i) const { return a[a.count() == 1 ? 0 : i]; }
  __device__ CudaMask right(int64_t i) const { return b[b.count() == 1 ? 0 : i]; }
};

__device__ CudaExtent common(const CudaMask& a, const CudaMask& b) {
  return {max(a.x1, b.x1), max(a.y1, b.y1), min(a.x2, b.x2), min(a.y2, b.y2), false};
}

__device__ bool is_empty(const CudaMask& mask) { return mask.x1 >= mask.x2; }

struct Union {
  Pairs pairs;

  __device__ CudaExtent extent(int64_t i) const {
    const CudaMask a = pairs.left(i), b = pairs.right(i);
    if (is_empty(a)) return {b.x1, b.y1, b.x2, b.y2, true};
    if (is_empty(b)) return {a.x1, a.y1, a.x2, a.y2, true};
    return {min(a.x1, b.x1), min(a.y1, b.y1), max(a.x2, b.x2), max(a.y2, b.y2), true};
  }
  __device__ uint64_t word(int64_t i, int64_t y, int64_t k) const {
    return pairs.left(i).word(y, k) | pairs.right(i).word(y, k);
  }
};

struct Intersection {
  Pairs pairs;

  __device__ CudaExtent extent(int64_t i) const { return common(pairs.left(i), pairs.right(i)); }
  __device__ uint64_t word(int64_t i, int64_t y, int64_t k) const {
    return pairs.left(i).word(y, k) & pairs.right(i).word(y, k);
  }
};

struct Difference {
  Pairs pairs;

  __device__ CudaExtent extent(int64_t i) const {
    const CudaMask a = pairs.left(i);
    const CudaExtent both = common(a, pairs.right(i));
    return {a.x1, a.y1, a.x2, a.y2, both.x1 >= both.x2 || both.y1 >= both.y2};
  }
  __device__ uint64_t word(int64_t i, int64_t y, int64_t k) const {
    return pairs.left(i).word(y, k) & ~pairs.right(i).word(y, k);
  }
};

struct Framed {
  View<const int32_t, 1> frame;
  bool tight;

  __device__ CudaExtent extent(int64_t) const {
    return {frame.data[0], frame.data[1], frame.data[2], frame.data[3], tight};
  }
};

// Its words are made by unite_kernel.
struct UnionOfAll : Framed {
  __device__ uint64_t word(int64_t, int64_t, int64_t) const { return 0; }
};

struct IntersectionOfAll : Framed {
  CudaMasks masks;

  __device__ uint64_t word(int64_t, int64_t y, int64_t k) const {
    uint64_t word = ~uint64_t(0);
    for (int64_t i = 0; i < masks.count() && word != 0; ++i) word &= masks[i].word(y, k);
    return word;
  }
};

__global__ void __launch_bounds__(kBuildThreads)
    unite_kernel(const CudaMasks masks, const View<const int32_t, 1> frame, const View<uint64_t, 1> words,
                 int64_t blocks) {
  const Share share = share_of(blocks);
  const CudaMask mask = masks[share.mask];
  const int64_t across = mask.across(), cells = mask.rows() * across;
  const int64_t to_across = grid_words(frame.data[0], frame.data[2]);
  uint64_t* to = words.data + (mask.y1 - frame.data[1]) * to_across + mask.x1 / 64 - frame.data[0] / 64;
  for (int64_t cell = share.first; cell < cells; cell += share.step) {
    unsigned long long* word =
        reinterpret_cast<unsigned long long*>(to + cell / across * to_across + cell % across);
    if (mask.words[cell] != 0) atomicOr(word, static_cast<unsigned long long>(mask.words[cell]));
  }
}

int64_t words_of(const CudaMasks& masks) { return masks.words.shape[0]; }

}  // namespace

void combine_masks_cuda(CudaSetOp op, const CudaMasks& a, const CudaMasks& b, const MasksInMaking& made,
                        const Stream& stream) {
  const OnDevice guard(stream.device);
  const Pairs pairs{a, b};
  const int64_t most = words_of(a) + words_of(b);
  switch (op) {
    case CudaSetOp::unite:
      return make_masks(Union{pairs}, most, made, stream);
    case CudaSetOp::intersect:
      return make_masks(Intersection{pairs}, most, made, stream);
    case CudaSetOp::subtract:
      return make_masks(Difference{pairs}, most, made, stream);
  }
}

void merge_masks_cuda(const CudaMasks& masks, const View<const int32_t, 1>& frame, bool intersect,
                      const MasksInMaking& made, const Stream& stream) {
  const OnDevice guard(stream.device);
  const int64_t count = masks.count(), most = words_of(masks);
  if (intersect) return make_masks(IntersectionOfAll{{frame, false}, masks}, most, made, stream);
  if (!made.are_placed) return make_masks(UnionOfAll{{frame, true}}, most, made, stream);
  const int64_t blocks = blocks_per_mask(count, most);
  launch(unite_kernel, {count * blocks, kBuildThreads}, stream, masks, frame, made.words, blocks);
}

}  // namespace pyifcn
