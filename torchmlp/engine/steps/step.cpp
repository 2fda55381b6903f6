// One training step of a multilayer perceptron: the equations of torchmlp/kernels/network.py in one call.
//
// Samples are independent until the gradients sum over them. So each thread takes its own rows through the
// layers, the loss and the deltas, waits once for the others, and then updates its own rows of every weight.
// Compiled by build.py on demand; torch_step.py is the same step in torch's operators, and its oracle.

#include <algorithm>
#include <atomic>
#include <cmath>
#include <cstdint>
#include <limits>
#include <type_traits>
#include <vector>

#include <omp.h>
#include <sched.h>
#ifdef __SSE__
#include <xmmintrin.h>
#endif

extern "C" {
// Of the BLAS that torch itself calls; torch's library exports it. Column-major, 32-bit sizes.
void sgemm_(const char*, const char*, const int*, const int*, const int*, const float*, const float*, const int*,
            const float*, const int*, const float*, float*, const int*);
void dgemm_(const char*, const char*, const int*, const int*, const int*, const double*, const double*, const int*,
            const double*, const int*, const double*, double*, const int*);
// Python's. None of it where the program exports nothing.
struct PyObject;
__attribute__((weak)) PyObject* PyObject_GetAttr(PyObject*, PyObject*);
__attribute__((weak)) PyObject* PyObject_CallMethodObjArgs(PyObject*, PyObject*, ...);
__attribute__((weak)) PyObject* PyDict_GetItemWithError(PyObject*, PyObject*);  // borrowed
__attribute__((weak)) PyObject* PyList_GetItem(PyObject*, ssize_t);             // borrowed
__attribute__((weak)) ssize_t PyObject_Size(PyObject*);
__attribute__((weak)) void PyErr_Clear();
__attribute__((weak)) void Py_DecRef(PyObject*);
// Torch's C interface for compiled models, which does not change between its releases. A handle points to a tensor,
// which is a pointer to torch's own object; each answers 0, or that there is no answer.
int32_t aoti_torch_get_data_ptr(void* handle, void** data);
int32_t aoti_torch_get_storage_size(void* handle, int64_t* bytes);
int32_t aoti_torch_get_storage_offset(void* handle, int64_t* elements);
int32_t aoti_torch_get_numel(void* handle, int64_t* elements);
int32_t aoti_torch_get_dtype(void* handle, int32_t* dtype);
int32_t aoti_torch_get_dim(void* handle, int64_t* dim);
int32_t aoti_torch_get_sizes(void* handle, int64_t** sizes);
int32_t aoti_torch_get_strides(void* handle, int64_t** strides);
// MKL's, where the BLAS is that: the threads a product called from this one may use. Returns the number before.
__attribute__((weak)) int MKL_Set_Num_Threads_Local(int);
#ifdef HAS_VECTOR_MATH  // glibc's, for x86: an attribute that its header gives only under -ffast-math
__attribute__((const, simd("notinbranch"))) float expf(float);
__attribute__((const, simd("notinbranch"))) double exp(double);
__attribute__((const, simd("notinbranch"))) float tanhf(float);
__attribute__((const, simd("notinbranch"))) double tanh(double);
#endif
}

namespace {

inline float exp_(float x) { return expf(x); }
inline double exp_(double x) { return exp(x); }
inline float tanh_(float x) { return tanhf(x); }
inline double tanh_(double x) { return tanh(x); }

void gemm_(const char* ta, const char* tb, const int* m, const int* n, const int* k, const float* alpha, const float* a,
           const int* lda, const float* b, const int* ldb, const float* beta, float* c, const int* ldc) {
  sgemm_(ta, tb, m, n, k, alpha, a, lda, b, ldb, beta, c, ldc);
}
void gemm_(const char* ta, const char* tb, const int* m, const int* n, const int* k, const double* alpha,
           const double* a, const int* lda, const double* b, const int* ldb, const double* beta, double* c,
           const int* ldc) {
  dgemm_(ta, tb, m, n, k, alpha, a, lda, b, ldb, beta, c, ldc);
}

// c (m x n) = alpha op(a) op(b) + beta c, row-major: BLAS sees the transposes, so a and b change places.
template <class T>
void gemm(char op_a, char op_b, int m, int n, int k, T alpha, const T* a, int lda, const T* b, int ldb, T beta, T* c,
          int ldc) {
  if (m > 0 && n > 0) gemm_(&op_b, &op_a, &n, &m, &k, &alpha, b, &ldb, a, &lda, &beta, c, &ldc);
}

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
Range share(int count, int thread, int threads) {
  return {int(int64_t(count) * thread / threads), int(int64_t(count) * (thread + 1) / threads)};
}

}  // namespace

// The structs are native_step.py's, field for field.
extern "C" {
enum Activation { IDENTITY, RELU, LEAKY_RELU, SIGMOID, TANH, HARDTANH, RELU6 };
enum LossName { CROSS_ENTROPY, MSE };

// The optimizer's settings in terms of a step; see sgd_update.py.
struct SGDUpdate {
  double ahead, fade, decay;  // first: value += ahead into; with decay: into = fade into + decay value
  double beta, alpha;         // then: into = beta into + alpha δᵀ a
  double rate;                // at last: value -= rate into; 0 where `into` is not a velocity
};

struct Update {
  void *value, *into;  // the parameter; itself, its velocity or its gradient; null where it is frozen
  const SGDUpdate* descent;
};

struct Layer {
  int fan_in, fan_out, activation;
  int by_columns;  // whether threads share this layer's forward pass by outputs instead of by samples
  void *weight, *bias;
  void *a, *dropped, *mask;  // φ(z); a ⊙ mask, or a where nothing is dropped; null then
  void* delta;
  Update weight_update, bias_update;
};

struct Step {
  int depth, rows, threads, loss;
  Layer* layers;
  void* x;                // (rows, fan_in): read, or where pixels or a mask is given written
  const uint8_t* pixels;  // 0..255, scaled to 0..1
  const void *input, *input_mask;  // x = input ⊙ input_mask
  const void* target;
  void *x_tensor, *target_tensor;  // torch's own objects, which have the input's and the target's memory
  int64_t x_bytes, target_bytes;   // that are read of it
  void* result;   // the mean loss
  int64_t right;  // rows whose largest output is the label's; cross-entropy only
  int only_finite;  // whether a loss that is not finite leaves everything as it is
};

// Where a tensor's elements lie; see state/addresses.py.
struct Place {
  void* tensor;  // torch's own object
  void* data;
  int64_t room;  // bytes of its storage
  int64_t dim, sizes[2], strides[2];
  int32_t dtype;
  bool is_known;  // false where torch has no answer, or the tensor is no vector and no matrix
};

// What is expected of an object; see state/changes.py.
enum Kind { ATTRIBUTE, ITEM, ELEMENT, LENGTH, ANSWER };
struct Expectation {
  PyObject *owner, *name, *value;  // of an item that is to be missing, null
  int64_t number;
  int kind;
};

// Networks of one shape, each trained by itself; see population/native_step.py. What belongs to one network lies so
// many bytes from what belongs to the one before it.
struct Strides {
  int64_t weight, bias;  // of the parameters, and of their velocities
};

struct Population {
  int size, threads;         // networks, and how many are trained at a time
  Step* steps;               // for each thread its buffers, beside the first network's parameters
  const Strides* layers;     // of each layer
  const SGDUpdate* descents;   // of each network, of each layer's weight and bias
  const char *x, *target;
  int64_t x_stride, target_stride;  // 0 where all networks learn the same batch
  char* losses;                     // of a network that is frozen, the one it was frozen at
  uint8_t* frozen;                  // networks whose loss was not finite: they stay as they are
};
}

namespace {

template <class T>
T activate(int activation, T z) {
  switch (activation) {
    case RELU: return z < 0 ? T(0) : z;  // nan stays nan
    case LEAKY_RELU: return z > 0 ? z : T(0.01) * z;
    case SIGMOID: return 1 / (1 + exp_(-z));
    case TANH: return tanh_(z);
    case HARDTANH: return z < -1 ? T(-1) : z > 1 ? T(1) : z;
    case RELU6: return z < 0 ? T(0) : z > 6 ? T(6) : z;
    default: return z;
  }
}

// g ⊙ φ'(z), from a = φ(z): every activation here tells its slope by its value.
template <class T>
T pull_back(int activation, T g, T a) {
  switch (activation) {
    case RELU: return a <= 0 ? T(0) : g;
    case LEAKY_RELU: return a > 0 ? g : T(0.01) * g;
    case SIGMOID: return g * (1 - a) * a;
    case TANH: return g * (1 - a * a);
    case HARDTANH: return a <= -1 || a >= 1 ? T(0) : g;
    case RELU6: return a <= 0 || a >= 6 ? T(0) : g;
    default: return g;
  }
}

// Calls `loop` with the activation as a constant, so that the compiler makes one vector loop for each.
template <class Loop>
void for_activation(int activation, Loop loop) {
  switch (activation) {
    case RELU: return loop(std::integral_constant<int, RELU>());
    case LEAKY_RELU: return loop(std::integral_constant<int, LEAKY_RELU>());
    case SIGMOID: return loop(std::integral_constant<int, SIGMOID>());
    case TANH: return loop(std::integral_constant<int, TANH>());
    case HARDTANH: return loop(std::integral_constant<int, HARDTANH>());
    case RELU6: return loop(std::integral_constant<int, RELU6>());
    default: return loop(std::integral_constant<int, IDENTITY>());
  }
}

template <class T>
class Worker {
 public:
  Worker(const Step& step, int thread, int threads, Barrier& barrier, std::atomic<bool>& sick)
      : step_(step), thread_(thread), threads_(threads), barrier_(barrier), sick_(sick),
        rows_(share(step.rows, thread, threads)) {}

  // Leaves this thread's part of the sum of the losses, and of the right answers.
  void run() {
    read_input();
    bool together = false;  // whether all threads have finished the layer below
    for (int l = 0; l < step_.depth; ++l) {
      const Layer& layer = step_.layers[l];
      if (layer.by_columns && !together) barrier_.wait(threads_);
      forward(layer, input(l));
      together = layer.by_columns;
      if (together) barrier_.wait(threads_);
    }
    loss = step_.loss == MSE ? squared_error() : cross_entropy();
    if (!(std::fabs(loss) / step_.rows <= double(std::numeric_limits<T>::max()))) sick_ = true;
    backward();
    barrier_.wait(threads_);
    if (sick_ && step_.only_finite) return;
    for (int l = 0; l < step_.depth; ++l) {
      update_weight(step_.layers[l], input(l));
      update_bias(step_.layers[l]);
    }
  }

  double loss = 0;
  int64_t right = 0;

 private:
  const Step& step_;
  const int thread_, threads_;
  Barrier& barrier_;
  std::atomic<bool>& sick_;
  const Range rows_;

  T* input(int l) const { return static_cast<T*>(l ? step_.layers[l - 1].dropped : step_.x); }
  Layer& last() const { return step_.layers[step_.depth - 1]; }

  void read_input() {
    const int64_t width = step_.layers[0].fan_in, begin = rows_.begin * width, end = rows_.end * width;
    T* x = static_cast<T*>(step_.x);
    const T *from = static_cast<const T*>(step_.input), *mask = static_cast<const T*>(step_.input_mask);
    if (step_.pixels)
      for (int64_t i = begin; i < end; ++i) x[i] = T(step_.pixels[i]) / 255;
    if (!mask) return;
    if (step_.pixels) from = x;
    for (int64_t i = begin; i < end; ++i) x[i] = from[i] * mask[i];
  }

  // a = φ(x Wᵀ + b)
  void forward(const Layer& layer, const T* x) {
    const Range rows = layer.by_columns ? Range{0, step_.rows} : rows_;
    const Range outs = layer.by_columns ? share(layer.fan_out, thread_, threads_) : Range{0, layer.fan_out};
    const int in = layer.fan_in, out = layer.fan_out;
    T *a = static_cast<T*>(layer.a), *dropped = static_cast<T*>(layer.dropped);
    const T *bias = static_cast<const T*>(layer.bias), *mask = static_cast<const T*>(layer.mask);
    gemm<T>('N', 'T', rows.size(), outs.size(), in, 1, x + int64_t(rows.begin) * in, in,
            static_cast<const T*>(layer.weight) + int64_t(outs.begin) * in, in, 0,
            a + int64_t(rows.begin) * out + outs.begin, out);
    for_activation(layer.activation, [&](auto phi) {
      for (int r = rows.begin; r < rows.end; ++r) {
        T* row = a + int64_t(r) * out;
        if (bias)
          for (int o = outs.begin; o < outs.end; ++o) row[o] = activate<T>(phi, row[o] + bias[o]);
        else
          for (int o = outs.begin; o < outs.end; ++o) row[o] = activate<T>(phi, row[o]);
        if (mask)
          for (int64_t i = int64_t(r) * out + outs.begin; i < int64_t(r) * out + outs.end; ++i)
            dropped[i] = a[i] * mask[i];
      }
    });
  }

  // e = log Σ exp(z) − z_t and δ = softmax(z) − onehot(t), the largest logit subtracted first
  double cross_entropy() {
    const int classes = last().fan_out;
    const int64_t* labels = static_cast<const int64_t*>(step_.target);
    const T* logits = static_cast<const T*>(last().a);
    T* delta = static_cast<T*>(last().delta);
    for (int r = rows_.begin; r < rows_.end; ++r) {
      const T* z = logits + int64_t(r) * classes;
      T* p = delta + int64_t(r) * classes;
      int best = 0;
      for (int o = 1; o < classes; ++o) best = z[o] > z[best] ? o : best;
      for (int o = 0; o < classes; ++o) p[o] = z[o] - z[best];
      right += best == labels[r];
    }
    double sum_of_losses = 0;
    for (int r = rows_.begin; r < rows_.end; ++r) sum_of_losses -= delta[int64_t(r) * classes + labels[r]];
    for (int64_t i = int64_t(rows_.begin) * classes; i < int64_t(rows_.end) * classes; ++i) delta[i] = exp_(delta[i]);
    for (int r = rows_.begin; r < rows_.end; ++r) {
      T* p = delta + int64_t(r) * classes;
      T sum = 0;
      for (int o = 0; o < classes; ++o) sum += p[o];
      for (int o = 0; o < classes; ++o) p[o] /= sum;
      p[labels[r]] -= 1;
      sum_of_losses += std::log(sum);
    }
    return sum_of_losses;
  }

  // e = ½ |a − t|² and e' = a − t
  double squared_error() {
    const T *a = static_cast<const T*>(last().a), *target = static_cast<const T*>(step_.target);
    T* delta = static_cast<T*>(last().delta);
    double sum_of_losses = 0;
    for (int64_t i = int64_t(rows_.begin) * last().fan_out; i < int64_t(rows_.end) * last().fan_out; ++i) {
      delta[i] = a[i] - target[i];
      sum_of_losses += 0.5 * double(delta[i]) * double(delta[i]);
    }
    return sum_of_losses;
  }

  // δ_L = e' ⊙ φ'(z_L), δ_l = (δ_{l+1} W_{l+1}) ⊙ φ'(z_l)
  void backward() {
    for (int l = step_.depth - 1; l >= 0; --l) {
      const Layer& layer = step_.layers[l];
      const int64_t begin = int64_t(rows_.begin) * layer.fan_out, end = int64_t(rows_.end) * layer.fan_out;
      T* delta = static_cast<T*>(layer.delta);
      if (!delta) return;  // nothing below is trained
      if (l < step_.depth - 1) {
        const Layer& above = step_.layers[l + 1];
        gemm<T>('N', 'N', rows_.size(), above.fan_in, above.fan_out, 1,
                static_cast<const T*>(above.delta) + int64_t(rows_.begin) * above.fan_out, above.fan_out,
                static_cast<const T*>(above.weight), above.fan_in, 0, delta + begin, layer.fan_out);
        if (const T* mask = static_cast<const T*>(layer.mask))
          for (int64_t i = begin; i < end; ++i) delta[i] *= mask[i];
      }
      const T* a = static_cast<const T*>(layer.a);
      if (layer.activation == IDENTITY) continue;
      for_activation(layer.activation, [&](auto phi) {
        for (int64_t i = begin; i < end; ++i) delta[i] = pull_back<T>(phi, delta[i], a[i]);
      });
    }
  }

  static void before(const SGDUpdate& descent, T* value, T* into, int64_t begin, int64_t end) {
    const T ahead = T(descent.ahead), fade = T(descent.fade), decay = T(descent.decay);
    if (ahead != 0)
      for (int64_t i = begin; i < end; ++i) value[i] += ahead * into[i];
    if (decay != 0)
      for (int64_t i = begin; i < end; ++i) into[i] = fade * into[i] + decay * value[i];
  }

  static void after(const SGDUpdate& descent, T* value, const T* into, int64_t begin, int64_t end) {
    const T rate = T(descent.rate);
    if (rate != 0)
      for (int64_t i = begin; i < end; ++i) value[i] -= rate * into[i];
  }

  // δᵀ a of this thread's outputs, into the weight, its velocity or its gradient
  void update_weight(const Layer& layer, const T* x) {
    const Update& update = layer.weight_update;
    if (!update.into) return;
    const Range outs = share(layer.fan_out, thread_, threads_);
    const int64_t begin = int64_t(outs.begin) * layer.fan_in, end = int64_t(outs.end) * layer.fan_in;
    T *value = static_cast<T*>(update.value), *into = static_cast<T*>(update.into);
    before(*update.descent, value, into, begin, end);
    gemm<T>('T', 'N', outs.size(), layer.fan_in, step_.rows, T(update.descent->alpha),
            static_cast<const T*>(layer.delta) + outs.begin, layer.fan_out, x, layer.fan_in, T(update.descent->beta),
            into + begin, layer.fan_in);
    after(*update.descent, value, into, begin, end);
  }

  void update_bias(const Layer& layer) {
    const Update& update = layer.bias_update;
    if (!update.into) return;
    const Range outs = share(layer.fan_out, thread_, threads_);
    T *value = static_cast<T*>(update.value), *into = static_cast<T*>(update.into);
    before(*update.descent, value, into, outs.begin, outs.end);
    const T* delta = static_cast<const T*>(layer.delta);
    constexpr int BLOCK = 256;  // sums that stay in the first-level cache
    for (int o0 = outs.begin; o0 < outs.end; o0 += BLOCK) {
      const int width = std::min(BLOCK, outs.end - o0);
      T sum[BLOCK] = {};
      for (int r = 0; r < step_.rows; ++r)
        for (int o = 0; o < width; ++o) sum[o] += delta[int64_t(r) * layer.fan_out + o0 + o];
      const T alpha = T(update.descent->alpha), beta = T(update.descent->beta);
      for (int o = 0; o < width; ++o) into[o0 + o] = (beta == 0 ? T(0) : beta * into[o0 + o]) + alpha * sum[o];
    }
    after(*update.descent, value, into, outs.begin, outs.end);
  }
};

Place place_of(void* tensor) {
  Place place{tensor};
  int64_t *sizes, *strides;
  place.is_known = !aoti_torch_get_data_ptr(&tensor, &place.data) &&
                   !aoti_torch_get_storage_size(&tensor, &place.room) &&
                   !aoti_torch_get_dtype(&tensor, &place.dtype) && !aoti_torch_get_dim(&tensor, &place.dim) &&
                   !aoti_torch_get_sizes(&tensor, &sizes) && !aoti_torch_get_strides(&tensor, &strides) &&
                   place.dim <= 2;
  for (int axis = 0; place.is_known && axis < place.dim; ++axis) {
    place.sizes[axis] = sizes[axis];
    place.strides[axis] = strides[axis];
  }
  return place;
}

bool is_same(const Place& a, const Place& b) {
  return a.is_known && b.is_known && a.data == b.data && a.room == b.room && a.dtype == b.dtype && a.dim == b.dim &&
         std::equal(a.sizes, a.sizes + 2, b.sizes) && std::equal(a.strides, a.strides + 2, b.strides);
}

bool is_met(const Expectation& e) {
  if (e.kind == LENGTH) return PyObject_Size(e.owner) == e.number;
  if (e.kind == ITEM) return PyDict_GetItemWithError(e.owner, e.name) == e.value;
  if (e.kind == ELEMENT) return PyList_GetItem(e.owner, e.number) == e.value;
  PyObject* found = e.kind == ATTRIBUTE ? PyObject_GetAttr(e.owner, e.name)
                                        : PyObject_CallMethodObjArgs(e.owner, e.name, nullptr);
  if (found) Py_DecRef(found);  // only its address is compared
  return found == e.value;
}

// Whether the bytes that a step reads of a tensor are there, and are none of those that it writes. A population's
// tensors were looked at before.
template <class T>
bool is_readable(const Step& step, void* tensor, int64_t bytes) {
  if (!tensor || !bytes) return true;
  void* data;
  int64_t room, offset, count;
  if (aoti_torch_get_data_ptr(&tensor, &data) || aoti_torch_get_storage_size(&tensor, &room) ||
      aoti_torch_get_storage_offset(&tensor, &offset) || aoti_torch_get_numel(&tensor, &count) || !data ||
      count < 1 || bytes / count * offset + bytes > room)
    return false;
  const char *begin = static_cast<const char*>(data), *end = begin + bytes;
  const auto apart = [&](const void* other, int64_t count) {
    const char* start = static_cast<const char*>(other);
    return !start || end <= start || start + count * int64_t(sizeof(T)) <= begin;
  };
  for (int l = 0; l < step.depth; ++l) {
    const Layer& layer = step.layers[l];
    const int64_t weights = int64_t(layer.fan_in) * layer.fan_out, values = int64_t(step.rows) * layer.fan_out;
    if (!apart(layer.weight, weights) || !apart(layer.weight_update.into, weights) ||
        !apart(layer.bias, layer.fan_out) || !apart(layer.bias_update.into, layer.fan_out) ||
        !apart(layer.a, values) || !apart(layer.dropped, values) || !apart(layer.delta, values))
      return false;
  }
  return true;
}

// Returns -1; the first row whose label is no class; or -2 where the batch cannot be read as it lies. Nothing has been
// changed then.
template <class T>
int take(Step& shared) {
  Step step = shared;
  if (!is_readable<T>(step, step.x_tensor, step.x_bytes) ||
      !is_readable<T>(step, step.target_tensor, step.target_bytes))
    return -2;
  std::vector<int64_t> labels;  // read once: another thread may write into the caller's meanwhile
  if (step.loss == CROSS_ENTROPY) {
    const int64_t* given = static_cast<const int64_t*>(step.target);
    labels.assign(given, given + step.rows);
    for (int r = 0; r < step.rows; ++r)
      if (labels[r] < 0 || labels[r] >= step.layers[step.depth - 1].fan_out) return r;
    step.target = labels.data();
  }
  Barrier barrier;
  std::atomic<bool> sick{false};
  struct alignas(64) Part {  // a cache line for each thread
    double loss = 0;
    int64_t right = 0;
  };
  std::vector<Part> parts(step.threads);
  const auto work = [&](int thread, int threads) {
    // A product called from one of several threads takes that thread alone; from the only one, MKL would take all.
    const int before = MKL_Set_Num_Threads_Local ? MKL_Set_Num_Threads_Local(1) : 0;
    FlushSubnormals flush;
    Worker<T> worker(step, thread, threads, barrier, sick);
    worker.run();
    parts[thread].loss = worker.loss;
    parts[thread].right = worker.right;
    if (MKL_Set_Num_Threads_Local) MKL_Set_Num_Threads_Local(before);
  };
  if (step.threads == 1) {
    work(0, 1);
  } else {
#pragma omp parallel num_threads(step.threads)
    work(omp_get_thread_num(), omp_get_num_threads());  // of as many as OpenMP gives, which may be fewer
  }
  Part sum;  // in the threads' order, so that a run can be repeated to the last bit
  for (const Part& part : parts) {
    sum.loss += part.loss;
    sum.right += part.right;
  }
  shared.right = sum.right;
  *static_cast<T*>(step.result) = T(sum.loss / step.rows);
  return -1;
}

// One network's step in a thread's buffers. Returns what `take` does.
template <class T>
int take_one(const Population& all, Step step, std::vector<Layer>& layers, int network) {
  const auto moved = [network](void* first, int64_t stride) {
    return first ? static_cast<void*>(static_cast<char*>(first) + network * stride) : nullptr;
  };
  for (int l = 0; l < step.depth; ++l) {
    const Strides& stride = all.layers[l];
    Layer& layer = layers[l] = step.layers[l];
    layer.weight = moved(layer.weight, stride.weight);
    layer.bias = moved(layer.bias, stride.bias);
    for (Update* update : {&layer.weight_update, &layer.bias_update}) {
      const bool is_weight = update == &layer.weight_update;
      const int64_t bytes = is_weight ? stride.weight : stride.bias;
      update->value = moved(update->value, bytes);
      update->into = moved(update->into, bytes);
      update->descent = all.descents + (int64_t(network) * step.depth + l) * 2 + !is_weight;
    }
  }
  step.layers = layers.data();
  step.x = const_cast<char*>(all.x + network * all.x_stride);
  step.target = all.target + network * all.target_stride;
  step.result = all.losses + network * sizeof(T);
  const int wrong = take<T>(step);
  if (wrong < 0 && !std::isfinite(*static_cast<T*>(step.result))) all.frozen[network] = 1;
  return wrong;
}

// Returns -1, or the first row whose label is no class, counted through all networks' batches; nothing has been
// changed then. (Labels are looked at again where they are used: another thread may write into them meanwhile.)
template <class T>
int64_t take_all(const Population& all) {
  const Step& step = all.steps[0];
  if (step.loss == CROSS_ENTROPY)
    for (int64_t r = 0; r < int64_t(step.rows) * (all.target_stride ? all.size : 1); ++r) {
      const int64_t label = reinterpret_cast<const int64_t*>(all.target)[r];
      if (label < 0 || label >= step.layers[step.depth - 1].fan_out) return r;
    }
  std::atomic<int64_t> wrong{-1};
  std::atomic<int> next{0};  // whoever is free takes the next network: some are frozen, some threads are late
  const auto work = [&](int thread) {
    std::vector<Layer> layers(step.depth);
    for (int network; (network = next.fetch_add(1, std::memory_order_relaxed)) < all.size;)
      if (!all.frozen[network])
        if (const int row = take_one<T>(all, all.steps[thread], layers, network); row >= 0)
          wrong = (all.target_stride ? int64_t(network) * step.rows : 0) + row;
  };
  if (all.threads == 1) {
    work(0);
  } else {
#pragma omp parallel num_threads(all.threads)
    work(omp_get_thread_num());
  }
  return wrong;
}

}  // namespace

extern "C" {
int size_of_place() { return sizeof(Place); }
void remember_places(void* const* tensors, int count, Place* places) {
  for (int i = 0; i < count; ++i) places[i] = place_of(tensors[i]);
}
int can_watch() { return PyObject_GetAttr && PyObject_CallMethodObjArgs && PyDict_GetItemWithError && PyList_GetItem; }
// Called with the GIL held.
int has_changed(const Expectation* expectations, int count, const Place* places, int tensors) {
  for (int i = 0; i < count; ++i)
    if (!is_met(expectations[i])) {
      PyErr_Clear();  // an attribute may have gone
      return 1;
    }
  for (int i = 0; i < tensors; ++i)
    if (!is_same(places[i], place_of(places[i].tensor))) return 1;
  return 0;
}

int step_float32(Step* step) { return take<float>(*step); }
int step_float64(Step* step) { return take<double>(*step); }
int64_t population_float32(const Population* all) { return take_all<float>(*all); }
int64_t population_float64(const Population* all) { return take_all<double>(*all); }
}
