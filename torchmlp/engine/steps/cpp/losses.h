// The losses e(a, t) of some rows and their derivatives e'(a, t): torchmlp/kernels/losses.py.

#pragma once

#include <cmath>
#include <cstdint>

#include "elementary.h"
#include "threads.h"

namespace {

enum LossName { CROSS_ENTROPY, CROSS_ENTROPY_OF_PROBABILITIES, MSE, BCE };

template <class T>
struct LossArguments {
  int width;              // of a row: classes, or outputs
  const T* outputs;       // logits, but for squared error
  T* delta;               // becomes e'(a, t), times the sample's weight
  const int64_t* labels;  // of each row; else
  const T* target;        // (samples, width)
  const int64_t* order;   // of each row, its sample; null where they are the same
  const T* sample_weight;
  const T* class_weight;  // either null where all weigh 1
  double smoothing;       // the share of a target that all classes get alike

  const T* target_of(int row) const { return target + (order ? order[row] : row) * width; }
  T weight_of(int row) const { return sample_weight ? sample_weight[order ? order[row] : row] : T(1); }
};

struct LossSum {
  double loss = 0;
  int64_t right = 0;  // rows whose largest output is the label's; 0 without labels
};

template <class T>
int place_of_largest(const T* z, int count) {
  int best = 0;
  for (int o = 1; o < count; ++o) best = z[o] > z[best] ? o : best;
  return best;
}

// e = log Σ exp(z) − z_t and δ = softmax(z) − onehot(t), the largest logit subtracted first
template <class T>
LossSum cross_entropy(const LossArguments<T>& all, Range rows) {
  const int classes = all.width;
  LossSum sum;
  for (int r = rows.begin; r < rows.end; ++r) {
    const T* z = all.outputs + int64_t(r) * classes;
    T* p = all.delta + int64_t(r) * classes;
    const int best = place_of_largest(z, classes);
    const T largest = z[best];
    for (int o = 0; o < classes; ++o) p[o] = z[o] - largest;
    sum.right += best == all.labels[r];
    sum.loss -= p[all.labels[r]];
  }
  const int64_t begin = int64_t(rows.begin) * classes, end = int64_t(rows.end) * classes;
  for (int64_t i = begin; i < end; ++i) all.delta[i] = exp_(all.delta[i]);
  for (int r = rows.begin; r < rows.end; ++r) {
    T* p = all.delta + int64_t(r) * classes;
    T total = 0;
    for (int o = 0; o < classes; ++o) total += p[o];
    const T share = 1 / total;
    for (int o = 0; o < classes; ++o) p[o] *= share;
    p[all.labels[r]] -= 1;
    sum.loss += std::log(total);
  }
  return sum;
}

// The same of a distribution q over the classes, weighted and smoothed: e = Σ q_c (log Σ exp(z) − z_c) and
// δ = softmax(z) Σ q_c − q
template <class T>
LossSum weighted_cross_entropy(const LossArguments<T>& all, Range rows) {
  const int classes = all.width;
  const T even = T(all.smoothing / classes), rest = T(1 - all.smoothing);
  LossSum sum;
  for (int r = rows.begin; r < rows.end; ++r) {
    const T* z = all.outputs + int64_t(r) * classes;
    T* p = all.delta + int64_t(r) * classes;
    const int best = place_of_largest(z, classes);
    const T largest = z[best];
    T total = 0;
    for (int o = 0; o < classes; ++o) total += p[o] = exp_(z[o] - largest);
    if (all.labels) sum.right += best == all.labels[r];
    const T log_total = std::log(total), weight = all.weight_of(r);
    const auto q = [&](int o) {
      const T given = all.labels ? T(o == all.labels[r]) : all.target_of(r)[o];
      return (rest * given + even) * (all.class_weight ? all.class_weight[o] : T(1));
    };
    T loss = 0, whole = 0;
    for (int o = 0; o < classes; ++o) {
      whole += q(o);
      if (!all.labels || q(o) != 0) loss += q(o) * (log_total - (z[o] - largest));
    }
    for (int o = 0; o < classes; ++o) p[o] = weight * (p[o] / total * whole - q(o));
    sum.loss += double(weight) * double(loss);
  }
  return sum;
}

// e = ½ |a − t|² and e' = a − t
template <class T>
LossSum squared_error(const LossArguments<T>& all, Range rows) {
  LossSum sum;
  for (int r = rows.begin; r < rows.end; ++r) {
    const T *a = all.outputs + int64_t(r) * all.width, *target = all.target_of(r), weight = all.weight_of(r);
    T* delta = all.delta + int64_t(r) * all.width;
    double loss = 0;
    for (int o = 0; o < all.width; ++o) {
      const T difference = a[o] - target[o];
      loss += 0.5 * double(difference) * double(difference);
      delta[o] = weight * difference;
    }
    sum.loss += double(weight) * loss;
  }
  return sum;
}

// e = Σ log(1 + exp(z)) − t z and δ = σ(z) − t, where no exponential overflows
template <class T>
LossSum binary_cross_entropy(const LossArguments<T>& all, Range rows) {
  LossSum sum;
  for (int r = rows.begin; r < rows.end; ++r) {
    const T *z = all.outputs + int64_t(r) * all.width, *target = all.target_of(r), weight = all.weight_of(r);
    T* delta = all.delta + int64_t(r) * all.width;
    T loss = 0;
    for (int o = 0; o < all.width; ++o) {
      const T e = exp_(-std::fabs(z[o]));
      loss += (z[o] > 0 ? z[o] : T(0)) - z[o] * target[o] + log1p_(e);
      delta[o] = weight * ((z[o] > 0 ? T(1) : e) / (1 + e) - target[o]);
    }
    sum.loss += double(weight) * double(loss);
  }
  return sum;
}

template <class T>
LossSum losses(int loss, const LossArguments<T>& all, Range rows) {
  if (loss == MSE) return squared_error(all, rows);
  if (loss == BCE) return binary_cross_entropy(all, rows);
  const bool is_plain = all.labels && !all.sample_weight && !all.class_weight && !all.smoothing;
  return is_plain ? cross_entropy(all, rows) : weighted_cross_entropy(all, rows);
}

}  // namespace
