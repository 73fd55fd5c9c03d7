// All four axes are mixed one after the other. For a row of the output of all u, the input's rows are mixed
// along y', v' and x' into V rows, which stay in the first-level cache, every lambda-th element beside the
// one before: the pixels of the output's unit u, lambda apart, are then vectors. Each sample takes four mixes
// where the definition has 16 products. What limits it is memory, and for lambda above 1 that sorting, lane
// by lane.
//
// The gradient goes back the same way, with the rows of all tasks in between.
#include "swap_align2nat/swap_align2nat.h"

#include "core/vectors.h"

namespace pyifcn {
namespace {

template <class V, class E>
PYIFCN_INLINE V mix(const Neighbours<E>& pair, V low, V high) {
  return pair.high_weight == 0 ? V::all(pair.low_weight) * low
                               : V::all(pair.low_weight) * low + V::all(pair.high_weight) * high;
}

// A row of the output of all u.
struct Row {
  int64_t image, v, y;
  Row(const SwapShape& shape, int64_t task)
      : image(task / shape.out_height() / shape.out_side()),
        v(task / shape.out_height() % shape.out_side()),
        y(task % shape.out_height()) {}
};

// The two rows of the input, of u' = 0, that a unit v' gives; nullptr for those outside.
template <class E>
struct Sources {
  const E *low = nullptr, *high = nullptr;
  bool outside;

  Sources(const SwapJob<E>& job, int64_t image, int64_t v, int64_t y)
      : outside(v < 0 || v >= job.shape.side) {
    if (outside) return;
    const int64_t height = job.shape.height, width = job.shape.width;
    const E* map = job.in + (image * job.shape.side + v) * job.shape.side * height * width;
    if (y >= 0 && y < height) low = map + y * width;
    if (y >= -1 && y < height - 1) high = map + (y + 1) * width;
  }

  template <class V, class At>
  PYIFCN_INLINE V mixed(const Neighbours<E>& y, int64_t map, const At& at, V pads) const {
    if (outside) return pads;
    return mix(y, low ? at.load(low + map) : pads, high ? at.load(high + map) : pads);
  }
};

// Scratch memory for rows: element q lies between pixels q - 1 and q, and at (q % lambda) length + q /
// lambda.
template <class E>
struct Rows {
  int64_t lambda, length, width;
  E *sorted, *pads, *plain;  // V rows; one of pads; one row that is not sorted, with a pixel on both sides

  Rows(const SwapShape& shape, E* scratch)
      : lambda(shape.lambda),
        length(swap_row_length(shape)),
        width(shape.width),
        sorted(scratch),
        pads(sorted + shape.side * lambda * length),
        plain(pads + length) {}

  PYIFCN_INLINE E* row(int64_t u) const { return sorted + u * lambda * length; }
  PYIFCN_INLINE int64_t place(int64_t q) const { return q % lambda * length + q / lambda; }

  // Calls work(sorted, plain) for each element of row u'.
  template <class Work>
  PYIFCN_INLINE void each(int64_t u, Work work) const {
    E* to = row(u);
    for (int64_t r = 0; r < lambda; ++r, to += length)
      for (int64_t q = r, j = 0; q <= width; q += lambda, ++j) work(to[j], plain[q]);
  }
};

template <class E>
PYIFCN_INLINE void mix_rows(const SwapJob<E>& job, const Row& row, const Rows<E>& rows) {
  using V = Vec<E>;
  const SwapShape& shape = job.shape;
  const V pads = V::all(job.pad);
  const Neighbours<E> v = shape.unit<E>(row.v), y = shape.pixel<E>(row.y, row.v), x = shape.pixel<E>(0, 0);
  const Sources<E> low(job, row.image, v.low, y.low), high(job, row.image, v.low + 1, y.low);
  for (int64_t j = 0; j < rows.length; ++j) rows.pads[j] = job.pad;
  rows.plain[0] = rows.plain[shape.width + 1] = job.pad;
  for (int64_t u = 0; u < shape.side; ++u) {
    const int64_t map = u * shape.height * shape.width;
    each_vector<V>(0, shape.width, [&](auto at) {
      const V lower = low.mixed(y, map, at, pads);
      const V higher = v.high_weight == 0 ? lower : high.mixed(y, map, at, pads);
      at.store(mix(v, lower, higher), rows.plain + 1);
    });
    E* const mixed = rows.lambda == 1 ? rows.row(u) : rows.plain;
    each_vector<V>(0, shape.width + 1,
                   [&](auto at) { at.store(mix(x, at.load(rows.plain), at.load(rows.plain + 1)), mixed); });
    if (rows.lambda == 1) continue;
    rows.each(u, [](E& sorted, const E& plain) { sorted = plain; });
    rows.plain[0] = job.pad;
  }
}

// The pixels of the output's unit u that lie between two of the input, q of the first of them.
struct Inside {
  int64_t first, last, q;
  Inside(const SwapShape& shape, int64_t u) {
    const int64_t start = u - shape.out_side() / 2 + 1, most = shape.out_width();
    first = start >= 0 ? 0 : (-start + shape.lambda - 1) / shape.lambda;
    last = shape.width < start ? 0 : (shape.width - start) / shape.lambda + 1;
    first = first < most ? first : most;
    last = last < first ? first : last < most ? last : most;
    q = first < last ? start + shape.lambda * first : 0;
  }
  int64_t count() const { return last - first; }
};

template <class E>
PYIFCN_INLINE void run(const SwapJob<E>& job, E* scratch, int64_t task) {
  using V = Vec<E>;
  using S = Scalar<E>;
  const SwapShape& shape = job.shape;
  const Row row(shape, task);
  const Rows<E> rows(shape, scratch);
  mix_rows(job, row, rows);
  const int64_t plane = shape.out_height() * shape.out_width();
  const E beyond = mix(shape.pixel<E>(0, 0), S{job.pad}, S{job.pad}).v;
  E* out =
      job.out + (row.image * shape.out_side() + row.v) * shape.out_side() * plane + row.y * shape.out_width();
  for (int64_t u = 0; u < shape.out_side(); ++u, out += plane) {
    const Neighbours<E> pair = shape.unit<E>(u);
    const Inside inside(shape, u);
    const int64_t place = rows.place(inside.q);
    const bool has_low = pair.low >= 0, has_high = pair.low + 1 < shape.side;
    const E* const low = has_low ? rows.row(pair.low) + place : rows.pads;
    const E* const high = has_high ? rows.row(pair.low + 1) + place : rows.pads;
    const E outside = mix(pair, S{has_low ? beyond : job.pad}, S{has_high ? beyond : job.pad}).v;
    for (int64_t x = 0; x < inside.first; ++x) out[x] = outside;
    each_vector<V>(0, inside.count(),
                   [&](auto at) { at.store(mix(pair, at.load(low), at.load(high)), out + inside.first); });
    for (int64_t x = inside.last; x < shape.out_width(); ++x) out[x] = outside;
  }
}

template <class E>
PYIFCN_INLINE void run(const SwapColumnsJob<E>& job, E* scratch, int64_t task) {
  using V = Vec<E>;
  const SwapShape& shape = job.shape;
  const Row row(shape, task);
  const Rows<E> rows(shape, scratch);
  const int64_t plane = shape.out_height() * shape.out_width();
  const E* grad = job.grad_out + (row.image * shape.out_side() + row.v) * shape.out_side() * plane +
                  row.y * shape.out_width();
  for (int64_t i = 0; i < shape.side * rows.lambda * rows.length; ++i) rows.sorted[i] = 0;
  for (int64_t u = 0; u < shape.out_side(); ++u, grad += plane) {
    const Neighbours<E> pair = shape.unit<E>(u);
    const Inside inside(shape, u);
    const auto add = [&](int64_t to_u, E weight) {
      if (to_u < 0 || to_u >= shape.side || weight == 0) return;
      E* const to = rows.row(to_u) + rows.place(inside.q);
      each_vector<V>(0, inside.count(), [&](auto at) {
        at.store(at.load(to) + V::all(weight) * at.load(grad + inside.first), to);
      });
    };
    add(pair.low, pair.low_weight);
    add(pair.low + 1, pair.high_weight);
  }
  const Neighbours<E> x = shape.pixel<E>(0, 0);
  E* to = job.rows + task * shape.side * shape.width;
  for (int64_t u = 0; u < shape.side; ++u, to += shape.width) {
    if (rows.lambda > 1) rows.each(u, [](const E& sorted, E& plain) { plain = sorted; });
    const E* const plain = rows.lambda == 1 ? rows.row(u) : rows.plain;
    each_vector<V>(0, shape.width,
                   [&](auto at) { at.store(mix(x, at.load(plain + 1), at.load(plain)), to); });
  }
}

// A row (V, W) that read a row of the input.
template <class E>
struct Reader {
  const E* row;
  E unit_weight, pixel_weight;
};

template <class E>
PYIFCN_INLINE void run(const SwapRowsJob<E>& job, int64_t task) {
  using V = Vec<E>;
  const SwapShape& shape = job.shape;
  const int64_t y = task % shape.height, v = task / shape.height % shape.side,
                image = task / shape.height / shape.side;
  const Neighbours<E> of_y = shape.pixel<E>(0, 0);
  Reader<E> readers[4];
  int found = 0;
  for (int is_high = 0; is_high < 2; ++is_high) {
    const E pixel_weight = is_high ? of_y.high_weight : of_y.low_weight;
    if (pixel_weight == 0) continue;
    const int64_t low = y - is_high;
    shape.each_reader<E>(v, low, [&](int64_t out_v, E unit_weight) {
      const int64_t distance = low + shape.out_side() / 2 - out_v;
      if (distance < 0 || distance >= shape.lambda * shape.out_height()) return;
      const int64_t row = (image * shape.out_side() + out_v) * shape.out_height() + distance / shape.lambda;
      readers[found++] = {job.rows + row * shape.side * shape.width, unit_weight, pixel_weight};
    });
  }
  for (int64_t u = 0; u < shape.side; ++u) {
    E* to = job.grad_in + (((image * shape.side + v) * shape.side + u) * shape.height + y) * shape.width;
    each_vector<V>(0, shape.width, [&](auto at) {
      V sum = V::all(0);
      for (int i = 0; i < found; ++i) {
        const Reader<E>& reader = readers[i];
        sum = sum + V::all(reader.pixel_weight) *
                        (V::all(reader.unit_weight) * at.load(reader.row + u * shape.width));
      }
      at.store(sum, to);
    });
  }
}

}  // namespace

#define PYIFCN_SWAP_ALIGN2NAT(E)                                                                   \
  template <>                                                                                      \
  void swap_align2nat<kTarget, E>(const SwapJob<E>& job, E* scratch, int64_t begin, int64_t end) { \
    for (int64_t task = begin; task < end; ++task) run(job, scratch, task);                        \
  }                                                                                                \
  template <>                                                                                      \
  void swap_align2nat_columns<kTarget, E>(const SwapColumnsJob<E>& job, E* scratch, int64_t begin, \
                                          int64_t end) {                                           \
    for (int64_t task = begin; task < end; ++task) run(job, scratch, task);                        \
  }                                                                                                \
  template <>                                                                                      \
  void swap_align2nat_rows<kTarget, E>(const SwapRowsJob<E>& job, int64_t begin, int64_t end) {    \
    for (int64_t task = begin; task < end; ++task) run(job, task);                                 \
  }
PYIFCN_SWAP_ALIGN2NAT(float)
PYIFCN_SWAP_ALIGN2NAT(double)

}  // namespace pyifcn
