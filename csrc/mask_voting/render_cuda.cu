// Masks as bits. A thread makes a word, 64 pixels of a row, its neighbours those above and below it: all of a
// block are between the same two columns of the mask at a time, and look at what follows from it once for all
// the pixels there. What limits it is arithmetic, ten operations and a compare a pixel.
#include "mask_voting/ballots_cuda.cuh"
#include "mask_voting/sample_cuda.cuh"

namespace pyifcn {
namespace {

constexpr int kThreads = 128;

// The elements of a mask about pixels between the same columns and rows.
struct Corners4 {
  float low_low, low_high, high_low, high_high;  // row, column

  __device__ Corners4(const SoftMask& mask, const Tap& x, const Tap& y)
      : low_low(mask.at(y.low, x.low)),
        low_high(mask.at(y.low, x.high)),
        high_low(mask.at(y.high, x.low)),
        high_high(mask.at(y.high, x.high)) {}
  __device__ float at(const Tap& x, const Tap& y) const {
    return y.low_weight * (x.low_weight * low_low + x.high_weight * low_high) +
           y.high_weight * (x.low_weight * high_low + x.high_weight * high_high);
  }
};

__global__ void __launch_bounds__(kThreads) render_kernel(const MergeJob job, int64_t blocks) {
  __shared__ Tap columns[64];
  const int64_t j = blockIdx.x / blocks, start = job.tally.masks.offsets.data[j];
  if (start < 0) return;
  const int32_t* box = job.tally.masks.boxes.data + 4 * j;
  const CudaRegion region{box[0], box[1], box[2], box[3]};
  if (region.empty()) return;
  const BoxAxes axes(job.in.options, job.in.boxes.data + 4 * j);
  const SoftMask mask(job.in, j);
  const RenderTaps<double> x_tap(job.in.options.convention, axes.x, mask.side);
  const RenderTaps<double> y_tap(job.in.options.convention, axes.y, mask.side);
  const float threshold = job.in.options.foreground();
  const int64_t across = region.across(), pieces = across * ceil_div<int64_t>(region.rows(), kThreads);
  const int me = int(threadIdx.x);
  for (int64_t piece = blockIdx.x % blocks; piece < pieces; piece += blocks) {
    const int64_t k = piece % across, row = piece / across * kThreads + me;
    const int64_t left = 64 * (region.x1 / 64 + k);
    const int begin = int(max(region.x1 - left, int64_t(0))), end = int(min(region.x2 - left, int64_t(64)));
    __syncthreads();
    if (begin <= me && me < end) columns[me] = x_tap(left + me);
    __syncthreads();
    if (row >= region.rows()) continue;
    const Tap y = y_tap(region.y1 + row);
    Corners4 corners(mask, columns[begin], y);
    int32_t at = columns[begin].low;
    uint64_t word = 0;
    for (int i = begin; i < end; ++i) {
      const Tap x = columns[i];
      if (x.low != at) corners = Corners4(mask, x, y), at = x.low;
      word |= uint64_t(corners.at(x, y) >= threshold) << i;
    }
    job.mask_words.data[start + row * across + k] = word;
  }
}

}  // namespace

void render_cuda(const MergeJob& job, const Stream& stream) {
  const int64_t blocks =
      blocks_for_each(job.in.boxes.shape[0], ceil_div<int64_t>(job.largest_mask, kThreads));
  launch(render_kernel, {job.in.boxes.shape[0] * blocks, kThreads}, stream, job, blocks);
}

}  // namespace pyifcn
