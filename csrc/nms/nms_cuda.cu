// Boxes for the greedy kernel.
#include "nms/nms_cuda.h"

#include "nms/box_rule.cuh"
#include "nms/greedy_cuda.cuh"

namespace pyifcn {

template <class E>
void nms_cuda(const NmsCudaJob<E>& job, const Stream& stream) {
  const OnDevice guard(stream.device);
  if (job.idxs)
    greedy_cuda(job.greedy, BoxRule<E, true>{job.boxes.data, job.idxs, job.threshold}, stream);
  else
    greedy_cuda(job.greedy, BoxRule<E, false>{job.boxes.data, nullptr, job.threshold}, stream);
}

template void nms_cuda(const NmsCudaJob<float>&, const Stream&);
template void nms_cuda(const NmsCudaJob<double>&, const Stream&);

}  // namespace pyifcn
