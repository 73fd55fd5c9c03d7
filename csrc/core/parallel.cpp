#include "core/parallel.h"

#include <algorithm>
#include <atomic>
#include <condition_variable>
#include <exception>
#include <mutex>
#include <thread>
#include <vector>

#if !defined(_WIN32)
#include <pthread.h>
#include <signal.h>
#endif

#include "core/float_mode.h"

namespace pyifcn {
namespace {

using Body = std::function<void(int64_t, int64_t)>;

// One loop at work: workers take the next chunk until none is left.
struct Loop {
  Loop(const Body& body_, int64_t count_, int64_t chunk_) : body(body_), count(count_), chunk(chunk_) {}

  const Body& body;
  const int64_t count, chunk;
  const FloatMode mode = float_mode();  // the caller's, so that every thread computes the same
  std::atomic<int64_t> next{0};
  std::mutex failure_mutex;
  std::exception_ptr failure;

  void work() {
    for (;;) {
      const int64_t begin = next.fetch_add(chunk, std::memory_order_relaxed);
      if (begin >= count) return;
      try {
        body(begin, std::min(begin + chunk, count));
      } catch (...) {
        const std::lock_guard lock(failure_mutex);
        if (!failure) failure = std::current_exception();
        next.store(count, std::memory_order_relaxed);
        return;
      }
    }
  }
};

void pause_briefly() {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#endif
}

// While it lives no signal comes to this thread, nor ever to those that it starts: signals are for the
// threads of the program.
class SignalsBlocked {
#if !defined(_WIN32)
public:
  SignalsBlocked() {
    sigset_t all;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before_);
  }
  ~SignalsBlocked() { pthread_sigmask(SIG_SETMASK, &before_, nullptr); }

private:
  sigset_t before_;
#endif
};

class Pool {
public:
  ~Pool() {
    {
      const std::lock_guard lock(mutex_);
      stopping_ = true;
      ticket_.fetch_add(1, std::memory_order_release);
    }
    wake_.notify_all();
    for (std::thread& worker : workers_) worker.join();
  }

  void run(Loop& loop, int helpers) {
    start_workers(helpers);
    {
      const std::lock_guard lock(mutex_);
      loop_ = &loop;
      seats_ = std::min<int>(helpers, int(workers_.size()));
      ticket_.fetch_add(1, std::memory_order_release);
    }
    wake_.notify_all();
    loop.work();
    std::unique_lock lock(mutex_);
    seats_ = 0;  // whoever has not come by now is not needed
    done_.wait(lock, [&] { return active_ == 0; });
    loop_ = nullptr;
  }

  std::mutex& busy() { return busy_; }

private:
  void start_workers(int helpers) {
    if (int(workers_.size()) >= helpers) return;
    const SignalsBlocked blocked;
    try {
      while (int(workers_.size()) < helpers) workers_.emplace_back([this] { serve(); });
    } catch (const std::system_error&) {
      // The system gives no more threads: those that there are do the work.
    }
  }

  void serve() {
    uint64_t seen = 0;
    for (;;) {
      for (int spin = 0; spin < kSpins && ticket_.load(std::memory_order_acquire) == seen; ++spin)
        pause_briefly();
      std::unique_lock lock(mutex_);
      wake_.wait(lock, [&] { return stopping_ || ticket_.load(std::memory_order_relaxed) != seen; });
      if (stopping_) return;
      seen = ticket_.load(std::memory_order_relaxed);
      if (seats_ == 0) continue;
      --seats_;
      ++active_;
      Loop* loop = loop_;
      lock.unlock();
      set_float_mode(loop->mode);
      loop->work();
      lock.lock();
      if (--active_ == 0) done_.notify_one();
    }
  }

  static constexpr int kSpins = 2000;  // some tens of microseconds: back-to-back calls find the workers awake
  std::mutex busy_, mutex_;
  std::condition_variable wake_, done_;
  std::vector<std::thread> workers_;
  std::atomic<uint64_t> ticket_{0};
  Loop* loop_ = nullptr;
  int seats_ = 0, active_ = 0;
  bool stopping_ = false;
};

// Never destroyed: at exit the workers may already be gone. A forked child, which has none of its parent's
// threads, starts a new pool and leaves the old one alone.
std::atomic<Pool*> g_pool{nullptr};

Pool& pool() {
  Pool* current = g_pool.load(std::memory_order_acquire);
  if (current) return *current;
#if !defined(_WIN32)
  static const int registered = pthread_atfork(nullptr, nullptr, [] { g_pool.store(nullptr); });
  (void)registered;
#endif
  Pool* fresh = new Pool;
  if (g_pool.compare_exchange_strong(current, fresh)) return *fresh;
  delete fresh;
  return *current;
}

}  // namespace

void parallel_for(int64_t count, int64_t grain, int threads, const Body& body) {
  if (count <= 0) return;
  grain = std::max<int64_t>(grain, 1);
  const int64_t wanted = std::min<int64_t>(threads, (count + grain - 1) / grain);
  if (wanted <= 1) return body(0, count);
  Pool& workers = pool();
  const std::unique_lock turn(workers.busy(), std::try_to_lock);
  if (!turn) return body(0, count);
  constexpr int64_t kChunksPerThread = 4;  // so that an uneven loop still ends together
  const int64_t chunks = wanted * kChunksPerThread;
  Loop loop(body, count, std::max(grain, (count + chunks - 1) / chunks));
  workers.run(loop, int(wanted) - 1);
  if (loop.failure) std::rethrow_exception(loop.failure);
}

}  // namespace pyifcn
