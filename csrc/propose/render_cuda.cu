// A thread interpolates the 64 pixels of a word, and holds the four logits around while pixels lie between
// the same cells. What limits it is arithmetic: where a pixel lies is a division of doubles.
#include "core/blend.h"
#include "core/cuda.cuh"
#include "masks/build_cuda.cuh"
#include "propose/render_cuda.h"
#include "propose/side.h"

namespace pyifcn {
namespace {

struct RenderSource {
  RenderCudaJob job;

  __device__ const RenderCudaJob::Level& level(int64_t i) const {
    return job.levels[job.windows.data[3 * i]];
  }
  __device__ WindowSide rows(int64_t i) const {
    const RenderCudaJob::Level& at = level(i);
    return {job.windows.data[3 * i + 1], job.logits.shape[1], at.height, at.stride, job.height};
  }
  __device__ WindowSide columns(int64_t i) const {
    const RenderCudaJob::Level& at = level(i);
    return {job.windows.data[3 * i + 2], job.logits.shape[1], at.width, at.stride, job.width};
  }

  // Looking at the windows on the CPU would make it wait: one that is not inside the maps has no pixels.
  __device__ bool inside(int64_t i) const {
    const int64_t* window = job.windows.data + 3 * i;
    if (window[0] < 0 || window[0] >= job.levels_count) return false;
    const RenderCudaJob::Level& at = level(i);
    return window[1] >= 0 && window[1] < at.height && window[2] >= 0 && window[2] < at.width;
  }

  __device__ CudaExtent extent(int64_t i) const {
    if (!inside(i)) return {0, 0, 0, 0, false};
    const WindowSide down = rows(i), across = columns(i);
    return {int32_t(across.first), int32_t(down.first), int32_t(across.last), int32_t(down.last), false};
  }

  __device__ uint64_t word(int64_t i, int64_t y, int64_t k) const {
    const WindowSide across = columns(i);
    const RenderTap row = rows(i).tap(y);
    const int64_t size = job.logits.shape[1], left = 64 * k;
    const float *upper = job.logits.data + (i * size + row.first) * size,
                *lower = job.logits.data + (i * size + row.second) * size;
    const int64_t begin = max(left, across.first), end = min(left + 64, across.last);
    int32_t cell = -1;
    float corners[4] = {};
    uint64_t word = 0;
    for (int64_t x = begin; x < end; ++x) {
      const RenderTap column = across.tap(x);
      if (column.first != cell) {
        cell = column.first;
        corners[0] = finite(upper[column.first]), corners[1] = finite(upper[column.second]);
        corners[2] = finite(lower[column.first]), corners[3] = finite(lower[column.second]);
      }
      const float above = blend(corners[0], corners[1], column.weight),
                  below = blend(corners[2], corners[3], column.weight);
      word |= uint64_t(blend(above, below, row.weight) > job.threshold) << (x - left);
    }
    return word;
  }
};

int64_t words_of_image(const RenderCudaJob& job) { return job.height * grid_words(0, job.width); }

}  // namespace

void render_boxes_cuda(const RenderCudaJob& job, const View<int32_t, 2>& boxes,
                       const View<int64_t, 1>& offsets, const Stream& stream) {
  const OnDevice guard(stream.device);
  box_masks(RenderSource{job}, words_of_image(job), boxes, offsets, stream);
}

void render_words_cuda(const RenderCudaJob& job, const View<const int32_t, 2>& boxes,
                       const View<const int64_t, 1>& offsets, const View<uint64_t, 1>& words,
                       const Stream& stream) {
  const OnDevice guard(stream.device);
  fill_masks(RenderSource{job}, words_of_image(job), boxes, offsets, words, stream);
}

}  // namespace pyifcn
