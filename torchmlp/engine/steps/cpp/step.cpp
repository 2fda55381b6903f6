// Training steps of a multilayer perceptron, in one call.
//
// Compiled by build.py on demand, once for each dtype; torch_step.py is the same step in torch's operators, and its
// oracle. A step is described in step.h and taken in worker.h.

#include <atomic>
#include <cmath>
#include <cstring>
#include <type_traits>
#include <vector>

#include <omp.h>

#include "memory.h"
#include "step.h"
#include "worker.h"

namespace {

using Real = REAL;

// What a step answers, or the first row whose label is no class. Nothing has been changed by any but DONE and SICK.
enum Answer { DONE = -1, UNREADABLE = -2, CHANGED = -3, SICK = -4 };

bool is_apart(const Step& step, const char* begin, const char* end) {
  const auto clear = [&](const void* other, int64_t count) {
    const char* start = static_cast<const char*>(other);
    return !start || end <= start || start + count * int64_t(sizeof(Real)) <= begin;
  };
  for (int l = 0; l < step.depth; ++l) {
    const Layer& layer = step.layers[l];
    const int64_t weights = int64_t(layer.fan_in) * layer.fan_out, values = int64_t(step.rows) * layer.fan_out;
    for (const void* buffer : {layer.a, layer.slope, layer.dropped, layer.delta})
      if (!clear(buffer, values)) return false;
    for (const Update* update : {&layer.weight_update, &layer.bias_update})
      for (const void* buffer :
           {update->value, update->into, update->mean, update->square, update->largest, update->velocity})
        if (!clear(buffer, update == &layer.weight_update ? weights : layer.fan_out)) return false;
  }
  return true;
}

bool is_class(const Step& step, int64_t label) { return label >= 0 && label < step.layers[step.depth - 1].fan_out; }

// What the weights of the samples add up to: their number where all weigh 1.
double total_weight(const Step& step) {
  const Real *samples = static_cast<const Real*>(step.sample_weight);
  const Real *classes = step.loss == CROSS_ENTROPY ? static_cast<const Real*>(step.class_weight) : nullptr;
  if (!samples && !classes) return step.rows;
  const int64_t* labels = static_cast<const int64_t*>(step.target);
  double sum = 0;
  for (int r = 0; r < step.rows; ++r)
    sum += (samples ? double(samples[step.order ? step.order[r] : r]) : 1) * (classes ? double(classes[labels[r]]) : 1);
  return sum;
}

int64_t take(Step& shared) {
  Step step = shared;
  const auto apart = [&step](const char* begin, const char* end) { return is_apart(step, begin, end); };
  if (!is_readable(step.x_tensor, step.x_bytes, apart) ||
      !is_readable(step.target_tensor, step.target_bytes, apart))
    return UNREADABLE;
  std::vector<int64_t> labels;  // read once: another thread may write into the caller's meanwhile
  if (step.loss == CROSS_ENTROPY) {
    const int64_t* given = static_cast<const int64_t*>(step.target);
    labels.resize(step.rows);
    for (int r = 0; r < step.rows; ++r) {
      labels[r] = given[step.order ? step.order[r] : r];
      if (!is_class(step, labels[r])) return r;
    }
    step.target = labels.data();
  }
  const double total = total_weight(step);
  const double share = step.rows ? step.share / total : step.share;
  Meeting meeting(step.threads);
  const auto work = [&](int thread, int threads) {
    OneThreadEach one;
    FlushSubnormals flush;
    Worker<Real>(step, share, thread, threads, meeting).run();
  };
  if (step.threads == 1) {
    work(0, 1);
  } else {
#pragma omp parallel num_threads(step.threads)
    work(omp_get_thread_num(), omp_get_num_threads());  // of as many as OpenMP gives, which may be fewer
  }
  LossSum sum;  // in the threads' order
  for (const Meeting::Part& part : meeting.parts) {
    sum.loss += part.sum.loss;
    sum.right += part.sum.right;
  }
  shared.right = sum.right;
  const Real loss = Real(sum.loss / total);
  *static_cast<Real*>(step.result) = loss;
  if (step.only_finite && !std::isfinite(loss)) return SICK;
  if (step.updates)
    for (Counter* c = step.counters; c < step.counters + step.counter_count; ++c)
      c->expected = c->is_double ? *static_cast<double*>(c->count) += 1 : *static_cast<float*>(c->count) += 1;
  return DONE;
}

template <class Row>
Row* moved(Row* first, int64_t bytes) {
  using Byte = std::conditional_t<std::is_const_v<Row>, const char, char>;
  return first ? reinterpret_cast<Row*>(reinterpret_cast<Byte*>(first) + bytes) : nullptr;
}

// Returns the number of batches that were taken, the last one being sick where they are not all; or −1 − the first
// sample whose label is no class. `right` becomes the sum of all steps'.
int64_t take_epoch(const Epoch& epoch) {
  Step step = *epoch.step;
  if (step.loss == CROSS_ENTROPY)
    for (int64_t i = 0; i < epoch.samples; ++i)
      if (!is_class(step, static_cast<const int64_t*>(step.target)[epoch.order ? epoch.order[i] : i])) return -1 - i;
  step.x_tensor = step.target_tensor = nullptr;  // they were looked at before
  const int rows = step.rows;
  int64_t batch = 0, right = 0;
  for (int64_t first = 0; first < epoch.samples; first += rows, ++batch) {
    step.rows = int(std::min<int64_t>(rows, epoch.samples - first));
    if (epoch.order) {
      step.order = epoch.order + first;
    } else if (first) {
      if (!step.pixels && !step.input) step.x = moved(step.x, rows * epoch.x_row);
      step.pixels = moved(step.pixels, rows * epoch.x_row);
      step.input = moved(step.input, rows * epoch.x_row);
      step.target = moved(step.target, rows * epoch.target_row);
      step.sample_weight = moved(step.sample_weight, rows * epoch.weight_row);
    }
    if (epoch.merged) std::copy_n(epoch.merged + batch * epoch.rules, epoch.rules, epoch.merged_now);
    if (epoch.elementwise)
      std::copy_n(epoch.elementwise + batch * epoch.rules, epoch.rules, epoch.elementwise_now);
    step.updates = (step.collected + 1) % epoch.accumulate == 0;
    step.result = epoch.losses + batch * sizeof(Real);
    const int64_t answer = take(step);
    if (answer >= 0) return -1 - (first + answer);  // another thread has written there meanwhile
    right += step.right;
    if (answer == SICK) break;
    step.collected = (step.collected + 1) % epoch.accumulate;
  }
  epoch.step->right = right;
  return std::min<int64_t>(batch + 1, (epoch.samples + rows - 1) / rows);
}

// One network's step in a thread's buffers. Returns what `take` does.
int64_t take_one(const Population& all, Step step, std::vector<Layer>& layers, int network) {
  for (int l = 0; l < step.depth; ++l) {
    const Strides& stride = all.layers[l];
    Layer& layer = layers[l] = step.layers[l];
    layer.weight = moved(layer.weight, network * stride.weight);
    layer.bias = moved(layer.bias, network * stride.bias);
    for (Update* update : {&layer.weight_update, &layer.bias_update}) {
      const bool is_weight = update == &layer.weight_update;
      const int64_t bytes = network * (is_weight ? stride.weight : stride.bias);
      for (void** buffer : {&update->value, &update->into, &update->mean, &update->square, &update->largest,
                            &update->velocity})
        *buffer = moved(*buffer, bytes);
      const int64_t place = (int64_t(network) * step.depth + l) * 2 + !is_weight;
      if (all.merged) update->merged = all.merged + place;
      if (all.elementwise) update->elementwise = all.elementwise + place;
    }
  }
  step.layers = layers.data();
  step.x = const_cast<char*>(all.x + network * all.x_stride);
  step.target = all.target + network * all.target_stride;
  step.result = all.losses + network * sizeof(Real);
  const int64_t answer = take(step);
  if (answer == SICK) all.frozen[network] = 1;
  return answer;
}

// Returns DONE, or the first row whose label is no class, counted through all networks' batches; nothing has been
// changed then. (Labels are looked at again where they are used: another thread may write into them meanwhile.)
int64_t take_all(const Population& all) {
  const Step& step = all.steps[0];
  if (step.loss == CROSS_ENTROPY)
    for (int64_t r = 0; r < int64_t(step.rows) * (all.target_stride ? all.size : 1); ++r)
      if (!is_class(step, reinterpret_cast<const int64_t*>(all.target)[r])) return r;
  std::atomic<int64_t> wrong{DONE};
  std::atomic<int> next{0};  // whoever is free takes the next network: some are frozen, some threads are late
  const auto work = [&](int thread) {
    std::vector<Layer> layers(step.depth);
    for (int network; (network = next.fetch_add(1, std::memory_order_relaxed)) < all.size;)
      if (!all.frozen[network])
        if (const int64_t row = take_one(all, all.steps[thread], layers, network); row >= 0)
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
int64_t NAME(step)(Step* step) { return take(*step); }

// Called with the GIL held.
int64_t NAME(ready)(Ready* ready, void* x, void* target, void* result) {
  const Place x_place = place_of(x), target_place = place_of(target);
  if (!is_alike(x_place, *ready->x) || !is_alike(target_place, *ready->target) ||
      !is_as_expected(ready->expectations, ready->count, ready->places, ready->tensors))
    return CHANGED;
  Step& step = *ready->step;
  for (const Counter* c = step.counters; c < step.counters + step.counter_count; ++c)
    if (c->expected != (c->is_double ? *static_cast<double*>(c->count) : *static_cast<float*>(c->count))) return CHANGED;
  if (ready->rules) {
    if (!ready->steps_left) return CHANGED;
    std::memcpy(ready->rules_now, ready->rules, ready->rule_bytes);
  }
  *ready->x_goes_to = x_place.data;
  step.target = target_place.data;
  step.x_tensor = x;
  step.target_tensor = target;
  step.result = result;
  PyThreadState* released = ready->is_long ? PyEval_SaveThread() : nullptr;
  const int64_t answer = take(step);
  if (released) PyEval_RestoreThread(released);
  if (answer == DONE && ready->rules) {
    ready->rules = moved(ready->rules, ready->rule_bytes);
    --ready->steps_left;
  }
  return answer;
}
int64_t NAME(epoch)(const Epoch* epoch) { return take_epoch(*epoch); }
int64_t NAME(population)(const Population* all) { return take_all(*all); }
}
