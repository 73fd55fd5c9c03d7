// Pixels are read in order by threads that lie side by side, once for the corners and once for the boxes,
// which corners make too: a box's left and top are those of a pixel that differs from both neighbours there.
// For the words a thread reads the 64 pixels of its own, so that no two write the same. To paint, each pixel
// takes the least of its masks' numbers. Memory is what limits all of them.
#include "core/cuda.cuh"
#include "masks/build_cuda.cuh"
#include "masks/labels_cuda.h"

namespace pyifcn {
namespace {

constexpr int kThreads = 128;
constexpr int kPixelsEach = 16;

template <class E>
struct Labels {
  View<const E, 2> image;
  bool is_signed;

  __device__ int64_t key(E label) const {
    constexpr int kAbove = 64 - 8 * int(sizeof(E));
    if (is_signed) return int64_t(uint64_t(label) << kAbove) >> kAbove;
    return kAbove > 0 ? int64_t(label) : int64_t(uint64_t(label) ^ uint64_t(1) << 63);
  }
};

// A pixel and what lies beside it.
template <class E>
struct Pixel {
  int64_t y, x;
  E label;
  bool differs_left, differs_above, differs_right, differs_below;

  __device__ bool is_corner() const { return label != 0 && differs_left && differs_above; }
  __device__ bool is_last_corner() const { return label != 0 && differs_right && differs_below; }
};

template <class E>
__device__ Pixel<E> pixel_at(const View<const E, 2>& image, int64_t index) {
  const int64_t height = image.shape[0], width = image.shape[1], y = index / width, x = index % width;
  const E* at = image.data + index;
  const E label = *at;
  return {y,
          x,
          label,
          x == 0 || at[-1] != label,
          y == 0 || at[-width] != label,
          x + 1 == width || at[1] != label,
          y + 1 == height || at[width] != label};
}

// Calls visit(index) for the pixels that fall to this thread.
template <class E, class Visit>
__device__ void each_pixel(const View<E, 2>& image, Visit visit) {
  const int64_t pixels = image.shape[0] * image.shape[1];
  int64_t index = int64_t(blockIdx.x) * (kThreads * kPixelsEach) + threadIdx.x;
  for (int j = 0; j < kPixelsEach && index < pixels; ++j, index += kThreads) visit(index);
}

template <class E>
Extent grid_of_pixels(const View<E, 2>& image) {
  return {ceil_div<int64_t>(count(image), kThreads * kPixelsEach), kThreads};
}

template <class E>
__global__ void __launch_bounds__(kThreads)
    corners_kernel(const Labels<E> labels, const View<int64_t, 1> keys, const View<int64_t, 1> found) {
  each_pixel(labels.image, [&](int64_t index) {
    const Pixel<E> pixel = pixel_at(labels.image, index);
    if (!pixel.is_corner()) return;
    const auto at = int64_t(
        atomicAdd(reinterpret_cast<unsigned long long*>(found.data), static_cast<unsigned long long>(1)));
    if (at < keys.shape[0]) keys.data[at] = labels.key(pixel.label);
  });
}

// The first of `keys`, which rise, that is not less.
__device__ int64_t place_of(const View<const int64_t, 1>& keys, int64_t key) {
  int64_t low = 0, high = keys.shape[0];
  while (low < high) {
    const int64_t middle = (low + high) / 2;
    if (keys.data[middle] < key)
      low = middle + 1;
    else
      high = middle;
  }
  return low;
}

template <class E>
__global__ void __launch_bounds__(kThreads)
    box_labels_kernel(const Labels<E> labels, const View<const int64_t, 1> keys,
                      const View<int32_t, 2> boxes) {
  each_pixel(labels.image, [&](int64_t index) {
    const Pixel<E> pixel = pixel_at(labels.image, index);
    if (!pixel.is_corner() && !pixel.is_last_corner()) return;
    int32_t* box = boxes.data + 4 * place_of(keys, labels.key(pixel.label));
    if (pixel.is_corner()) {
      atomicMin(box, int32_t(pixel.x));
      atomicMin(box + 1, int32_t(pixel.y));
    }
    if (pixel.is_last_corner()) {
      atomicMax(box + 2, int32_t(pixel.x + 1));
      atomicMax(box + 3, int32_t(pixel.y + 1));
    }
  });
}

template <class E>
__global__ void __launch_bounds__(kThreads)
    fill_labels_kernel(const Labels<E> labels, const View<const int64_t, 1> keys,
                       const View<const int32_t, 2> boxes, const View<const int64_t, 1> offsets,
                       const View<uint64_t, 1> words) {
  const int64_t height = labels.image.shape[0], width = labels.image.shape[1];
  const int64_t cell = int64_t(blockIdx.x) * kThreads + threadIdx.x, across = grid_words(0, width);
  const int64_t y = cell / across, k = cell % across;
  if (y >= height) return;
  const auto add = [&](E label, uint64_t bits) {
    if (label == 0 || bits == 0) return;
    const int64_t i = place_of(keys, labels.key(label));
    const int32_t* box = boxes.data + 4 * i;
    words.data[offsets.data[i] + (y - box[1]) * grid_words(box[0], box[2]) + k - box[0] / 64] |= bits;
  };
  const E* from = labels.image.data + y * width + 64 * k;
  const int size = int(min(width - 64 * k, int64_t(64)));
  E label = 0;
  uint64_t bits = 0;
  for (int j = 0; j < size; ++j) {
    if (from[j] != label) {
      add(label, bits);
      label = from[j];
      bits = 0;
    }
    bits |= uint64_t(1) << j;
  }
  add(label, bits);
}

__global__ void __launch_bounds__(kBuildThreads)
    first_masks_kernel(const CudaMasks masks, const View<int32_t, 2> image, int64_t blocks) {
  const Share share = share_of(blocks);
  const CudaMask mask = masks[share.mask];
  const int64_t across = mask.across(), pixels = 64 * mask.rows() * across;
  int32_t* corner = image.data + mask.y1 * image.shape[1] + mask.x1 / 64 * 64;
  for (int64_t pixel = share.first; pixel < pixels; pixel += share.step) {
    const int64_t cell = pixel / 64, bit = pixel % 64;
    if (mask.words[cell] >> bit & 1)
      atomicMin(corner + cell / across * image.shape[1] + cell % across * 64 + bit, int32_t(share.mask));
  }
}

__global__ void __launch_bounds__(kThreads)
    paint_kernel(const View<const int32_t, 1> values, const View<int32_t, 2> image) {
  each_pixel(image, [&](int64_t index) {
    const int32_t first = image.data[index];
    image.data[index] = first < values.shape[0] ? values.data[first] : 0;
  });
}

template <class E>
Labels<E> labels_of(const LabelImage& image) {
  return {{static_cast<const E*>(image.data), {image.height, image.width}}, image.is_signed};
}

// Calls run(labels) with labels of the image's size.
template <class Run>
void with_labels(const LabelImage& image, Run run) {
  switch (image.bytes) {
    case 1:
      return run(labels_of<uint8_t>(image));
    case 2:
      return run(labels_of<uint16_t>(image));
    case 4:
      return run(labels_of<uint32_t>(image));
    default:
      return run(labels_of<uint64_t>(image));
  }
}

}  // namespace

void find_corners_cuda(const LabelImage& image, const View<int64_t, 1>& keys, const View<int64_t, 1>& found,
                       const Stream& stream) {
  const OnDevice guard(stream.device);
  with_labels(image, [&]<class E>(const Labels<E>& labels) {
    launch(corners_kernel<E>, grid_of_pixels(labels.image), stream, labels, keys, found);
  });
}

void box_labels_cuda(const LabelImage& image, const View<const int64_t, 1>& keys,
                     const View<int32_t, 2>& boxes, const View<int64_t, 1>& offsets, const Stream& stream) {
  const OnDevice guard(stream.device);
  launch(clear_boxes_kernel, {ceil_div<int64_t>(boxes.shape[0], kBuildThreads), kBuildThreads}, stream,
         boxes);
  with_labels(image, [&]<class E>(const Labels<E>& labels) {
    launch(box_labels_kernel<E>, grid_of_pixels(labels.image), stream, labels, keys, boxes);
  });
  place_masks_cuda(boxes, offsets, stream);
}

void fill_labels_cuda(const LabelImage& image, const View<const int64_t, 1>& keys,
                      const View<const int32_t, 2>& boxes, const View<const int64_t, 1>& offsets,
                      const View<uint64_t, 1>& words, const Stream& stream) {
  const OnDevice guard(stream.device);
  const int64_t cells = image.height * grid_words(0, image.width);
  with_labels(image, [&]<class E>(const Labels<E>& labels) {
    launch(fill_labels_kernel<E>, {ceil_div<int64_t>(cells, kThreads), kThreads}, stream, labels, keys, boxes,
           offsets, words);
  });
}

void masks_to_labels_cuda(const CudaMasks& masks, const View<const int32_t, 1>& values,
                          const View<int32_t, 2>& image, const Stream& stream) {
  const OnDevice guard(stream.device);
  const int64_t blocks = blocks_per_mask(masks.count(), 64 * masks.words.shape[0]);
  launch(first_masks_kernel, {masks.count() * blocks, kBuildThreads}, stream, masks, image, blocks);
  launch(paint_kernel, grid_of_pixels(image), stream, values, image);
}

}  // namespace pyifcn
