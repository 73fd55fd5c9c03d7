// A thread counts how many scores of its image come before its own: N^2 comparisons, on as many cores as
// there are scores, end sooner for a small N than the launches of a sort begin.
#include "core/cuda.cuh"
#include "nms/falling.h"
#include "nms/order_cuda.h"

namespace pyifcn {
namespace {

constexpr int kThreads = 128;

template <class E>
__device__ ScoreKey<E> key_at(const ScoresJob<E>& job, int64_t place) {
  return job.gone && job.gone[place] ? ~ScoreKey<E>(0) : falling(job.scores.data[place]);
}

template <class E>
__global__ void __launch_bounds__(kThreads) order_few_kernel(const ScoresJob<E> job, int64_t* order) {
  __shared__ ScoreKey<E> keys[kThreads];
  const int count = int(job.scores.shape[1]), blocks = ceil_div(count, kThreads), me = int(threadIdx.x);
  const int mine = int(blockIdx.x % unsigned(blocks)) * kThreads + me;
  const int64_t first = int64_t(blockIdx.x / unsigned(blocks)) * count;
  const ScoreKey<E> key = mine < count ? key_at(job, first + mine) : 0;
  int before = 0;
  for (int begin = 0; begin < count; begin += kThreads) {
    if (begin + me < count) keys[me] = key_at(job, first + begin + me);
    __syncthreads();
    const int end = ::min(kThreads, count - begin);
    for (int i = 0; i < end; ++i) before += keys[i] < key || (keys[i] == key && begin + i < mine);
    __syncthreads();
  }
  if (mine < count) order[first + before] = mine;
}

template <class E>
__global__ void __launch_bounds__(kThreads)
    score_keys_kernel(const ScoresJob<E> job, int64_t count, ScoreKey<E>* keys) {
  constexpr ScoreKey<E> kSign = ScoreKey<E>(1) << (8 * sizeof(E) - 1);  // the sort's integers have one
  const int64_t place = int64_t(blockIdx.x) * kThreads + threadIdx.x;
  if (place < count) keys[place] = key_at(job, place) ^ kSign;
}

}  // namespace

template <class E>
void order_few_cuda(const ScoresJob<E>& job, int64_t* order, const Stream& stream) {
  const OnDevice guard(stream.device);
  const int64_t blocks = ceil_div<int64_t>(job.scores.shape[1], kThreads);
  launch(order_few_kernel<E>, {job.scores.shape[0] * blocks, kThreads}, stream, job, order);
}

template <class E>
void score_keys_cuda(const ScoresJob<E>& job, void* keys, const Stream& stream) {
  const OnDevice guard(stream.device);
  const int64_t all = count(job.scores);
  launch(score_keys_kernel<E>, {ceil_div<int64_t>(all, kThreads), kThreads}, stream, job, all,
         static_cast<ScoreKey<E>*>(keys));
}

template void order_few_cuda(const ScoresJob<float>&, int64_t*, const Stream&);
template void order_few_cuda(const ScoresJob<double>&, int64_t*, const Stream&);
template void score_keys_cuda(const ScoresJob<float>&, void*, const Stream&);
template void score_keys_cuda(const ScoresJob<double>&, void*, const Stream&);

}  // namespace pyifcn
