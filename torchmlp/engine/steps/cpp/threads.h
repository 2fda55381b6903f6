// How threads share a step.

#pragma once

#include <atomic>
#include <cstdint>

#include <sched.h>
#ifdef __SSE__
#include <xmmintrin.h>
#endif

namespace {

// Waits for all threads. It spins, for the others are microseconds away, and gives the core away when they are
// not: they may be waiting for it.
class Barrier {
 public:
  void wait(int threads) {
    if (threads == 1) return;
    const int round = round_.load(std::memory_order_relaxed);
    if (arrived_.fetch_add(1, std::memory_order_acq_rel) == threads - 1) {
      arrived_.store(0, std::memory_order_relaxed);
      round_.store(round + 1, std::memory_order_release);
      return;
    }
    for (int spins = 0; round_.load(std::memory_order_acquire) == round;) {
      if (spins < 2000) ++spins;
      else sched_yield();
#ifdef __x86_64__
      __builtin_ia32_pause();
#endif
    }
  }

 private:
  std::atomic<int> arrived_{0}, round_{0};
};

// Subnormal numbers are taken as 0 as long as this lives. A processor is a hundred times slower with them, and a
// network that has learned its samples is full of them: p − onehot(t) of a sample it is sure of, and what follows.
class FlushSubnormals {
#ifdef __SSE__
 public:
  FlushSubnormals() { _mm_setcsr(before_ | 0x8040); }
  ~FlushSubnormals() { _mm_setcsr(before_); }

 private:
  const unsigned before_ = _mm_getcsr();
#endif
};

struct Range {
  int begin, end;
  int size() const { return end - begin; }
};

inline Range share(int count, int thread, int threads) {
  return {int(int64_t(count) * thread / threads), int(int64_t(count) * (thread + 1) / threads)};
}

}  // namespace
