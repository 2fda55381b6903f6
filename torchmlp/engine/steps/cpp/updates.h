// What becomes of a gradient: the optimizer's step, as coefficients; see torchmlp/kernels/optimizers.py.

#pragma once

#include <cmath>
#include <cstdint>

// SGD, added to the weight or its velocity by the gradient's own matrix product; see state/sgd_update.py.
struct SGDUpdate {
  double ahead, fade, decay;  // first: value += ahead into; with decay: into = fade into + decay value
  double beta, alpha;         // then: into = beta into + alpha ∂E
  double rate;                // at last: value -= rate into; 0 where `into` is not a velocity
};

// Any of the known optimizers, element by element, once the gradient is there.
struct ElementwiseUpdate {
  double shrink, sign, decay;                             // value *= shrink; g = sign g + decay value
  double mean_share;                                      // mean += mean_share (g − mean)
  double square_keep, square_share;                       // square = square_keep square + square_share g²
  double root_scale, epsilon, centred;                    // d = root_scale √(square − centred mean²) + epsilon
  double from_gradient, from_mean;                        // h = (from_gradient g + from_mean mean) / d
  double velocity_keep, velocity_share;                   // velocity = velocity_keep velocity + velocity_share h
  double from_direction, from_velocity;                   // value −= from_direction h + from_velocity velocity
};

// A parameter, what the optimizer keeps of it, and how they change. One of `merged` and `elementwise` is not null.
struct Update {
  void* value;     // null where it is frozen
  void* into;      // merged: the parameter, its velocity or its gradient; else the gradient, or null: it is not kept
  void *mean, *square, *largest, *velocity;  // null where the optimizer has none
  const SGDUpdate* merged;
  const ElementwiseUpdate* elementwise;
};

namespace {

struct Clipping {
  double factor;  // that the norm asks for
  double limit;   // of a gradient's elements; 0 for none
};

template <class T>
struct Elements {
  T *value, *mean, *square, *largest, *velocity;
  const T* gradient;
};

template <class T, bool MEAN, bool SQUARE, bool LARGEST, bool VELOCITY>
void sweep(const ElementwiseUpdate& update, const Clipping& clipping, const Elements<T>& all, int64_t count) {
  const T shrink = T(update.shrink), sign = T(update.sign * clipping.factor), decay = T(update.decay);
  const T mean_share = T(update.mean_share), square_keep = T(update.square_keep);
  const T square_share = T(update.square_share), root_scale = T(update.root_scale), epsilon = T(update.epsilon);
  const T centred = T(update.centred), from_gradient = T(update.from_gradient), from_mean = T(update.from_mean);
  const T velocity_keep = T(update.velocity_keep), velocity_share = T(update.velocity_share);
  const T from_direction = T(update.from_direction), from_velocity = T(update.from_velocity);
  const T limit = T(clipping.limit), opposite = -limit;
  const bool clips = limit > 0;
  T *__restrict value = all.value, *__restrict mean = all.mean, *__restrict square = all.square;
  T *__restrict largest = all.largest, *__restrict velocity = all.velocity;
  const T* __restrict gradient = all.gradient;
  for (int64_t i = 0; i < count; ++i) {
    T g = gradient[i], w = value[i] * shrink;
    g = clips && g > limit ? limit : clips && g < opposite ? opposite : g;  // nan stays nan
    g = sign * g + decay * w;
    T h = from_gradient * g;
    if constexpr (MEAN) {
      mean[i] += mean_share * (g - mean[i]);
      h += from_mean * mean[i];
    }
    if constexpr (SQUARE) {
      T s = square[i] = square_keep * square[i] + square_share * g * g;
      if constexpr (LARGEST) s = largest[i] = s > largest[i] || s != s ? s : largest[i];
      if constexpr (MEAN) s -= centred * mean[i] * mean[i];
      h /= root_scale * std::sqrt(s) + epsilon;
    }
    T change = from_direction * h;
    if constexpr (VELOCITY) {
      velocity[i] = velocity_keep * velocity[i] + velocity_share * h;
      change += from_velocity * velocity[i];
    }
    value[i] = w - change;
  }
}

// One pass over `count` elements of a parameter from `begin` on, whose gradient lies at `gradient`.
template <class T>
void update_elements(const Update& update, const Clipping& clipping, const T* gradient, int64_t begin,
                     int64_t count) {
  const auto from = [begin](void* first) { return first ? static_cast<T*>(first) + begin : nullptr; };
  const Elements<T> all{from(update.value),   from(update.mean),     from(update.square),
                        from(update.largest), from(update.velocity), gradient};
  const ElementwiseUpdate& rule = *update.elementwise;
  if (all.largest) return sweep<T, true, true, true, false>(rule, clipping, all, count);
  if (all.mean && all.velocity) return sweep<T, true, true, false, true>(rule, clipping, all, count);
  if (all.mean) return sweep<T, true, true, false, false>(rule, clipping, all, count);
  if (all.square && all.velocity) return sweep<T, false, true, false, true>(rule, clipping, all, count);
  if (all.square) return sweep<T, false, true, false, false>(rule, clipping, all, count);
  if (all.velocity) return sweep<T, false, false, false, true>(rule, clipping, all, count);
  sweep<T, false, false, false, false>(rule, clipping, all, count);
}

}  // namespace
