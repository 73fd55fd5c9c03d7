// A matrix for the greedy kernel: a comparison is an element. Neighbouring threads read one row of a kept
// one, at places as their scores order them; blocks read the same rows at about the same time, so that memory
// gives each row once, and what limits it is the second-level cache, 32 bytes an element.
#include "nms_from_iou/nms_from_iou_cuda.h"

#include "nms/greedy_cuda.cuh"

namespace pyifcn {
namespace {

template <class S>
struct IouRule {
  using Thing = int64_t;

  const S* iou;
  int64_t count;
  Computed<S> threshold;

  __device__ Thing at(int64_t row) const { return row; }
  __device__ bool may_suppress(Thing kept, Thing other) const {
    return computed(iou[kept * count + other]) > threshold;
  }
  __device__ bool suppresses(Thing, Thing) const { return true; }
};

}  // namespace

template <class S>
void nms_from_iou_cuda(const IouCudaJob<S>& job, const Stream& stream) {
  const OnDevice guard(stream.device);
  greedy_cuda(job.greedy, IouRule<S>{job.iou.data, job.iou.shape[1], job.threshold}, stream);
}

template void nms_from_iou_cuda(const IouCudaJob<float>&, const Stream&);
template void nms_from_iou_cuda(const IouCudaJob<double>&, const Stream&);
template void nms_from_iou_cuda(const IouCudaJob<Float16>&, const Stream&);
template void nms_from_iou_cuda(const IouCudaJob<Bfloat16>&, const Stream&);

}  // namespace pyifcn
