// The lanes of a warp take 32 of the masks that are better than one; the warp counts what each of them whose
// box meets that one's shares with it. The greatest overlap of each mask must be known before any score is
// lowered, and so all pairs are counted twice: no matrix of them is held, and the greatest and the least are
// the same in any order. What limits it is popcount, and of many masks that hardly meet the tests of boxes.
#include "core/cuda.cuh"
#include "core/exp.h"
#include "masks/ratio.h"
#include "masks/shared_cuda.cuh"
#include "matrix_nms/matrix_nms_cuda.h"

namespace pyifcn {
namespace {

constexpr int kThreads = 256, kWarps = kThreads / kWarp;

// Doubles that are not negative are in the order of their bits.
using Bits = unsigned long long;

__device__ Bits bits_of(double value) {
  Bits bits;
  __builtin_memcpy(&bits, &value, sizeof(bits));
  return bits;
}

__device__ Bits* bits_at(const View<double, 1>& values, int64_t i) {
  return reinterpret_cast<Bits*>(values.data + i);
}

// A mask, by rank, shares `iou` with a better one of its label.
struct FindMost {
  __device__ void operator()(const MatrixNmsJob& job, int64_t rank, int64_t, double iou) const {
    atomicMax(bits_at(job.most, rank), bits_of(iou));
  }
};

struct FindWorst {
  __device__ void operator()(const MatrixNmsJob& job, int64_t rank, int64_t better, double iou) const {
    const double most = job.most.data[better];
    if (job.gaussian) {
      const double power = iou * iou - most * most;
      if (power > 0) atomicMax(bits_at(job.worst, rank), bits_of(power));
    } else if (most < 1) {  // a copy of a better mask leaves it to that to lower others
      atomicMin(bits_at(job.worst, rank), bits_of((1 - iou) / (1 - most)));
    }
  }
};

// Calls `visit` for each pair of masks of one label that share pixels.
template <class Visit>
__global__ void __launch_bounds__(kThreads) pairs_kernel(const MatrixNmsJob job) {
  __shared__ WarpSums all_sums[kWarps];
  const int lane = int(threadIdx.x) % kWarp, warp = int(threadIdx.x) / kWarp;
  const int64_t rank = blockIdx.x, i = job.order.data[rank], step = int64_t(gridDim.y) * kThreads;
  const CudaMask mine = job.masks[i];
  const int64_t area = job.areas.data[i], label = job.labels.data[i];
  for (int64_t first = (int64_t(blockIdx.y) * kWarps + warp) * kWarp; first < rank; first += step) {
    const int64_t better = first + lane;
    const int64_t j = better < rank ? job.order.data[better] : i;
    const bool open = better < rank && job.labels.data[j] == label && !meeting_of(job.masks[j], mine).empty();
    const auto pair_of = [&](int which) { return Pair{job.masks[job.order.data[first + which]], mine}; };
    const int64_t shared = count_shared(open, all_sums[warp], pair_of);
    if (shared > 0) Visit()(job, rank, better, iou_of(job.areas.data[j], area, shared));
  }
}

__global__ void __launch_bounds__(kThreads) lower_kernel(const MatrixNmsJob job) {
  const int64_t rank = int64_t(blockIdx.x) * kThreads + threadIdx.x;
  if (rank >= job.masks.count()) return;
  const int64_t i = job.order.data[rank];
  const double worst = job.worst.data[rank];
  const double decay = job.gaussian ? exp(Scalar<double>{-job.sigma * worst}).v : worst;
  job.lowered.data[i] = job.scores.data[i] * decay;
}

}  // namespace

void matrix_nms_cuda(const MatrixNmsJob& job, const Stream& stream) {
  const OnDevice guard(stream.device);
  constexpr int64_t kEnoughBlocks = 4096;
  const int64_t count = job.masks.count();
  const int64_t useful = ceil_div<int64_t>(count, kThreads),
                wanted = kEnoughBlocks / ::max(count, int64_t(1));
  const int64_t rows = ::min(useful, ::max(wanted, int64_t(1)));
  launch(pairs_kernel<FindMost>, {count, kThreads, rows}, stream, job);
  launch(pairs_kernel<FindWorst>, {count, kThreads, rows}, stream, job);
  launch(lower_kernel, {useful, kThreads}, stream, job);
}

}  // namespace pyifcn
