// Splitting loops among threads.
#pragma once

#include <cstdint>
#include <functional>

namespace pyifcn {

// Calls body(begin, end) on disjoint ranges that cover [0, count), in chunks of at least `grain`, on up to
// `threads` threads, this one among them. The answer of a body must not depend on how the range is cut. An
// exception thrown by a body is rethrown here once all have ended. Safe after fork(), and from several
// threads at once: whoever comes while the pool is at work runs alone.
void parallel_for(int64_t count, int64_t grain, int threads,
                  const std::function<void(int64_t, int64_t)>& body);

}  // namespace pyifcn
