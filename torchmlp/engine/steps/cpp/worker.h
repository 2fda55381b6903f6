// One thread's part of a step: the equations of torchmlp/kernels/network.py.
//
// Samples are independent until the gradients sum over them. So each thread takes its own rows through the layers, the
// loss and the deltas, waits once for the others, and then updates its own rows of every weight.

#pragma once

#include <algorithm>
#include <atomic>
#include <cmath>
#include <limits>
#include <vector>

#include "activations.h"
#include "blas.h"
#include "losses.h"
#include "step.h"
#include "threads.h"
#include "updates.h"

namespace {

// What the threads of a step tell each other.
struct Meeting {
  struct alignas(64) Part {  // a cache line for each thread
    LossSum sum;
    double norm = 0;  // the sum of squares of its part of the gradients
  };

  explicit Meeting(int threads) : parts(threads) {}

  Barrier barrier;
  std::atomic<bool> is_sick{false};
  std::vector<Part> parts;
};

template <class T>
class Worker {
 public:
  // `share`: of a sample of weight 1 in the gradient.
  Worker(const Step& step, double share, int thread, int threads, Meeting& meeting)
      : step_(step), share_(share), thread_(thread), threads_(threads), meeting_(meeting), own_(meeting.parts[thread]),
        rows_(::share(step.rows, thread, threads)) {}

  void run() {
    read_input();
    bool together = false;  // whether all threads have finished the layer below
    for (int l = 0; l < step_.depth; ++l) {
      const Layer& layer = step_.layers[l];
      if (layer.by_columns && !together) wait();
      forward(layer, input(l));
      together = layer.by_columns;
      if (together) wait();
    }
    own_.sum = losses<T>(step_.loss, loss_arguments(), rows_);
    if (!(std::fabs(own_.sum.loss) * share_ <= double(std::numeric_limits<T>::max()))) meeting_.is_sick = true;
    backward();
    wait();
    if (meeting_.is_sick && step_.only_finite) return;
    for (int l = 0; l < step_.depth; ++l) {
      descend(step_.layers[l].weight_update, step_.layers[l], input(l));
      descend(step_.layers[l].bias_update, step_.layers[l], nullptr);
    }
    if (step_.updates) update_from_kept_gradients();
  }

 private:
  const Step& step_;
  const double share_;
  const int thread_, threads_;
  Meeting& meeting_;
  Meeting::Part& own_;
  const Range rows_;

  void wait() { meeting_.barrier.wait(threads_); }
  T* input(int l) const { return static_cast<T*>(l ? step_.layers[l - 1].dropped : step_.x); }
  Layer& last() const { return step_.layers[step_.depth - 1]; }

  void read_input() {
    const int64_t width = step_.layers[0].fan_in;
    const T *given = static_cast<const T*>(step_.input), *masks = static_cast<const T*>(step_.input_mask);
    if (!step_.pixels && !given) return;
    for (int r = rows_.begin; r < rows_.end; ++r) {
      const int64_t sample = step_.order ? step_.order[r] : r;
      T* x = static_cast<T*>(step_.x) + r * width;
      if (step_.pixels)
        for (int64_t i = 0; i < width; ++i) x[i] = T(step_.pixels[sample * width + i]) / 255;
      else
        std::copy(given + sample * width, given + (sample + 1) * width, x);
      if (masks)
        for (int64_t i = 0; i < width; ++i) x[i] *= masks[r * width + i];
    }
  }

  // a = φ(x Wᵀ + b)
  void forward(const Layer& layer, const T* x) {
    const Range rows = layer.by_columns ? Range{0, step_.rows} : rows_;
    const Range outs = layer.by_columns ? ::share(layer.fan_out, thread_, threads_) : Range{0, layer.fan_out};
    const int in = layer.fan_in, out = layer.fan_out;
    T *a = static_cast<T*>(layer.a), *slopes = static_cast<T*>(layer.slope), *dropped = static_cast<T*>(layer.dropped);
    const T *bias = static_cast<const T*>(layer.bias), *mask = static_cast<const T*>(layer.mask);
    gemm<T>('N', 'T', rows.size(), outs.size(), in, 1, x + int64_t(rows.begin) * in, in,
            static_cast<const T*>(layer.weight) + int64_t(outs.begin) * in, in, 0,
            a + int64_t(rows.begin) * out + outs.begin, out);
    for_activation(layer.activation, [&](auto phi) {
      for (int r = rows.begin; r < rows.end; ++r) {
        T* __restrict row = a + int64_t(r) * out;
        T* __restrict slope = slopes ? slopes + int64_t(r) * out : nullptr;
        if (bias)
          for (int o = outs.begin; o < outs.end; ++o) row[o] += bias[o];
        for (int o = outs.begin; o < outs.end; ++o) {
          const ValueAndSlope<T> found = activate<phi>(row[o]);
          row[o] = found.value;
          if constexpr (!is_told_by_value(phi)) slope[o] = found.slope;
        }
      }
    });
    for (int r = rows.begin; mask && r < rows.end; ++r)
      for (int64_t i = int64_t(r) * out + outs.begin; i < int64_t(r) * out + outs.end; ++i)
        dropped[i] = a[i] * mask[i];
  }

  LossArguments<T> loss_arguments() const {
    const bool has_labels = step_.loss == CROSS_ENTROPY;
    return {last().fan_out,
            static_cast<const T*>(last().a),
            static_cast<T*>(last().delta),
            has_labels ? static_cast<const int64_t*>(step_.target) : nullptr,
            has_labels ? nullptr : static_cast<const T*>(step_.target),
            step_.order,
            static_cast<const T*>(step_.sample_weight),
            static_cast<const T*>(step_.class_weight),
            step_.smoothing};
  }

  // δ_L = e' ⊙ φ'(z_L), δ_l = (δ_{l+1} W_{l+1}) ⊙ φ'(z_l)
  void backward() {
    for (int l = step_.depth - 1; l >= 0; --l) {
      const Layer& layer = step_.layers[l];
      const int64_t begin = int64_t(rows_.begin) * layer.fan_out, end = int64_t(rows_.end) * layer.fan_out;
      T* __restrict delta = static_cast<T*>(layer.delta);
      if (!delta) return;  // nothing below is trained
      if (l < step_.depth - 1) {
        const Layer& above = step_.layers[l + 1];
        gemm<T>('N', 'N', rows_.size(), above.fan_in, above.fan_out, 1,
                static_cast<const T*>(above.delta) + int64_t(rows_.begin) * above.fan_out, above.fan_out,
                static_cast<const T*>(above.weight), above.fan_in, 0, delta + begin, layer.fan_out);
        if (const T* mask = static_cast<const T*>(layer.mask))
          for (int64_t i = begin; i < end; ++i) delta[i] *= mask[i];
      }
      if (layer.activation == IDENTITY) continue;
      const T* __restrict kept = static_cast<const T*>(is_told_by_value(layer.activation) ? layer.a : layer.slope);
      for_activation(layer.activation, [&](auto phi) {
        for (int64_t i = begin; i < end; ++i) delta[i] = pull_back<phi>(delta[i], kept[i]);
      });
    }
  }

  // out = beta out + alpha δᵀ x of some of the outputs; of a bias the input is 1
  void gradient(const Layer& layer, bool is_bias, const T* x, Range outs, T alpha, T beta, T* out) const {
    const T* delta = static_cast<const T*>(layer.delta) + outs.begin;
    if (!is_bias) {
      gemm<T>('T', 'N', outs.size(), layer.fan_in, step_.rows, alpha, delta, layer.fan_out, x, layer.fan_in, beta,
              out, layer.fan_in);
      return;
    }
    constexpr int BLOCK = 256;  // sums that stay in the first-level cache
    for (int first = 0; first < outs.size(); first += BLOCK) {
      const int width = std::min(BLOCK, outs.size() - first);
      T sum[BLOCK] = {};
      for (int r = 0; r < step_.rows; ++r)
        for (int o = 0; o < width; ++o) sum[o] += delta[int64_t(r) * layer.fan_out + first + o];
      for (int o = 0; o < width; ++o)
        out[first + o] = (beta == 0 ? T(0) : beta * out[first + o]) + alpha * sum[o];
    }
  }

  // This thread's outputs of a weight, whose input is x, or of a bias: the gradient, and what becomes of it.
  void descend(const Update& update, const Layer& layer, const T* x) {
    if (!update.value) return;
    const Range outs = ::share(layer.fan_out, thread_, threads_);
    const bool is_bias = &update == &layer.bias_update;
    const int64_t width = is_bias ? 1 : layer.fan_in, begin = outs.begin * width, end = outs.end * width;
    T *value = static_cast<T*>(update.value), *into = static_cast<T*>(update.into);
    if (update.merged) {
      const T ahead = T(update.merged->ahead), fade = T(update.merged->fade), decay = T(update.merged->decay);
      const T rate = T(update.merged->rate);
      if (ahead != 0)
        for (int64_t i = begin; i < end; ++i) value[i] += ahead * into[i];
      if (decay != 0)
        for (int64_t i = begin; i < end; ++i) into[i] = fade * into[i] + decay * value[i];
      gradient(layer, is_bias, x, outs, T(update.merged->alpha * share_), T(update.merged->beta), into + begin);
      if (rate != 0)
        for (int64_t i = begin; i < end; ++i) value[i] -= rate * into[i];
    } else if (into) {
      gradient(layer, is_bias, x, outs, T(share_), step_.collected ? T(1) : T(0), into + begin);
      if (step_.clip_norm && step_.updates) own_.norm += sum_of_squares(into, begin, end);
    } else {
      // Not kept: updated while it is in the cache.
      constexpr int64_t BYTES = 128 * 1024;
      static thread_local std::vector<T> block;
      const int most = std::max<int64_t>(8, BYTES / (width * int64_t(sizeof(T))));
      block.resize(std::max<size_t>(block.size(), std::min(most, outs.size()) * width));
      for (int first = outs.begin; first < outs.end; first += most) {
        const Range some{first, std::min(first + most, outs.end)};
        gradient(layer, is_bias, x, some, T(share_), 0, block.data());
        update_elements<T>(update, {1, step_.clip_value}, block.data(), some.begin * width, some.size() * width);
      }
    }
  }

  static double sum_of_squares(const T* values, int64_t begin, int64_t end) {
    double sum = 0;
    for (int64_t i = begin; i < end; ++i) sum += double(values[i]) * double(values[i]);
    return sum;
  }

  void update_from_kept_gradients() {
    Clipping clipping{1, step_.clip_value};
    if (step_.clip_norm) {
      wait();
      double squares = 0;  // in the threads' order, so that a run can be repeated to the last bit
      for (const Meeting::Part& part : meeting_.parts) squares += part.norm;
      const double factor = step_.clip_norm / (std::sqrt(squares) + 1e-6);  // as torch.nn.utils.clip_grad_norm_
      clipping.factor = factor > 1 ? 1 : factor;
    }
    for (int l = 0; l < step_.depth; ++l)
      for (const bool is_weight : {true, false}) {
        const Layer& layer = step_.layers[l];
        const Update& update = is_weight ? layer.weight_update : layer.bias_update;
        if (!update.value || !update.elementwise || !update.into) continue;
        const Range outs = ::share(layer.fan_out, thread_, threads_);
        const int64_t width = is_weight ? layer.fan_in : 1;
        update_elements<T>(update, clipping, static_cast<const T*>(update.into) + outs.begin * width,
                           outs.begin * width, outs.size() * width);
      }
  }
};

}  // namespace
