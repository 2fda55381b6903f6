// exp, expm1, log1p, tanh, erf and the logistic function, in a form that compilers turn into vector loops.
//
// In float32 they are polynomials fitted by least squares towards the smallest relative error, each right to 2 units in
// the last place (tests/engine/steps/test_elementary.py looks at every kind of argument). In float64 they are the C
// library's, and its vector forms where there are some.

#pragma once

#include <cmath>
#include <cstdint>
#include <cstring>

#ifdef HAS_VECTOR_MATH  // glibc's, for x86: an attribute that its header gives only under -ffast-math
extern "C" {
__attribute__((const, simd("notinbranch"))) double exp(double);
__attribute__((const, simd("notinbranch"))) double tanh(double);
}
#endif

namespace {

inline double exp_(double x) { return exp(x); }
inline double expm1_(double x) { return std::expm1(x); }
inline double log1p_(double x) { return std::log1p(x); }
inline double tanh_(double x) { return tanh(x); }
inline double erf_(double x) { return std::erf(x); }

inline float float_of(int32_t bits) {
  float x;
  std::memcpy(&x, &bits, sizeof x);
  return x;
}

// e^r − 1 for |r| ≤ ln 2 / 2: r + r² q(r)
inline float expm1_near_0(float r) {
  const float q =
      0.499999931f + r * (0.166665148f + r * (0.0416684568f + r * (0.00836941904f + r * 0.00138131424f)));
  return r + r * r * q;
}

// x = n ln 2 + r, n the nearest integer to x / ln 2: e^x = 2^n e^r
struct Reduced {
  float remainder, half, other_half;  // r, and 2^n in two factors: n may be 128
};

inline Reduced reduced(float x) {
  x = x > 89.0f ? 89.0f : x;  // beyond it is ∞, and below 0; nan stays nan
  x = x < -104.0f ? -104.0f : x;
  constexpr float ROUND = 12582912.0f;  // 1.5 · 2^23: what is added to it is rounded to an integer, in its last bits
  const float shifted = x * 1.44269504f + ROUND;
  int32_t bits;
  std::memcpy(&bits, &shifted, sizeof bits);
  const float n = shifted - ROUND;
  const float r = x - n * 0.693359375f + n * 2.12194440e-4f;  // ln 2 in two parts: Cody & Waite (1980)
  const int32_t power = bits - 0x4B400000, half = power >> 1;
  return {r, float_of((half + 127) << 23), float_of((power - half + 127) << 23)};
}

inline float exp_(float x) {
  const Reduced y = reduced(x);
  return (1.0f + expm1_near_0(y.remainder)) * y.half * y.other_half;
}

// 2^n (e^r − 1) + (2^n − 1)
inline float expm1_(float x) {
  const Reduced y = reduced(x);
  const float power = y.half * y.other_half;
  return power * expm1_near_0(y.remainder) + (power - 1);
}

// log(1 + u) for 0 ≤ u ≤ 1, which is 2 artanh(u / (2 + u))
inline float log1p_(float u) {
  const float s = u / (2 + u), t = s * s;
  const float p = 0.333333381f + t * (0.199994142f + t * (0.143092029f + t * (0.107047401f + t * 0.12187472f)));
  return 2 * s + 2 * s * t * p;
}

inline float tanh_(float x) {
  const float size = std::fabs(x), t = x * x;
  const float p = -0.333333296f + t * (0.133331579f + t * (-0.0539405628f + t * (0.021666345f +
                  t * (-0.00809196438f + t * 0.00206466203f))));
  const float far = std::copysign(1 - 2 / (exp_(2 * size) + 1), x);
  return size < 0.625f ? x + x * t * p : far;
}

inline float erf_(float x) {
  const float size = std::fabs(x), t = x * x;
  const float near = 0.128379166f + t * (-0.376126316f + t * (0.11283664f + t * (-0.0268577051f +
                     t * (0.00519695202f + t * (-0.000809770274f + t * 8.18509081e-05f)))));
  // −log(1 − erf(s)), which at 4 is beyond what 1 − e^−y can tell from 1
  const float s = size > 4 ? 4.0f : size;
  const float y = -0.000150613702f + s * (1.12938181f + s * (0.633663313f + s * (0.107858213f +
                  s * (-0.0247745123f + s * (0.00399410105f + s * (-0.000378849669f +
                  s * (1.1311348e-05f + s * 7.37456551e-07f)))))));
  const float far = std::copysign(1 - exp_(-y), x);
  return size < 0.93f ? x + x * near : x != x ? x : far;
}

template <class T>
T sigmoid_(T x) {
  return 1 / (1 + exp_(-x));
}

}  // namespace
