// A task is one row of an image's prototypes, which stays in the first-level cache while all detections that
// meet it read it: K rows of W elements, `height * width` apart. A few vectors of pixels are summed over the
// prototypes at once, in registers. What limits the sums is loading: one vector for a multiplication and an
// addition; and the sigmoid, about as much as sixteen prototypes.
#include "assemble_prototypes/assemble_prototypes.h"

#include "core/sigmoid.h"
#include "core/vectors.h"

namespace pyifcn {
namespace {

// Rows of an image: row y of prototype k begins at data + k * plane.
template <class E>
struct Rows {
  E* data;
  int64_t plane, channels;
};

template <class E>
PYIFCN_INLINE Rows<E> rows_at(const View<E, 4>& maps, E* data, int64_t image, int64_t y) {
  const int64_t width = maps.shape[3], plane = maps.shape[2] * width;
  return {data + image * maps.shape[1] * plane + y * width, plane, maps.shape[1]};
}

template <bool kSigmoid, class V>
PYIFCN_INLINE V finished(V sum) {
  return kSigmoid ? sigmoid(sum) : sum;
}

template <bool kSigmoid, class E>
PYIFCN_INLINE void sum_row(const Rows<const E>& rows, const E* coefficients, int64_t first, int64_t last,
                           E* out) {
  using V = Vec<E>;
  constexpr int kVectors = 4;
  int64_t x = first;
  for (; x + kVectors * V::lanes <= last; x += kVectors * V::lanes) {
    V sums[kVectors];
    for (V& sum : sums) sum = V::all(0);
    const E* row = rows.data + x;
    for (int64_t k = 0; k < rows.channels; ++k, row += rows.plane) {
      const V coefficient = V::all(coefficients[k]);
      for (int v = 0; v < kVectors; ++v) sums[v] = sums[v] + coefficient * V::load(row + v * V::lanes);
    }
    for (int v = 0; v < kVectors; ++v) finished<kSigmoid>(sums[v]).store(out + x + v * V::lanes);
  }
  each_vector<V>(x, last, [&](auto at) {
    V sum = V::all(0);
    for (int64_t k = 0; k < rows.channels; ++k)
      sum = sum + V::all(coefficients[k]) * at.load(rows.data + k * rows.plane);
    at.store(finished<kSigmoid>(sum), out);
  });
}

template <class E>
PYIFCN_INLINE void run(const PrototypesJob<E>& job, int64_t task) {
  const int64_t height = job.prototypes.shape[2], width = job.prototypes.shape[3];
  const int64_t image = task / height, y = task % height;
  const Detections& all = job.detections;
  const Rows<const E> rows = rows_at(job.prototypes, job.prototypes.data, image, y);
  for (int64_t i = all.starts[image]; i < all.starts[image + 1]; ++i) {
    const int64_t n = all.order[i];
    const Crop& crop = all.crops[n];
    E* out = job.out + (n * height + y) * width;
    const bool meets = crop.y1 <= y && y < crop.y2;
    const int64_t first = meets ? crop.x1 : 0, last = meets ? crop.x2 : 0;
    for (int64_t x = 0; x < first; ++x) out[x] = 0;
    const E* coefficients = job.coefficients.data + n * rows.channels;
    if (job.sigmoid)
      sum_row<true>(rows, coefficients, first, last, out);
    else
      sum_row<false>(rows, coefficients, first, last, out);
    for (int64_t x = last; x < width; ++x) out[x] = 0;
  }
}

// The gradients of the sums in columns [crop.x1, crop.x2) of a detection's row, to row[0] and on.
template <class E>
PYIFCN_INLINE void gradients_of_sums(const PrototypesBackwardJob<E>& job, int64_t n, int64_t y, E* row) {
  using V = Vec<E>;
  const Crop& crop = job.detections.crops[n];
  const int64_t at = (n * job.prototypes.shape[2] + y) * job.prototypes.shape[3] + crop.x1;
  each_vector<V>(0, crop.x2 - crop.x1, [&](auto vector) {
    const V grad = vector.load(job.grad_out + at);
    vector.store(job.out ? sigmoid_gradient(grad, vector.load(job.out + at)) : grad, row);
  });
}

template <class E>
PYIFCN_INLINE void add_to_prototypes(const PrototypesBackwardJob<E>& job, E* row, int64_t task) {
  using V = Vec<E>;
  const int64_t height = job.prototypes.shape[2], image = task / height, y = task % height;
  const Detections& all = job.detections;
  const View<E, 4> grads{job.grad_prototypes,
                         {job.prototypes.shape[0], job.prototypes.shape[1], height, job.prototypes.shape[3]}};
  const Rows<E> rows = rows_at(grads, grads.data, image, y);
  for (int64_t i = all.starts[image]; i < all.starts[image + 1]; ++i) {
    const int64_t n = all.order[i];
    const Crop& crop = all.crops[n];
    if (y < crop.y1 || y >= crop.y2) continue;
    gradients_of_sums(job, n, y, row);
    for (int64_t k = 0; k < rows.channels; ++k) {
      const V coefficient = V::all(job.coefficients.data[n * rows.channels + k]);
      E* to = rows.data + k * rows.plane + crop.x1;
      each_vector<V>(0, crop.x2 - crop.x1,
                     [&](auto at) { at.store(at.load(to) + coefficient * at.load(row), to); });
    }
  }
}

// Adds a row's products to kColumnSums sums. Lanes beyond the row add 0, which changes no sum: none is -0.
template <class E>
PYIFCN_INLINE void add_products(const E* row, const E* pixels, int32_t width, E* sums) {
  using V = Vec<E>;
  constexpr int kParts = kColumnSums / V::lanes;
  V parts[kParts];
  for (int p = 0; p < kParts; ++p) parts[p] = V::load(sums + p * V::lanes);
  int32_t x = 0;
  for (; x + kColumnSums <= width; x += kColumnSums)
    for (int p = 0; p < kParts; ++p) {
      const int32_t at = x + p * V::lanes;
      parts[p] = parts[p] + V::load(row + at) * V::load(pixels + at);
    }
  for (int p = 0; p < kParts; ++p) {
    const int32_t at = x + p * V::lanes;
    if (at < width)
      parts[p] = parts[p] + V::load_first(row + at, width - at) * V::load_first(pixels + at, width - at);
  }
  for (int p = 0; p < kParts; ++p) parts[p].store(sums + p * V::lanes);
}

template <class E>
PYIFCN_INLINE E folded(E* sums) {
  for (int half = kSums / 2; half > 0; half /= 2)
    for (int i = 0; i < half; ++i) sums[i] += sums[i + half];
  return sums[0];
}

template <class E>
PYIFCN_INLINE void sum_coefficients(const PrototypesBackwardJob<E>& job, E* row, E* sums, int64_t n) {
  const int64_t channels = job.prototypes.shape[1];
  const Crop& crop = job.detections.crops[n];
  for (int64_t i = 0; i < channels * kSums; ++i) sums[i] = 0;
  for (int32_t y = crop.y1; y < crop.y2; ++y) {
    gradients_of_sums(job, n, y, row);
    const Rows<const E> rows = rows_at(job.prototypes, job.prototypes.data, job.detections.images[n], y);
    E* of_row = sums + (y - crop.y1) % kRowSums * kColumnSums;
    for (int64_t k = 0; k < channels; ++k)
      add_products(row, rows.data + k * rows.plane + crop.x1, crop.x2 - crop.x1, of_row + k * kSums);
  }
  for (int64_t k = 0; k < channels; ++k) job.grad_coefficients[n * channels + k] = folded(sums + k * kSums);
}

}  // namespace

#define PYIFCN_ASSEMBLE_PROTOTYPES(E)                                                                       \
  template <>                                                                                               \
  void assemble_prototypes<kTarget, E>(const PrototypesJob<E>& job, int64_t begin, int64_t end) {           \
    for (int64_t task = begin; task < end; ++task) run(job, task);                                          \
  }                                                                                                         \
  template <>                                                                                               \
  void assemble_prototypes_backward<kTarget, E>(const PrototypesBackwardJob<E>& job, E* row, int64_t begin, \
                                                int64_t end) {                                              \
    for (int64_t task = begin; task < end; ++task) add_to_prototypes(job, row, task);                       \
  }                                                                                                         \
  template <>                                                                                               \
  void assemble_coefficients_backward<kTarget, E>(const PrototypesBackwardJob<E>& job, E* row, E* sums,     \
                                                  int64_t begin, int64_t end) {                             \
    for (int64_t n = begin; n < end; ++n) sum_coefficients(job, row, sums, n);                              \
  }
PYIFCN_ASSEMBLE_PROTOTYPES(float)
PYIFCN_ASSEMBLE_PROTOTYPES(double)

}  // namespace pyifcn
