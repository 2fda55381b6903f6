// The activations and their slopes: torchmlp/kernels/activations.py, in the same order.
//
// Some tell their slope by their value; of the others forward() finds value and slope together, which share their
// exponentials, and keeps both.

#pragma once

#include <cmath>
#include <type_traits>

#include "elementary.h"

namespace {

enum Activation {
  IDENTITY, RELU, LEAKY_RELU, ELU, SELU, SIGMOID, TANH, SOFTPLUS, SILU, GELU, GELU_TANH, MISH, HARDTANH, RELU6,
  HARDSWISH, SOFTSIGN, LOGSIGMOID,
};

template <class T>
struct ValueAndSlope {
  T value, slope;
};

// φ(z) and φ'(z)
template <int ACTIVATION, class T>
ValueAndSlope<T> activate(T z) {
  constexpr T one = 1;
  if constexpr (ACTIVATION == RELU) return {z < 0 ? T(0) : z, 0};  // nan stays nan
  if constexpr (ACTIVATION == LEAKY_RELU) return {z > 0 ? z : T(0.01) * z, 0};
  if constexpr (ACTIVATION == SIGMOID) return {sigmoid_(z), 0};
  if constexpr (ACTIVATION == TANH) return {tanh_(z), 0};
  if constexpr (ACTIVATION == HARDTANH) return {z < -1 ? T(-1) : z > 1 ? one : z, 0};
  if constexpr (ACTIVATION == RELU6) return {z < 0 ? T(0) : z > 6 ? T(6) : z, 0};
  if constexpr (ACTIVATION == ELU) {
    const T e = expm1_(z);
    return {z > 0 ? z : e, z > 0 ? one : e + 1};
  }
  if constexpr (ACTIVATION == SELU) {  // Klambauer et al. (2017), equation 14
    constexpr T scale = T(1.0507009873554805), alpha = T(1.6732632423543772);
    const T e = expm1_(z);
    return {z > 0 ? scale * z : scale * alpha * e, z > 0 ? scale : scale * alpha * (e + 1)};
  }
  if constexpr (ACTIVATION == SOFTPLUS) {  // torch.nn.Softplus's threshold
    const T e = exp_(-std::fabs(z)), near = (z > 0 ? z : T(0)) + log1p_(e);
    return {z > 20 ? z : z != z ? z : near, z > 20 ? one : (z > 0 ? one : e) / (1 + e)};
  }
  if constexpr (ACTIVATION == LOGSIGMOID) {
    const T e = exp_(-std::fabs(z)), near = (z < 0 ? z : T(0)) - log1p_(e);
    return {z != z ? z : near, (z < 0 ? one : e) / (1 + e)};
  }
  if constexpr (ACTIVATION == SILU) {
    const T s = sigmoid_(z);
    return {z * s, s * (1 + z * (1 - s))};
  }
  if constexpr (ACTIVATION == GELU) {
    const T cdf = T(0.5) * (1 + erf_(z * T(0.7071067811865476)));
    return {z * cdf, cdf + z * T(0.3989422804014327) * exp_(T(-0.5) * z * z)};
  }
  if constexpr (ACTIVATION == GELU_TANH) {  // Hendrycks & Gimpel (2016), section 2
    constexpr T root = T(0.7978845608028654), cubic = T(0.044715);
    const T t = tanh_(root * (z + cubic * z * z * z)), half = T(0.5) * (1 + t);
    return {z * half, half + T(0.5) * z * (1 - t * t) * root * (1 + 3 * cubic * z * z)};
  }
  if constexpr (ACTIVATION == MISH) {  // tanh(log(1 + e^z)) = n / (n + 2); from 30 on it is 1 to the last bit
    const T e = exp_(z > 30 ? T(30) : z), n = e * (e + 2), t = n / (n + 2);
    return {z * t, t + (z > 30 ? T(0) : z * e / (1 + e) * 2 * (1 + t) / (n + 2))};
  }
  if constexpr (ACTIVATION == HARDSWISH) {  // Howard et al. (2019)
    const T inside = z <= -3 ? T(0) : z >= 3 ? one : z / 3 + T(0.5);
    return {z <= -3 ? T(0) : z >= 3 ? z : z * (z + 3) / 6, inside};
  }
  if constexpr (ACTIVATION == SOFTSIGN) {
    const T d = 1 / (1 + std::fabs(z));
    return {z / (1 + std::fabs(z)), d * d};
  }
  return {z, one};
}

// Whether the slope is told by the value; else the slope is kept.
constexpr bool is_told_by_value(int activation) {
  return activation == IDENTITY || activation == RELU || activation == LEAKY_RELU || activation == SIGMOID ||
         activation == TANH || activation == HARDTANH || activation == RELU6;
}

// g ⊙ φ'(z), from what is kept: a = φ(z), or φ'(z) itself
template <int ACTIVATION, class T>
T pull_back(T g, T kept) {
  if constexpr (ACTIVATION == IDENTITY) return g;
  if constexpr (ACTIVATION == RELU) return kept <= 0 ? T(0) : g;
  if constexpr (ACTIVATION == LEAKY_RELU) return kept > 0 ? g : T(0.01) * g;
  if constexpr (ACTIVATION == SIGMOID) return g * (1 - kept) * kept;
  if constexpr (ACTIVATION == TANH) return g * (1 - kept * kept);
  if constexpr (ACTIVATION == HARDTANH) return kept <= -1 || kept >= 1 ? T(0) : g;
  if constexpr (ACTIVATION == RELU6) return kept <= 0 || kept >= 6 ? T(0) : g;
  if constexpr (ACTIVATION == HARDSWISH) return kept == 0 ? T(0) : g * kept;  // switched off, whatever arrives
  return g * kept;
}

// Calls `loop` with the activation as a constant, so that the compiler makes one vector loop for each.
template <int FIRST = IDENTITY, class Loop>
void for_activation(int activation, Loop loop) {
  if constexpr (FIRST <= LOGSIGMOID) {
    if (activation == FIRST) return loop(std::integral_constant<int, FIRST>());
    for_activation<FIRST + 1>(activation, loop);
  }
}

}  // namespace
