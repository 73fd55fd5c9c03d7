// A detection's attention is interpolated along its few rows first, lane by lane; that stays in the
// first-level cache. Then vectors of pixels go over the bases twice, for the largest attention and for the
// sums. Everything is read once and in order. What limits it is the exponential, one for each element of the
// bases.
#include "blend/blend.h"

#include "core/sigmoid.h"
#include "core/vectors.h"

namespace pyifcn {
namespace {

// What is known of one detection: `stretched` is its attention, (K, h, W); vector k of `lanes` is of base k.
template <class E>
struct Detection {
  const BlendJob<E>& job;
  int64_t n, channels, height, width, low_height;
  E *stretched, *lanes;

  PYIFCN_INLINE Detection(const BlendJob<E>& job_, int64_t n_, E* scratch)
      : job(job_),
        n(n_),
        channels(job.bases.shape[1]),
        height(job.bases.shape[2]),
        width(job.bases.shape[3]),
        low_height(job.attention.shape[2]),
        stretched(scratch),
        lanes(scratch + channels * low_height * width) {}

  PYIFCN_INLINE int64_t low_rows() const { return channels * low_height; }
  // Where row y of base k begins, counted from the first base of all.
  PYIFCN_INLINE int64_t row_of(int64_t k, int64_t y) const {
    return ((n * channels + k) * height + y) * width;
  }
};

template <class E>
PYIFCN_INLINE void stretch(const Detection<E>& d) {
  const int64_t low_width = d.job.attention.shape[3];
  const E* from = d.job.attention.data + d.n * d.low_rows() * low_width;
  E* to = d.stretched;
  for (int64_t row = 0; row < d.low_rows(); ++row, from += low_width, to += d.width)
    for (int64_t x = 0; x < d.width; ++x) {
      const BlendTap<E>& tap = d.job.columns[x];
      to[x] = tap.low_weight * from[tap.low] + tap.high_weight * from[tap.high];
    }
}

template <class V>
struct Sums {
  V total, weighted;
};

// Of the pixels of row y at `at`; leaves e_k in the lanes of k.
template <class V, class E, class At>
PYIFCN_INLINE Sums<V> sum_up(const Detection<E>& d, int64_t y, const At& at) {
  const BlendTap<E>& row = d.job.rows[y];
  V largest = V::all(-E(__builtin_inff()));
  for (int64_t k = 0; k < d.channels; ++k) {
    const E* map = d.stretched + k * d.low_height * d.width;
    const V attention = V::all(row.low_weight) * at.load(map + row.low * d.width) +
                        V::all(row.high_weight) * at.load(map + row.high * d.width);
    attention.store(d.lanes + k * V::lanes);
    largest = max(attention, largest);
  }
  Sums<V> sums{V::all(0), V::all(0)};
  for (int64_t k = 0; k < d.channels; ++k) {
    const V e = exp(V::load(d.lanes + k * V::lanes) - largest);
    e.store(d.lanes + k * V::lanes);
    sums.total = sums.total + e;
    sums.weighted = sums.weighted + e * at.load(d.job.bases.data + d.row_of(k, y));
  }
  return sums;
}

template <class E>
PYIFCN_INLINE void run(const BlendJob<E>& job, E* scratch, int64_t n) {
  using V = Vec<E>;
  const Detection<E> d(job, n, scratch);
  stretch(d);
  E* out = job.out + n * d.height * d.width;
  for (int64_t y = 0; y < d.height; ++y, out += d.width)
    each_vector<V>(0, d.width, [&](auto at) {
      const Sums<V> sums = sum_up<V>(d, y, at);
      const V value = sums.weighted / sums.total;
      at.store(job.sigmoid ? sigmoid(value) : value, out);
    });
}

// The gradient of the stretched attention, to that of the attention.
template <class E>
PYIFCN_INLINE void fold(const Detection<E>& d, const E* grad_stretched, E* grad_attention) {
  const int64_t low_width = d.job.attention.shape[3];
  E* to = grad_attention + d.n * d.low_rows() * low_width;
  for (int64_t row = 0; row < d.low_rows(); ++row, to += low_width, grad_stretched += d.width) {
    for (int64_t j = 0; j < low_width; ++j) to[j] = 0;
    for (int64_t x = 0; x < d.width; ++x) {
      const BlendTap<E>& tap = d.job.columns[x];
      to[tap.low] += tap.low_weight * grad_stretched[x];
      to[tap.high] += tap.high_weight * grad_stretched[x];
    }
  }
}

template <class E>
PYIFCN_INLINE void run_backward(const BlendBackwardJob<E>& job, E* scratch, int64_t n) {
  using V = Vec<E>;
  const Detection<E> d(job.forward, n, scratch);
  stretch(d);
  E* const grad_stretched = scratch + blend_scratch(d.channels, d.low_height, d.width);
  for (int64_t i = 0; i < d.low_rows() * d.width; ++i) grad_stretched[i] = 0;
  for (int64_t y = 0; y < d.height; ++y) {
    const BlendTap<E>& row = d.job.rows[y];
    const int64_t out_row = (n * d.height + y) * d.width;
    each_vector<V>(0, d.width, [&](auto at) {
      V grad = at.load(job.grad_out + out_row);
      if (d.job.sigmoid) grad = sigmoid_gradient(grad, at.load(d.job.out + out_row));
      const Sums<V> sums = sum_up<V>(d, y, at);
      const V value = sums.weighted / sums.total;
      for (int64_t k = 0; k < d.channels; ++k) {
        const V grad_base = grad * (V::load(d.lanes + k * V::lanes) / sums.total);
        at.store(grad_base, job.grad_bases + d.row_of(k, y));
        const V grad_attention = grad_base * (at.load(d.job.bases.data + d.row_of(k, y)) - value);
        const auto add = [&](int32_t low_row, E weight) {
          E* to = grad_stretched + (k * d.low_height + low_row) * d.width;
          at.store(at.load(to) + V::all(weight) * grad_attention, to);
        };
        add(row.low, row.low_weight);
        add(row.high, row.high_weight);
      }
    });
  }
  fold(d, grad_stretched, job.grad_attention);
}

}  // namespace

#define PYIFCN_BLEND(E)                                                                                     \
  template <>                                                                                               \
  void blend<kTarget, E>(const BlendJob<E>& job, E* scratch, int64_t begin, int64_t end) {                  \
    for (int64_t n = begin; n < end; ++n) run(job, scratch, n);                                             \
  }                                                                                                         \
  template <>                                                                                               \
  void blend_backward<kTarget, E>(const BlendBackwardJob<E>& job, E* scratch, int64_t begin, int64_t end) { \
    for (int64_t n = begin; n < end; ++n) run_backward(job, scratch, n);                                    \
  }
PYIFCN_BLEND(float)
PYIFCN_BLEND(double)

}  // namespace pyifcn
