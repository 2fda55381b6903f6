// A step, as Python describes it: field for field the structs of native_step.py.

#pragma once

#include <cstdint>

#include "memory.h"
#include "updates.h"

extern "C" {
struct Layer {
  int fan_in, fan_out, activation;
  int by_columns;  // whether threads share this layer's forward pass by outputs instead of by samples
  void *weight, *bias;
  void *a, *slope;        // φ(z); φ'(z), or null where it is told by φ(z)
  void *dropped, *mask;   // a ⊙ mask, or a where nothing is dropped; null then
  void* delta;
  Update weight_update, bias_update;
};

// A count of the optimizer's steps, one more after each.
struct Counter {
  void* count;
  double expected;  // what it is now, if nobody else has written there
  int is_double;    // else float
};

struct Step {
  int depth, rows, threads, loss;
  Layer* layers;
  void* x;                         // (rows, fan_in): read, or where pixels, an order or a mask are given written
  const uint8_t* pixels;           // (samples, fan_in), 0..255, scaled to 0..1; else
  const void* input;               // (samples, fan_in); null where x is read as it lies
  const void* input_mask;          // (rows, fan_in), a factor; null for none
  const int64_t* order;            // of each row, its sample; null where they are the same
  const void* target;
  const void *sample_weight, *class_weight;  // null where all weigh 1
  double smoothing;
  void *x_tensor, *target_tensor;  // torch's own objects, which have the input's and the target's memory
  int64_t x_bytes, target_bytes;   // that are read of it
  double share;                    // of this batch in the gradient: one over the batches that are collected
  int collected;                   // how many of them the gradients hold already
  int updates;                     // 0 where more are to come
  double clip_norm, clip_value;    // 0 for none
  int only_finite;                 // whether a loss that is not finite leaves everything as it is
  Counter* counters;
  int counter_count;
  void* result;   // the mean loss
  int64_t right;  // rows whose largest output is the label's
};

// A step that is taken again for a batch like the last one, if nothing has changed; see native_step.py.
struct Ready {
  const Expectation* expectations;
  int count;
  const Place* places;
  int tensors;
  int is_long;      // so that other threads of Python's had better go on meanwhile
  const Place *x, *target;  // what a batch has to be like
  void** x_goes_to;
  Step* step;
  const double* rules;  // of the steps from here on, each `rule_bytes`; null where they stay as they are
  int64_t rule_bytes, steps_left;
  double* rules_now;    // where the step reads them
};

// Steps over samples that lie together, without a return in between; see native_step.py.
struct Epoch {
  Step* step;             // of the first samples; the rows of a full batch
  const int64_t* order;   // of all samples; null where they are taken as they lie
  int64_t samples;
  int64_t x_row, target_row, weight_row;  // bytes
  int accumulate;         // batches to a step of the optimizer
  const SGDUpdate* merged;                 // for each batch those of a step
  const ElementwiseUpdate* elementwise;
  SGDUpdate* merged_now;                   // where the step reads them
  ElementwiseUpdate* elementwise_now;
  int rules;              // of a step
  char* losses;           // one for each batch
};

// Networks of one shape, each trained by itself; see population/native_step.py. What belongs to one network lies so
// many bytes from what belongs to the one before it.
struct Strides {
  int64_t weight, bias;  // of the parameters, and of what the optimizer keeps of them
};

struct Population {
  int size, threads;         // networks, and how many are trained at a time
  Step* steps;               // for each thread its buffers, beside the first network's parameters
  const Strides* layers;     // of each layer
  const SGDUpdate* merged;   // of each network, of each layer's weight and bias; or
  const ElementwiseUpdate* elementwise;
  const char *x, *target;
  int64_t x_stride, target_stride;  // 0 where all networks learn the same batch
  char* losses;                     // of a network that is frozen, the one it was frozen at
  uint8_t* frozen;                  // networks whose loss was not finite: they stay as they are
};
}
